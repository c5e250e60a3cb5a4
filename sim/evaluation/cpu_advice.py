"""Which kernel, and so which format of weights, makes a model fastest on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from isa import InputError
from sim.evaluation.cpu_model import ModelPrediction, predict_model
from sim.simd.kernel import CpuKernel
from sim.simd.kernels import KERNELS
from sim.timing.cpu.core import Core
from workloads import Architecture

__all__ = ["Choice", "advise", "kernels_of"]


@dataclass(frozen=True)
class Choice:
    """A kernel for a number of threads and tokens.

    Parameters
    ----------
    threads, batch : int
        Of one token a pass the model decodes, more are a prompt.
    kernel : CpuKernel
    prediction : ModelPrediction
    """

    threads: int
    batch: int
    kernel: CpuKernel
    prediction: ModelPrediction


def kernels_of(core: Core, names: Sequence[str] = (), weight_format: str = "ternary") -> list[CpuKernel]:
    """The kernels that a core can run: those named, or all without loss that are made for weights of a format.

    Two-bit integers hold ternary weights. A model whose weights are floats has to be quantized: any format is a choice.

    Raises
    ------
    InputError
        If there is none.
    """
    chosen = [KERNELS[name] for name in names] if names else _made_for(weight_format)
    able = [each for each in chosen if each.features <= set(core.features)]
    if not able:
        raise InputError(f"core {core.name}", "features", list(core.features), "those of a kernel")
    return able


def _made_for(weight_format: str) -> list[CpuKernel]:
    formats = (
        {"ternary", "tq", "int2"} if weight_format == "ternary" else {each.weight_format for each in KERNELS.values()}
    )
    return [kernel for kernel in KERNELS.values() if not kernel.loss and kernel.weight_format in formats]


def advise(
    core: Core,
    architecture: Architecture,
    kernels: Sequence[CpuKernel],
    head: CpuKernel,
    threads: Sequence[int],
    batches: Sequence[int],
    progress: Callable[[int], object] = lambda _number: None,
) -> Iterator[list[Choice]]:
    """For every number of threads and tokens, all kernels from the fastest on.

    Parameters
    ----------
    core : Core
    architecture : Architecture
    kernels : sequence of CpuKernel
    head : CpuKernel
    threads, batches : sequence of int
    progress : called with 1 for every kernel

    Raises
    ------
    InputError
        If a number of threads is none of the core's, or no kernel takes the model's shapes.
    """
    for count in threads:
        for batch in batches:
            found = list[Choice]()
            refused: InputError | None = None
            for kernel in kernels:
                try:
                    prediction = predict_model(
                        core,
                        architecture,
                        kernel,
                        head,
                        threads=count,
                        phase="prefill" if batch > 1 else "decode",
                        tokens=batch,
                    )
                    found.append(Choice(count, batch, kernel, prediction))
                except InputError as error:
                    refused = error
                progress(1)
            if not found and refused is not None:
                raise refused
            yield sorted(found, key=lambda choice: -choice.prediction.tokens_per_second)
