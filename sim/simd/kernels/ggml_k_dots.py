"""Dot products of ggml on AVX2 for the K-quants Q2_K and Q4_K, whose blocks of 256 have scales and minima of their own
for every 16 or 32 weights, against activations in Q8_K.

A weight is d · scale · code - dmin · minimum (`isa.packings.ggml_k`). Codes and scales are multiplied in integers; the
minima meet the sums of the activations.

Source: llama.cpp, ggml/src/ggml-cpu/arch/x86/quants.c, `ggml_vec_dot_q2_K_q8_K` and `.._q4_K_q8_K`, as GCC 12 compiles
it for Zen 4.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

import sim.simd.x86_integers  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernels.ggml_dots import BlockDot, dot_kernel
from sim.simd.kernels.ggml_driver import bytes_of, repeated
from sim.simd.kernels.ggml_quantize import Q8_K_CODES, Q8_K_SUMS
from sim.simd.kernels.ggml_tiled import TiledFormat
from sim.simd.kernels.reductions import horizontal_sum
from sim.simd.program import Address, Offset, Register

__all__ = ["GGML_K_DOT_KERNELS", "pack_q2_k", "pack_q4_k", "six_bit_numbers"]

Bytes = NDArray[np.uint8]
Int8 = NDArray[np.int8]

_Q4_K_BYTES, _Q4_K_CODES = 144, 16
_Q2_K_BYTES, _Q2_K_CODES, _Q2_K_SCALE = 84, 16, 80


def _scale(a: Assembler, place: Address, factor: Register) -> Register:
    """A float16 times what is in a register, in all places of a vector."""
    pattern = a.load("weights", place.offset, size_bytes=2)
    number = a.op("lookup_f16", pattern, size_bytes=2)
    return a.op("vmulss", factor, number, size_bytes=4)


def _products(a: Assembler, codes: Register, inputs: Offset, scales: Register) -> Register:
    """Products of 32 codes, times scales of 16 bits: eight sums."""
    return a.op("vpmaddwd", scales, a.op("vpmaddubsw", codes, memory=a.at("blocks", inputs)))


def _added(a: Assembler, parts: list[Register]) -> Register:
    total = parts[0]
    for part in parts[1:]:
        total = a.op("vpaddd", total, part)
    return total


def six_bit_numbers(a: Assembler, place: Offset) -> Register:
    """Eight numbers of six bits and eight others as bytes: put together from 12 bytes in general registers."""
    first, second, third = (a.load("weights", place + 4 * number, size_bytes=4) for number in range(3))
    high_nibbles = a.op("shr", third, imm=4, size_bytes=4)
    rest = [a.op("and", value, imm=0x0F0F0F0F, size_bytes=4) for value in (third, high_nibbles)]
    pairs = []
    for low, high in zip((first, second), rest, strict=True):
        six = a.op("vmovd", a.op("and", low, imm=0x3F3F3F3F, size_bytes=4), size_bytes=16)
        upper_two = a.op("and", a.op("shr", low, imm=2, size_bytes=4), imm=0x30303030, size_bytes=4)
        pairs.append(a.op("vpinsrd", six, a.op("or", upper_two, high, size_bytes=4), imm=1, size_bytes=16))
    return a.op("vpunpcklqdq", *pairs, size_bytes=16)


def _q4_k_block(
    a: Assembler, weights: Offset, inputs: Offset, totals: Mapping[str, Register], constants: Mapping[str, Register]
) -> None:
    factor = a.load("blocks", inputs, size_bytes=4)
    scale = a.op("vbroadcastss", _scale(a, a.at("weights", weights), factor))
    negative = a.op("vpxor", factor, constants["sign"], size_bytes=4)
    minimum = a.op("vbroadcastss", _scale(a, a.at("weights", weights + 2), negative), size_bytes=16)
    scales_and_minima = a.op("vpmovzxbw", six_bit_numbers(a, weights + 4))
    sums = a.load("blocks", inputs + Q8_K_SUMS)
    pairs = a.op("vphaddw", sums, a.op("vextracti128", sums, imm=1), size_bytes=16)
    minima = a.op("vpmaddwd", a.op("vextracti128", scales_and_minima, imm=1), pairs, size_bytes=16)
    a.into(
        totals["minima"],
        "vfmadd231ps",
        totals["minima"],
        minimum,
        a.op("vcvtdq2ps", minima, size_bytes=16),
        size_bytes=16,
    )
    scales = a.op("vinserti128", scales_and_minima, scales_and_minima, imm=1)
    parts = []
    for number in range(8):
        packed = a.at("weights", weights + (_Q4_K_CODES + 32 * (number // 2)))
        if number % 2:
            codes = a.op("vpand", a.op("vpsrlw", memory=packed, imm=4), constants["nibble"])
        else:
            codes = a.op("vpand", constants["nibble"], memory=packed)
        spread = a.op("vpshufb", scales, constants[f"spread_{number}"])
        parts.append(_products(a, codes, inputs + (Q8_K_CODES + 32 * number), spread))
    a.into(totals["codes"], "vfmadd231ps", totals["codes"], scale, a.op("vcvtdq2ps", _added(a, parts)))


def _q2_k_block(
    a: Assembler, weights: Offset, inputs: Offset, totals: Mapping[str, Register], constants: Mapping[str, Register]
) -> None:
    total = totals["codes"]
    factor = a.load("blocks", inputs, size_bytes=4)
    scale = a.op("vbroadcastss", _scale(a, a.at("weights", weights + _Q2_K_SCALE), factor))
    negative = a.op("vpxor", factor, constants["sign"], size_bytes=4)
    minimum = a.op("vbroadcastss", _scale(a, a.at("weights", weights + (_Q2_K_SCALE + 2)), negative))
    shifted = a.op("vpsrlw", memory=a.at("weights", weights, 16), imm=4, size_bytes=16)
    minima = a.op("vpmovsxbw", a.op("vpand", shifted, constants["nibble"], size_bytes=16))
    sums = a.op("vpmaddwd", minima, memory=a.at("blocks", inputs + Q8_K_SUMS))
    a.into(total, "vfmadd231ps", total, minimum, a.op("vcvtdq2ps", sums))
    low = a.op("vpand", constants["nibble"], memory=a.at("weights", weights, 16), size_bytes=16)
    scales = a.op("vpmovsxbw", low)
    upper = a.op("vextracti128", scales, imm=1)
    halves = [a.op("vinserti128", scales, scales, imm=1), a.op("vinserti128", upper, upper, imm=1)]
    parts = []
    for number in range(8):
        packed = a.at("weights", weights + (_Q2_K_CODES + 32 * (number // 4)))
        if number % 4:
            codes = a.op("vpand", a.op("vpsrlw", memory=packed, imm=2 * (number % 4)), constants["code"])
        else:
            codes = a.op("vpand", constants["code"], memory=packed)
        spread = a.op("vpshufb", halves[number // 4], constants[f"spread_{number % 4}"])
        parts.append(_products(a, codes, inputs + (Q8_K_CODES + 32 * number), spread))
    a.into(total, "vfmadd231ps", total, scale, a.op("vcvtdq2ps", _added(a, parts)))


def _finish(a: Assembler, totals: Mapping[str, Register]) -> Register:
    return a.op("vaddss", horizontal_sum(a, totals["minima"]), horizontal_sum(a, totals["codes"]), size_bytes=16)


def _store_factors(a: Assembler, patterns: Offset, target: Offset) -> None:
    for number in range(2):
        pattern = a.load("weights", patterns + 2 * number, size_bytes=2)
        a.store("factors", target + 4 * number, a.op("lookup_f16", pattern, size_bytes=2))


def _unpack_q4_k(a: Assembler, weights: Offset, codes: Offset, scales: Offset, factors: Offset) -> None:
    _store_factors(a, weights, factors)
    numbers = six_bit_numbers(a, weights + 4)
    for half, part in enumerate((numbers, a.op("vpsrldq", numbers, imm=8, size_bytes=16))):
        a.store("scales", scales + 32 * half, a.op("vpmovzxbd", part))
    nibble = a.load("constants", 4)
    for pair in range(4):
        packed = a.load("weights", weights + (_Q4_K_CODES + 32 * pair))
        a.store("codes", codes + 64 * pair, a.op("vpand", packed, nibble))
        a.store("codes", codes + (64 * pair + 32), a.op("vpand", a.op("vpsrld", packed, imm=4), nibble))


def _unpack_q2_k(a: Assembler, weights: Offset, codes: Offset, scales: Offset, factors: Offset) -> None:
    _store_factors(a, weights + _Q2_K_SCALE, factors)
    nibble, code = a.load("constants", 4), a.load("constants", 36)
    low = a.op("vpand", nibble, memory=a.at("weights", weights, 16), size_bytes=16)
    high = a.op("vpsrlw", memory=a.at("weights", weights, 16), imm=4, size_bytes=16)
    for half, part in enumerate((low, a.op("vpand", high, nibble, size_bytes=16))):
        a.store("scales", scales + 64 * half, a.op("vpmovzxbd", part, size_bytes=64))
    for quarter in range(8):
        packed = a.load("weights", weights + (_Q2_K_CODES + 32 * (quarter // 4)))
        shifted = a.op("vpsrld", packed, imm=2 * (quarter % 4)) if quarter % 4 else packed
        a.store("codes", codes + 32 * quarter, a.op("vpand", shifted, code))


def pack_q4_k(codes: Int8) -> Bytes:
    """Codes -8 to 7 [n_out, k] as Q4_K: stored as code + 8 under scales of 1 and minima of 8."""
    blocks = np.zeros((codes.size // 256, _Q4_K_BYTES), np.uint8)
    blocks[:, :4] = bytes_of(np.ones(2, "<f2"))
    blocks[:, 4:16] = np.repeat(np.array([1, 8, 0x81], np.uint8), 4)
    fields = (codes.reshape(-1, 4, 2, 32) + 8).astype(np.uint8)
    blocks[:, 16:] = (fields[:, :, 0] | fields[:, :, 1] << 4).reshape(-1, 128)
    return blocks.reshape(-1)


def pack_q2_k(codes: Int8) -> Bytes:
    """Codes -1 to 2 [n_out, k] as Q2_K: stored as code + 1 under scales of 1 and minima of 1."""
    blocks = np.zeros((codes.size // 256, _Q2_K_BYTES), np.uint8)
    blocks[:, :16] = 0x11
    fields = (codes.reshape(-1, 2, 4, 32) + 1).astype(np.uint8)
    for place in range(4):
        blocks[:, 16:80] |= (fields[:, :, place] << 2 * place).reshape(-1, 64)
    blocks[:, 80:] = bytes_of(np.ones(2, "<f2"))
    return blocks.reshape(-1)


def _word_spread(low: int, high: int) -> Bytes:
    """A shuffle that fills the lower and the upper half of a register with one word each."""
    return np.repeat(np.array([[2 * low, 2 * low + 1], [2 * high, 2 * high + 1]], np.uint8), 8, axis=0).reshape(-1)


_SIGN = ("sign", repeated(-0.0, "<f4", 4))
_NIBBLE = ("nibble", repeated(15, "u1"))

_SPREADS = tuple((f"spread_{number}", _word_spread(number, number)) for number in range(8))
_PAIRS = tuple((f"spread_{number}", _word_spread(2 * number, 2 * number + 1)) for number in range(4))
_MOVES_OF_Q4_K = 13
"""Of a block: pointers, and copies and spills of the general registers that scales are put together in."""

_Q4_K = BlockDot(
    "q4_K",
    256,
    _Q4_K_BYTES,
    pack_q4_k,
    (_SIGN, _NIBBLE, *_SPREADS),
    _q4_k_block,
    overhead=_MOVES_OF_Q4_K,
    totals={"codes": 32, "minima": 16},
    finish=_finish,
    windows=TiledFormat(_Q4_K_BYTES, 32, _unpack_q4_k),
)
_Q2_K = BlockDot(
    "q2_K",
    256,
    _Q2_K_BYTES,
    pack_q2_k,
    (_SIGN, _NIBBLE, ("code", repeated(3, "u1")), *_PAIRS),
    _q2_k_block,
    overhead=6,
    windows=TiledFormat(_Q2_K_BYTES, 16, _unpack_q2_k),
)

GGML_K_DOT_KERNELS = (dot_kernel(_Q4_K), dot_kernel(_Q2_K))
