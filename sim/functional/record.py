"""Records a run of the golden model as a `Trace`: every operation as it was performed, with its integer operands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from isa import Operand
from sim.functional.generate import Generation, Sampler, generate
from sim.functional.model import ACTIVATION_FORMAT, GoldenModel
from workloads.operations import FLOAT, Kind, Operation, Step
from workloads.trace import Identity, Trace, TraceOperands, layer_name, operations_table

__all__ = ["record_trace"]


def record_trace(
    model: GoldenModel,
    prompts: Sequence[Sequence[int] | NDArray[np.int64]],
    tokens: int,
    sampler: Sampler,
    *,
    texts: Sequence[str] = (),
    progress: Callable[[], object] = lambda: None,
) -> tuple[Generation, Trace]:
    """Generate, and record the run: a prefill, which gives the first new token, and a decode step for each other one.

    Parameters
    ----------
    model, prompts, tokens, sampler, progress
        As for `generate`.
    texts : the prompts as text, for the trace's identity

    Raises
    ------
    InputError
        As `generate`.
    """
    weight_format = model.weights.layers[0].projections["self_attn.q_proj"].format.name
    recorder = _Recorder(weight_format)
    generation = generate(model, prompts, tokens, sampler, observer=recorder, progress=progress)
    identity = Identity(
        source="recorded",
        model=model.architecture.name,
        model_sha256=model.weights.sha256,
        prompts=tuple(texts),
        token_ids=tuple(map(tuple.__add__, generation.prompts, generation.token_ids)),
        sampling=repr(sampler),
        weight_format=weight_format,
        activation_format=ACTIVATION_FORMAT.name,
        bitloom_version=version("bitloom"),
    )
    table = operations_table(recorder.steps)
    weights = {
        layer_name(index, name): operand
        for index, layer in enumerate(model.weights.layers)
        for name, operand in layer.projections.items()
    }
    return generation, Trace(identity, model.architecture, table, TraceOperands(recorder.activations(), weights))


class _Recorder:
    """A `StepObserver` that collects steps, operations and quantized activations in the order in which they happen."""

    def __init__(self, weight_format: str) -> None:
        self.steps: list[tuple[Step, list[Operation], int]] = []
        self._weight_format = weight_format
        self._quantized: defaultdict[str, list[Operand]] = defaultdict(list)
        self._rows = 0

    def step(self, step: Step) -> None:
        self.steps.append((step, [], self._rows))
        self._rows += sum(step.tokens)

    def operation(self, layer: int, name: str, kind: Kind, m: int, k: int, n: int, batch: int = 1) -> None:
        activations, result, weights = FLOAT, FLOAT, "none"
        if kind == "mpgemm":
            activations, weights = ACTIVATION_FORMAT.name, self._weight_format
        elif kind == "quantize":
            result = ACTIVATION_FORMAT.name
        elif kind in ("embedding", "norm", "attention", "gemm"):
            weights = FLOAT
        self.steps[-1][1].append(Operation(layer, name, kind, m, k, n, batch, activations, weights, result))

    def quantized(self, layer: int, name: str, operand: Operand) -> None:
        self._quantized[layer_name(layer, name)].append(operand)

    def activations(self) -> dict[str, Operand]:
        """The operands of all steps, row after row."""
        return {
            name: Operand(
                np.concatenate([operand.codes for operand in parts]),
                np.concatenate([operand.scales for operand in parts]),
                ACTIVATION_FORMAT,
            )
            for name, parts in self._quantized.items()
        }
