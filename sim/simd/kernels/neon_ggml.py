"""Kernels of llama.cpp on NEON: TQ2_0, Q4_0 and Q8_0 with dot products, and float16 with half-precision arithmetic.

Blocks are those of `isa.packings.ggml`; rows and tokens are taken as `ggml_driver` does. A block's sum is exact in
integers; blocks come together in float32 under both scales. F16 adds up in float16, as publicly: 1/32 of a row a lane.
Activations are converted in `neon_ggml_quantize`.

Source: llama.cpp, ggml/src/ggml-cpu/arch/arm/quants.c, `ggml_vec_dot_tq2_0_q8_K`, `.._q4_0_q8_0`, `.._q8_0_q8_0` with
dot products and without 8-bit matrix products; ggml/src/ggml-cpu/vec.cpp, `ggml_vec_dot_f16`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.simd.neon
import sim.simd.neon_floats  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_dots import packed_with_scales_of_one
from sim.simd.kernels.ggml_driver import LLAMA_CPP, Dot, bytes_of, float_results, format_of, write_dots
from sim.simd.kernels.neon_ggml_quantize import (
    Q8_0_BYTES,
    Q8_K_BYTES,
    Q8_K_CODES,
    Q8_K_SUMS,
    quantize_constants,
    quantize_f16,
    quantize_q8_0,
    quantize_q8_k,
)
from sim.simd.program import Offset, Register

__all__ = ["NEON_GGML_KERNELS"]

Bytes = NDArray[np.uint8]

_Q4_0_BYTES, _TQ2_0_BYTES, _TQ2_0_SCALE = 18, 66, 64
_VALUES = 32
_TQ2_0_VALUES = 256
_CONSTANTS = {
    "nibbles": np.full(16, 15, np.uint8),
    "eights": np.full(16, 8, np.uint8),
    "codes": np.full(16, 3, np.uint8),
}


def _scale(a: Assembler, weights: Offset, inputs: Offset) -> Register:
    """The product of two float16 scales, as one number."""
    both = [
        a.op("fcvt.16", a.load(name, place, size_bytes=2)) for name, place in (("weights", weights), ("blocks", inputs))
    ]
    return a.op("fmul.32", *both, size_bytes=4)


def _sum_of_floats(a: Assembler, total: Register) -> Register:
    pairs = a.op("faddp.32", total, total)
    return a.op("faddp.32", pairs, pairs)


def _two_blocks(
    blocks: int, weight_bytes: int, dot: Callable[[Assembler, Offset, Offset, Mapping[str, Register]], Register]
) -> Callable[[Mapping[str, Register]], Dot]:
    """Pairs of blocks of 32, each with a total of its own."""

    def write(constants: Mapping[str, Register]) -> Dot:
        def row(a: Assembler, weights: Offset, inputs: Offset) -> Register:
            totals = [a.op("movi") for _ in range(2)]
            with a.loop("blocks", blocks // 2) as pair:
                for number, total in enumerate(totals):
                    block = weights + pair * (2 * weight_bytes) + number * weight_bytes
                    values = inputs + pair * (2 * Q8_0_BYTES) + number * Q8_0_BYTES
                    sums = a.op("scvtf.32", dot(a, block + 2, values + 2, constants))
                    a.into(total, "fmla.32", total, sums, _scale(a, block, values))
            return a.op("fadd.32", *(_sum_of_floats(a, total) for total in totals))

        return row

    return write


def _q8_0_block(a: Assembler, codes: Offset, inputs: Offset, _: Mapping[str, Register]) -> Register:
    halves = [
        a.op("sdot", a.op("movi"), a.load("weights", codes + 16 * half), a.load("blocks", inputs + 16 * half))
        for half in range(2)
    ]
    return a.op("add.32", *halves)


def _q4_0_block(a: Assembler, codes: Offset, inputs: Offset, constants: Mapping[str, Register]) -> Register:
    packed = a.load("weights", codes)
    nibbles = (a.op("and.8", packed, constants["nibbles"]), a.op("ushr.8", packed, imm=4))
    total = a.op("movi")
    for half, nibble in enumerate(nibbles):
        weights = a.op("sub.8", nibble, constants["eights"])
        total = a.op("sdot", total, weights, a.load("blocks", inputs + 16 * half))
    return total


def _tq2_0_row(blocks: int) -> Callable[[Mapping[str, Register]], Dot]:
    def write(constants: Mapping[str, Register]) -> Dot:
        def row(a: Assembler, weights: Offset, inputs: Offset) -> Register:
            total = a.op("movi", size_bytes=4)
            with a.loop("block", blocks) as block:
                stored, values = weights + block * _TQ2_0_BYTES, inputs + block * Q8_K_BYTES
                sums = _tq2_0_block(a, stored, values, constants["codes"])
                scale = a.op("fcvt.16", a.load("weights", stored + _TQ2_0_SCALE, size_bytes=2))
                scale = a.op("fmul.32", scale, a.load("blocks", values, size_bytes=4), size_bytes=4)
                whole = a.op("scvtf.32", a.op("addv.32", sums), size_bytes=4)
                a.into(total, "fmla.32", total, whole, scale, size_bytes=4)
            return total

        return row

    return write


def _tq2_0_block(a: Assembler, weights: Offset, inputs: Offset, mask: Register) -> Register:
    """Sums of code times activation, less those of the activations."""
    totals = [a.op("movi") for _ in range(2)]
    for half in range(2):
        packed = [a.load("weights", weights + (32 * half + 16 * side)) for side in range(2)]
        for field in range(4):
            for side, total in enumerate(totals):
                part = a.op("ushr.8", packed[side], imm=2 * field) if field else packed[side]
                codes = part if field == 3 else a.op("and.8", part, mask)
                values = a.load("blocks", inputs + (Q8_K_CODES + 128 * half + 32 * field + 16 * side))
                a.into(total, "sdot", total, codes, values)
    pairs = [a.load("blocks", inputs + (Q8_K_SUMS + 16 * half)) for half in range(2)]
    offset = a.op("saddlp.16", a.op("add.16", *pairs))
    return a.op("sub.32", a.op("add.32", *totals), offset)


def _f16_row(k: int) -> Callable[[Mapping[str, Register]], Dot]:
    def write(_: Mapping[str, Register]) -> Dot:
        def row(a: Assembler, weights: Offset, inputs: Offset) -> Register:
            totals = [a.op("movi") for _ in range(4)]
            with a.loop("step", k // _VALUES) as step:
                for number, total in enumerate(totals):
                    left = a.load("weights", weights + step * 64 + 16 * number)
                    right = a.load("blocks", inputs + step * 64 + 16 * number)
                    a.into(total, "fmla.16", total, left, right)
            halves = [a.op("fadd.16", totals[number], totals[number + 2]) for number in range(2)]
            one = a.op("fadd.16", *halves)
            return _sum_of_floats(a, a.op("fadd.32", a.op("fcvtl", one), a.op("fcvtl2", one)))

        return row

    return write


def _product(problem: Problem, name: str, row: Callable[[Mapping[str, Register]], Dot], sizes: tuple[int, int]) -> Step:
    row_bytes, token_bytes = sizes
    buffers = {
        "weights": problem.n_out * row_bytes,
        "blocks": problem.batch_tokens * token_bytes,
        "sums": 4 * problem.n_out * problem.batch_tokens,
    } | dict.fromkeys(_CONSTANTS, 16)
    a = Assembler(name, 16, buffers)
    write_dots(a, problem, row_bytes, token_bytes, row({constant: a.load(constant, 0) for constant in _CONSTANTS}))
    return Step("product", a.program())


def _check(problem: Problem, name: str, values: int) -> None:
    if problem.k % values:
        raise ValueError(f"{name} takes rows of a multiple of {values} weights, found {problem.k}")


def _q8_0(problem: Problem) -> tuple[Step, ...]:
    _check(problem, "Q8_0 on NEON", 2 * _VALUES)
    blocks = problem.k // _VALUES
    sizes = (blocks * Q8_0_BYTES, blocks * Q8_0_BYTES)
    row = _two_blocks(blocks, Q8_0_BYTES, _q8_0_block)
    return quantize_q8_0(problem), _product(problem, "Q8_0 NEON dotprod", row, sizes)


def _q4_0(problem: Problem) -> tuple[Step, ...]:
    _check(problem, "Q4_0 on NEON", 2 * _VALUES)
    blocks = problem.k // _VALUES
    sizes = (blocks * _Q4_0_BYTES, blocks * Q8_0_BYTES)
    row = _two_blocks(blocks, _Q4_0_BYTES, _q4_0_block)
    return quantize_q8_0(problem), _product(problem, "Q4_0 NEON dotprod", row, sizes)


def _tq2_0(problem: Problem) -> tuple[Step, ...]:
    _check(problem, "TQ2_0", _TQ2_0_VALUES)
    blocks = problem.k // _TQ2_0_VALUES
    sizes = (blocks * _TQ2_0_BYTES, blocks * Q8_K_BYTES)
    return quantize_q8_k(problem), _product(problem, "TQ2_0 NEON dotprod", _tq2_0_row(blocks), sizes)


def _f16(problem: Problem) -> tuple[Step, ...]:
    _check(problem, "F16 on NEON", _VALUES)
    return quantize_f16(problem), _product(problem, "F16 NEON", _f16_row(problem.k), (2 * problem.k, 2 * problem.k))


def _kernel(
    name: str,
    features: set[str],
    steps: Callable[[Problem], tuple[Step, ...]],
    pack: Callable[[NDArray[np.int8]], Bytes],
) -> CpuKernel:
    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        del problem
        floats = np.ascontiguousarray(activations, "<f4")
        return {"weights": pack(codes), "inputs": bytes_of(floats)} | _CONSTANTS | quantize_constants()

    known = name, frozenset({"neon", *features}), LLAMA_CPP, steps, operands, float_results
    return CpuKernel(*known, weight_format=format_of(name.split()[0].lower()))


NEON_GGML_KERNELS = (
    _kernel("TQ2_0 NEON dotprod", {"dotprod"}, _tq2_0, packed_with_scales_of_one("tq2_0")),
    _kernel("Q4_0 NEON dotprod", {"dotprod"}, _q4_0, packed_with_scales_of_one("q4_0")),
    _kernel("Q8_0 NEON dotprod", {"dotprod"}, _q8_0, packed_with_scales_of_one("q8_0")),
    _kernel("F16 NEON", {"fp16"}, _f16, lambda codes: bytes_of(codes.astype("<f2"))),
)
