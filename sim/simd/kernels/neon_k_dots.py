"""Dot products of llama.cpp on NEON for the K-quants Q2_K and Q6_K, whose blocks of 256 have a scale for every 16
weights, against activations in Q8_K.

A weight is d · scale · code - dmin · minimum in Q2_K, d · scale · (code - 32) in Q6_K (`isa.packings.ggml_k`). Sixteen
products at a time come together to one integer, which its scale multiplies: in Q6_K in general registers, in Q2_K in
vectors of four such sums, as the compiler finds. Minima, and the 32 of Q6_K, meet the sums of the activations.

Source: llama.cpp, ggml/src/ggml-cpu/arch/arm/quants.c, `ggml_vec_dot_q2_K_q8_K` and `.._q6_K_q8_K` with dot products
and without 8-bit matrix products, as clang 22 compiles them with -O3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.simd.neon
import sim.simd.neon_floats
import sim.simd.neon_integers  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_driver import LLAMA_CPP, bytes_of, float_results, format_of, write_dots
from sim.simd.kernels.ggml_k_dots import pack_q2_k
from sim.simd.kernels.ggml_q6_k import Q6_K_BYTES, Q6_K_HIGH, Q6_K_SCALE, Q6_K_SCALES, pack_q6_k
from sim.simd.kernels.neon_ggml_quantize import Q8_K_BYTES, Q8_K_CODES, Q8_K_SUMS, quantize_constants, quantize_q8_k
from sim.simd.program import Offset, Register

__all__ = ["NEON_K_DOT_KERNELS"]

Bytes = NDArray[np.uint8]
Constants = Mapping[str, Register]
Block = Callable[[Assembler, Offset, Offset, Register, Constants], None]
"""Writes a block's part of a dot product: places of both blocks, the total that it adds to, and constants."""

_VALUES = 256
_Q2_K_BYTES, _Q2_K_CODES, _Q2_K_SCALE, _Q2_K_MINIMUM = 84, 16, 80, 82
_Q6_K_LOOP = 6
"""Instructions on integers of a half: places of activations and scales, and the number of the half."""


def _four_scales(first: int) -> Bytes:
    """Places of the bytes that become four words of 32 bits; zeros are beyond the table."""
    places = np.full((4, 4), 255, np.uint8)
    places[:, 0] = first + np.arange(4)
    return places.reshape(-1)


_CONSTANTS = {
    "nibbles": np.full(16, 15, np.uint8),
    "codes": np.full(16, 3, np.uint8),
    "high_bits": np.full(16, 48, np.uint8),
} | {f"scales_{number}": _four_scales(4 * number) for number in range(4)}


def _factor(a: Assembler, place: Offset) -> Register:
    return a.op("fcvt.16", a.load("weights", place, size_bytes=2))


def _products_of_sums(a: Assembler, numbers: Register, inputs: Offset, extended: tuple[str, str]) -> Register:
    """Sixteen bytes, as words, times the sums of sixteen activations: one integer."""
    sums = [a.load("blocks", inputs + (Q8_K_SUMS + 16 * half)) for half in range(2)]
    words = [a.op(name, numbers) for name in extended]
    total = a.op("smull.16", words[0], sums[0])
    a.into(total, "smlal2.16", total, words[0], sums[0])
    a.into(total, "smlal.16", total, words[1], sums[1])
    a.into(total, "smlal2.16", total, words[1], sums[1])
    return a.op("addv.32", total)


def _sum_of_products(a: Assembler, codes: Register, inputs: Offset) -> Register:
    return a.op("addv.32", a.op("sdot", a.op("movi"), codes, a.load("blocks", inputs)))


def _q2_k_block(a: Assembler, weights: Offset, inputs: Offset, total: Register, constants: Constants) -> None:
    factor = a.load("blocks", inputs, size_bytes=4)
    scales_and_minima = a.load("weights", weights)
    scales = a.op("and.8", scales_and_minima, constants["nibbles"])
    minima = _products_of_sums(a, a.op("ushr.8", scales_and_minima, imm=4), inputs, ("uxtl", "uxtl2"))
    negative = a.op("fnmul.32", factor, _factor(a, weights + _Q2_K_MINIMUM), size_bytes=4)
    a.into(total, "fmla.32", total, negative, a.op("scvtf.32", minima, size_bytes=4), size_bytes=4)
    pairs = list[Register]()
    for half in range(2):
        packed = [a.load("weights", weights + (_Q2_K_CODES + 32 * half + 16 * side)) for side in range(2)]
        for four in range(2):
            place = inputs + (Q8_K_CODES + 128 * half + 64 * four)
            sums = _four_sums_of_q2_k(a, packed, 2 * four, place, constants["codes"])
            factors = a.op("tbl", scales, constants[f"scales_{2 * half + four}"])
            if four:
                pairs[-1] = a.into(pairs[-1], "mla.32", pairs[-1], sums, factors)
            else:
                pairs.append(a.op("mul.32", sums, factors))
    whole = a.op("scvtf.32", a.op("addv.32", a.op("add.32", *pairs)), size_bytes=4)
    scale = a.op("fmul.32", factor, _factor(a, weights + _Q2_K_SCALE), size_bytes=4)
    a.into(total, "fmla.32", total, scale, whole, size_bytes=4)


def _four_sums_of_q2_k(a: Assembler, packed: list[Register], first: int, inputs: Offset, mask: Register) -> Register:
    """Of two fields of 32 bytes each, from a field on."""
    sums = []
    for number in range(4):
        field = first + number // 2
        part = a.op("ushr.8", packed[number % 2], imm=2 * field) if field else packed[number % 2]
        codes = part if field == 3 else a.op("and.8", part, mask)
        sums.append(_sum_of_products(a, codes, inputs + 16 * number))
    four = sums[0]
    for place, one in enumerate(sums[1:], 1):
        four = a.op("ins.32", four, one, imm=place)
    return four


def _q6_k_block(a: Assembler, weights: Offset, inputs: Offset, total: Register, constants: Constants) -> None:
    scales = a.load("weights", weights + Q6_K_SCALES)
    whole = a.op("movi", size_bytes=4)
    with a.loop("half", 2, overhead=_Q6_K_LOOP) as half:
        low_bits, high_bits = weights + half * 64, weights + half * 32 + Q6_K_HIGH
        high = [a.load("weights", high_bits + 16 * side) for side in range(2)]
        low = [a.load("weights", low_bits + 16 * part) for part in range(4)]
        for number in range(8):
            codes = _q6_k_codes(a, low[number % 4], high[number % 2], number // 2, constants)
            sums = _sum_of_products(a, codes, inputs + half * 128 + (Q8_K_CODES + 16 * number))
            place = a.at("weights", weights + half * 8 + (Q6_K_SCALES + number), 1)
            scale = a.op("ldrsb.w", memory=place, size_bytes=4)
            a.into(whole, "madd.w", whole, a.op("fmov.w", sums, size_bytes=4), scale, size_bytes=4)
    offset = _products_of_sums(a, scales, inputs, ("sxtl", "sxtl2"))
    offset = a.op("fmov.w", offset, size_bytes=4)
    whole = a.op("scvtf.w", a.op("sub.w", whole, offset, imm=5, size_bytes=4), size_bytes=4)
    factor = _factor(a, weights + Q6_K_SCALE)
    factor = a.op("fmul.32", a.load("blocks", inputs, size_bytes=4), factor, size_bytes=4)
    a.into(total, "fmla.32", total, factor, whole, size_bytes=4)


def _q6_k_codes(a: Assembler, low: Register, high: Register, field: int, constants: Constants) -> Register:
    """Sixteen codes: low four bits from the lower nibbles (fields 0 and 1) or the upper, the others from a field."""
    if field == 3:
        upper = a.op("and.8", a.op("ushr.8", high, imm=2), constants["high_bits"])
    elif field == 2:
        upper = a.op("and.8", high, constants["high_bits"])
    else:
        upper = a.op("and.8", a.op("shl.8", high, imm=4 - 2 * field), constants["high_bits"])
    if field < 2:
        return a.op("orr.8", a.op("and.8", low, constants["nibbles"]), upper)
    return a.op("usra.8", upper, low, imm=4)


def _kernel(
    name: str, block: Block, block_bytes: int, overhead: int, pack: Callable[[NDArray[np.int8]], Bytes]
) -> CpuKernel:
    def steps(problem: Problem) -> tuple[Step, ...]:
        if problem.k % _VALUES:
            raise ValueError(f"{name} takes rows of a multiple of {_VALUES} weights, found {problem.k}")
        blocks = problem.k // _VALUES
        sizes = {
            "weights": problem.n_out * blocks * block_bytes,
            "blocks": problem.batch_tokens * blocks * Q8_K_BYTES,
            "sums": 4 * problem.n_out * problem.batch_tokens,
        }
        a = Assembler(name, 16, sizes | dict.fromkeys(_CONSTANTS, 16))
        constants = {constant: a.load(constant, 0) for constant in _CONSTANTS}

        def dot(a: Assembler, weights: Offset, inputs: Offset) -> Register:
            total = a.op("movi", size_bytes=4)
            with a.loop("block", blocks, overhead=overhead) as number:
                block(a, weights + number * block_bytes, inputs + number * Q8_K_BYTES, total, constants)
            return total

        write_dots(a, problem, blocks * block_bytes, blocks * Q8_K_BYTES, dot)
        return quantize_q8_k(problem), Step("product", a.program())

    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        del problem
        floats = np.ascontiguousarray(activations, "<f4")
        return {"weights": pack(codes), "inputs": bytes_of(floats)} | _CONSTANTS | quantize_constants()

    known = name, frozenset({"neon", "dotprod"}), LLAMA_CPP, steps, operands, float_results
    return CpuKernel(*known, weight_format=format_of(name.split()[0].lower()))


NEON_K_DOT_KERNELS = (
    _kernel("Q2_K NEON dotprod", _q2_k_block, _Q2_K_BYTES, 15, pack_q2_k),
    _kernel("Q6_K NEON dotprod", _q6_k_block, Q6_K_BYTES, 8, pack_q6_k),
)
