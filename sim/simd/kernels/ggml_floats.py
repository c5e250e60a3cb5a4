"""Kernels of ggml for float weights: F32, F16 and BF16 on AVX-512, F32 and F16 on AVX2.

Activations meet the weights in their own type. Sums are taken in several registers of 16 floats (8 on AVX2), so that
they depend on the order, as floats do: 4 registers for F32 and F16, 2 for BF16, which adds two pairs of products at
once. Several tokens are taken in the tiles of `ggml_sgemm` on AVX-512, one dot product after the other on AVX2.

Source: llama.cpp, ggml/src/ggml-cpu/vec.cpp, `ggml_vec_dot_f32`, `_f16`, `_bf16`, as GCC 12 compiles it, and
`ggml_cpu_fp32_to_fp16`, `.._bf16` for the activations; `GGML_F32x8_REDUCE` (simd-mappings.h) for sums on AVX2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_driver import LLAMA_CPP, bytes_of, float_results, write_dots
from sim.simd.kernels.ggml_sgemm import FLOAT_TILES, write_float_tiles
from sim.simd.kernels.reductions import horizontal_sum
from sim.simd.program import Offset, Register

__all__ = ["FLOAT_TYPES", "GGML_FLOAT_KERNELS", "FloatType"]

Bytes = NDArray[np.uint8]

_AVX2 = 32


@dataclass(frozen=True)
class FloatType:
    """A type of weights.

    Parameters
    ----------
    name : str
    dtype : numpy dtype
    totals : int
        Registers of sums of a dot product.
    vector : int
        Numbers in what is loaded at once.
    step : function
        Adds the products of two such loads to a total: assembler, total, places in "weights" and in "blocks".
    vector_bytes : {32, 64}
        Width of its vectors: AVX2 or AVX-512.
    """

    name: str
    dtype: DTypeLike
    totals: int
    vector: int
    step: Callable[[Assembler, Register, Offset, Offset], None]
    vector_bytes: int = 64

    @property
    def size_bytes(self) -> int:
        """Of a number."""
        return int(np.dtype(self.dtype).itemsize)


def _f32(a: Assembler, total: Register, weights: Offset, inputs: Offset) -> None:
    a.into(total, "vfmadd231ps", total, a.load("weights", weights), memory=a.at("blocks", inputs))


def _f16(a: Assembler, total: Register, weights: Offset, inputs: Offset) -> None:
    half_bytes = a.vector_bytes // 2
    left = a.op("vcvtph2ps", memory=a.at("weights", weights, half_bytes))
    a.into(total, "vfmadd231ps", total, left, a.op("vcvtph2ps", memory=a.at("blocks", inputs, half_bytes)))


def _bf16(a: Assembler, total: Register, weights: Offset, inputs: Offset) -> None:
    a.into(total, "vdpbf16ps", total, a.load("weights", weights), a.load("blocks", inputs))


FLOAT_TYPES = {
    "f32": FloatType("f32", np.float32, 4, 16, _f32),
    "f16": FloatType("f16", np.float16, 4, 16, _f16),
    "bf16": FloatType("bf16", ml_dtypes.bfloat16, 2, 32, _bf16),
    "f32 AVX2": FloatType("f32 AVX2", np.float32, 4, 8, _f32, _AVX2),
    "f16 AVX2": FloatType("f16 AVX2", np.float16, 4, 8, _f16, _AVX2),
}


def _sum_of_floats(a: Assembler, total: Register) -> Register:
    """Of one register; on AVX2 by adding neighbours."""
    if a.vector_bytes > _AVX2:
        return horizontal_sum(a, total)
    four = a.op("vaddps", total, a.op("vextractf128", total, imm=1), size_bytes=16)
    two = a.op("vhaddps", four, four, size_bytes=16)
    return a.op("vhaddps", two, two, size_bytes=16)


def _dot(kind: FloatType, k: int) -> Callable[[Assembler, Offset, Offset], Register]:
    turn_bytes = kind.totals * kind.vector * kind.size_bytes
    stride = kind.vector * kind.size_bytes

    def dot(a: Assembler, weights: Offset, inputs: Offset) -> Register:
        totals = [a.op("zero") for _ in range(kind.totals)]
        with a.loop("turn", k * kind.size_bytes // turn_bytes) as turn:
            for number, total in enumerate(totals):
                place = turn * turn_bytes + number * stride
                kind.step(a, total, weights + place, inputs + place)
        if kind.totals == 2:
            return a.op("vaddss", *(horizontal_sum(a, total) for total in totals), size_bytes=16)
        pairs = [a.op("vaddps", totals[number], totals[number + 2]) for number in range(2)]
        return _sum_of_floats(a, a.op("vaddps", *pairs))

    return dot


def _convert(problem: Problem, kind: FloatType) -> tuple[Step, ...]:
    """Activations from "inputs" in float32 to "blocks" in the weights' type; nothing to do for float32."""
    if kind.size_bytes == 4:
        return ()
    count = problem.k * problem.batch_tokens
    width = kind.vector_bytes
    a = Assembler(f"to {kind.name}", width, {"inputs": 4 * count, "blocks": 2 * count})
    with a.loop("vector", 4 * count // width) as vector:
        value = a.load("inputs", vector * width)
        name = "vcvtps2ph" if kind.dtype == np.float16 else "vcvtneps2bf16"
        a.store("blocks", vector * (width // 2), a.op(name, value), size_bytes=width // 2)
    return (Step("quantize", a.program()),)


def _steps(problem: Problem, kind: FloatType) -> tuple[Step, ...]:
    """A dot product for each row with one token; on AVX-512, tiles for several, where rows come by fours."""
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    if k % (kind.totals * kind.vector):
        raise ValueError(f"{kind.name} takes rows of a multiple of {kind.totals * kind.vector} weights, found {k}")
    row_bytes = k * kind.size_bytes
    buffers = {"weights": n * row_bytes, "blocks": batch * row_bytes, "sums": 4 * n * batch}
    a = Assembler(kind.name, kind.vector_bytes, buffers)
    if kind.vector_bytes > _AVX2 and batch > 1 and n % 4 == 0:
        write_float_tiles(a, problem, FLOAT_TILES[kind.name])
    else:
        write_dots(a, problem, row_bytes, row_bytes, _dot(kind, k))
    return (*_convert(problem, kind), Step("product", a.program()))


def _operands(
    kind: FloatType,
) -> Callable[[Problem, NDArray[np.int8], NDArray[Any]], Mapping[str, Bytes]]:
    """Codes as weights of that value."""

    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        del problem
        inputs = bytes_of(activations.astype("<f4"))
        found = {"weights": bytes_of(codes.astype(kind.dtype)), "inputs": inputs}
        return found if kind.size_bytes < 4 else {"weights": found["weights"], "blocks": inputs}

    return operands


def _kernel(kind: FloatType) -> CpuKernel:
    features = {"avx2", "fma", "f16c"} | ({"avx512"} if kind.vector_bytes > _AVX2 else set())
    return CpuKernel(
        kind.name,
        frozenset(features | ({"bf16"} if kind.name == "bf16" else set())),
        LLAMA_CPP,
        lambda problem: _steps(problem, kind),
        _operands(kind),
        float_results,
        weight_format=str(np.dtype(kind.dtype)),
    )


GGML_FLOAT_KERNELS = tuple(_kernel(kind) for kind in FLOAT_TYPES.values())
