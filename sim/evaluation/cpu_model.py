"""Tokens a second of a whole model on a CPU: every matrix product by its kernel, and what lies between them by the
numbers that it goes through.

Weights are read from DRAM for each token or prompt: models are larger than caches. Products of low-bit weights take the
kernel that is asked for, the head one of its own. Norms, activations and the like go through their operands number by
number, rows shared out among threads: that of a decoded token is one thread's. Attention reads its keys and values from
DRAM. Between operations threads meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from isa import InputError
from sim.simd.kernel import CpuKernel
from sim.timing.cpu.core import Core
from sim.timing.cpu.predict import predict_kernel
from workloads import Architecture, shape_only_trace

__all__ = ["ModelPrediction", "predict_model"]

Phase = Literal["prefill", "decode"]

# Products of rows that a kernel does not take are computed with rows filled up to a multiple that all take.
_ROWS_OF, _COLUMNS_OF = 768, 256
_FLOAT_BYTES, _HALF_BYTES = 4, 2
_NUMBER_NS = 1.8
"""Time of a number that an operation between products reads or writes, on one thread. Calibrated on two published
speeds of bitnet.cpp, Llama-2-7B on M2 Ultra and on i7-13700H (arXiv 2410.16144)."""


@dataclass(frozen=True)
class ModelPrediction:
    """Speed of a model.

    Parameters
    ----------
    tokens_per_second : float
        Of all sequences together; of a prefill, of its prompt.
    bound_by : str
        What bounds most of the time: a pipe, "latency", "DRAM", ...
    milliseconds : mapping of str to float
        Of one pass through the model: "projections", "head", "attention", "other".
    """

    tokens_per_second: float
    bound_by: str
    milliseconds: Mapping[str, float]

    @property
    def head_share(self) -> float:
        """Of the time, the head's."""
        return self.milliseconds["head"] / sum(self.milliseconds.values())


def predict_model(
    core: Core,
    architecture: Architecture,
    kernel: CpuKernel,
    head: CpuKernel,
    *,
    threads: int = 1,
    phase: Phase = "decode",
    tokens: int = 1,
    context_tokens: int = 128,
) -> ModelPrediction:
    """Speed of a model whose low-bit weights are computed by one kernel, and its head by another.

    Parameters
    ----------
    core : Core
    architecture : Architecture
    kernel, head : CpuKernel
    threads : int
    phase : {"prefill", "decode"}
    tokens : int
        Of the prompt, or sequences that are decoded side by side.
    context_tokens : int
        What a decoded token attends to.

    Raises
    ------
    InputError
        If the core cannot run a kernel.
    """
    shapes = _shapes(architecture, phase, tokens, context_tokens)
    parts = dict.fromkeys(("projections", "head", "attention", "other"), 0.0)
    bounds: dict[str, float] = {}
    costs = _Costs(core, kernel, head, threads)
    for row in shapes:
        part, time_us, bound = costs.of(row)
        parts[part] += row["count"] * (time_us + core.operation_us) * 1e-3
        bounds[bound] = bounds.get(bound, 0.0) + row["count"] * time_us
    seconds = sum(parts.values()) * 1e-3
    return ModelPrediction(tokens / seconds, max(bounds, key=lambda each: bounds[each]), parts)


@lru_cache(maxsize=256)
def _shapes(architecture: Architecture, phase: Phase, tokens: int, context_tokens: int) -> list[dict[str, Any]]:
    """The operations of one pass by kind and sizes, and how many there are of each."""
    prefill, batch = (tokens, 1) if phase == "prefill" else (0, tokens)
    trace = shape_only_trace(
        architecture,
        prefill_tokens=prefill,
        decode_steps=int(phase == "decode"),
        batch=batch,
        weight_format="ternary",
        context_tokens=context_tokens if phase == "decode" else None,
    )
    columns = ["kind", "m", "k", "n", "batch"]
    counted = trace.operations.groupby(columns, observed=True, sort=False).size().reset_index(name="count")
    return [{str(name): value for name, value in row.items()} for row in counted.to_dict("records")]


@dataclass(frozen=True)
class _Costs:
    """Time of operations: which part of the model, microseconds, and what bounds it."""

    core: Core
    kernel: CpuKernel
    head: CpuKernel
    threads: int

    def of(self, row: Mapping[str, Any]) -> tuple[str, float, str]:
        """Of a row of shapes."""
        match row["kind"]:
            case "mpgemm":
                return "projections", *self._product(self.kernel, row)
            case "gemm":
                return "head", *self._product(self.head, row)
            case "attention":
                return "attention", *self._attention(row)
        return "other", *self._elementwise(row)

    def _product(self, kernel: CpuKernel, row: Mapping[str, Any]) -> tuple[float, str]:
        k, n, m = row["k"], row["n"], row["m"] * row["batch"]
        try:
            found = predict_kernel(self.core, kernel, k, n, m, self.threads, "stream")
        except InputError:
            k, n = -(-k // _COLUMNS_OF) * _COLUMNS_OF, -(-n // _ROWS_OF) * _ROWS_OF
            found = predict_kernel(self.core, kernel, k, n, m, self.threads, "stream")
        return found.time_us, found.bound_by

    def _attention(self, row: Mapping[str, Any]) -> tuple[float, str]:
        """Keys or values are read once for all heads that share them; products take one multiplier."""
        core = self.core
        read_us = row["batch"] * row["k"] * row["n"] * _HALF_BYTES / core.dram.total_of(self.threads) * 1e-3
        lanes = core.vector_bytes // _FLOAT_BYTES * self.threads
        compute_us = row["batch"] * row["m"] * row["k"] * row["n"] / (lanes * core.clock_of(self.threads)) * 1e-3
        return max((read_us, "DRAM"), (compute_us, "attention"))

    def _elementwise(self, row: Mapping[str, Any]) -> tuple[float, str]:
        """Rows are shared out among threads; a decoded token is one row."""
        rows = row["batch"] * row["m"]
        return rows * (row["k"] + row["n"]) * _NUMBER_NS / min(self.threads, rows) * 1e-3, "other operations"
