"""Weights of ggml that are repacked as they are loaded: eight rows side by side, in turns of 8 bytes, for AVX2; and the
product of such rows with a token.

    Q4_0 x 8   144 bytes   8 float16 scales, 128 bytes of codes as signed nibbles
    Q4_K x 8   1152 bytes  8 float16 scales, 8 float16 minima, 8 x 12 bytes of 6-bit scales and minima, 1024 bytes

The sums of the eight rows stay apart in a register, so that no row ends with a sum across it. Products with more tokens
are in `sim.simd.kernels.ggml_repack_batch`.

Source: llama.cpp, ggml/src/ggml-cpu/repack.cpp (`make_block_q4_0x8`, `make_block_q4_Kx8`) and arch/x86/repack.cpp
(`gemv_q4_b32_8x8_q8_0_lut_avx`, `ggml_gemv_q4_K_8x8_q8_K`), as GCC 12 compiles them for Zen 4.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem
from sim.simd.kernels.ggml_dots import Constants, load_constants
from sim.simd.kernels.ggml_driver import bytes_of, repeated
from sim.simd.kernels.ggml_k_dots import six_bit_numbers
from sim.simd.kernels.ggml_quantize import Q8_0_BYTES, Q8_K_BYTES, Q8_K_CODES, Q8_K_SUMS
from sim.simd.program import Offset, Register

__all__ = [
    "Q4_0X8_BYTES",
    "Q4_0X8_CONSTANTS",
    "Q4_KX8_BYTES",
    "Q4_KX8_CONSTANTS",
    "ROWS",
    "interleave_q4_0",
    "interleave_q4_k",
    "write_q4_0_gemv",
    "write_q4_k_gemv",
]

Bytes = NDArray[np.uint8]
Registers = Mapping[str, Register]

ROWS = 8
Q4_0X8_BYTES, Q4_KX8_BYTES = 144, 1152
_TURN = 8
_SWAP_PAIRS = 0b10110001
_ODD = 0b10101010

_ORDER_OF_ROWS = np.array([0, 4, 1, 5, 2, 6, 3, 7])
"""Rows in a register of sums."""

_COMMON: Constants = (
    ("nibble", repeated(15, "u1")),
    ("order", bytes_of(np.array([0, 2, 4, 6, 1, 3, 5, 7], "<u4"))),
    ("scales", bytes_of(_ORDER_OF_ROWS.astype("u1").repeat(2) * 2 + np.tile(np.array([0, 1], "u1"), 8))),
)
Q4_0X8_CONSTANTS: Constants = (
    *_COMMON,
    ("signed", bytes_of(np.tile(np.array([*range(8), *range(-8, 0)], "i1"), 2))),
)
Q4_KX8_CONSTANTS: Constants = (*_COMMON, ("numbers", bytes_of(_ORDER_OF_ROWS.astype("u1").repeat(2))))


def interleave_q4_0(weights: Bytes, problem: Problem) -> Bytes:
    """Blocks of Q4_0 of all rows, eight rows side by side."""
    blocks = weights.reshape(problem.n_out // ROWS, ROWS, problem.k // 32, 18).swapaxes(1, 2)
    codes = blocks[..., 2:].reshape(*blocks.shape[:2], ROWS, 2, _TURN).swapaxes(2, 3) ^ 0x88
    groups = blocks.shape[:2]
    return np.concatenate([blocks[..., :2].reshape(*groups, 16), codes.reshape(*groups, 128)], axis=-1).reshape(-1)


def interleave_q4_k(weights: Bytes, problem: Problem) -> Bytes:
    """Blocks of Q4_K of all rows, eight rows side by side; the scales of a sub-block of eight rows come together."""
    blocks = weights.reshape(problem.n_out // ROWS, ROWS, problem.k // 256, 144).swapaxes(1, 2)
    groups = blocks.shape[:2]
    codes = blocks[..., 16:].reshape(*groups, ROWS, 16, _TURN).swapaxes(2, 3)
    packed = blocks[..., 4:16]
    low, high, rest = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    scales = np.concatenate([low & 63, low >> 6 << 4 | rest & 15], axis=-1).swapaxes(2, 3)
    minima = np.concatenate([high & 63, high >> 6 << 4 | rest >> 4], axis=-1).swapaxes(2, 3)
    mixed = [
        scales[..., :4] | scales[..., 4:] >> 4 << 6,
        minima[..., :4] | minima[..., 4:] >> 4 << 6,
        scales[..., 4:] & 15 | (minima[..., 4:] & 15) << 4,
    ]
    parts = [blocks[..., 0:2], blocks[..., 2:4], np.concatenate(mixed, axis=-1), codes]
    return np.concatenate([part.reshape(*groups, -1) for part in parts], axis=-1).reshape(-1)


def _in_both_halves(a: Assembler, half: Register) -> Register:
    """The public code has vperm2i128 for it, which takes the same pipes."""
    return a.op("vinserti128", half, half, imm=1)


def _pairs_of_rows(a: Assembler, first: Register, second: Register) -> tuple[Register, Register]:
    """Four inputs of each of eight rows, and the next four: from rows 0 to 3 and 4 to 7, eight inputs each."""
    low = a.op("vpblendd", first, a.op("vpshufd", second, imm=_SWAP_PAIRS), imm=_ODD)
    high = a.op("vpblendd", a.op("vpshufd", first, imm=_SWAP_PAIRS), second, imm=_ODD)
    return low, high


def _unpacked(a: Assembler, place: Offset, high: bool, nibble: Register) -> Register:
    memory = a.at("weights", place)
    if high:
        return a.op("vpand", a.op("vpsrlw", memory=memory, imm=4), nibble)
    return a.op("vpand", nibble, memory=memory)


def _scales_of_rows(a: Assembler, place: Offset, order: Register) -> Register:
    stored = a.load("weights", place, size_bytes=16)
    return a.op("vcvtph2ps", a.op("vpshufb", stored, order, size_bytes=16))


def write_q4_0_gemv(a: Assembler, problem: Problem, first_byte: int, token: int) -> None:
    """The product of all rows with a token whose blocks of Q8_0 begin at some byte of "blocks"."""
    blocks = problem.k // 32
    constants = load_constants(a, Q4_0X8_CONSTANTS)
    with a.loop("rows", problem.n_out // ROWS, overhead=9) as rows:
        total = a.op("zero")
        with a.loop("block", blocks, overhead=3) as block:
            weights = rows * (blocks * Q4_0X8_BYTES) + block * Q4_0X8_BYTES
            inputs = block * Q8_0_BYTES + first_byte
            integers = _q4_0_sums(a, weights, inputs, constants)
            scale = a.op("lookup_f16", a.load("blocks", inputs, size_bytes=2), size_bytes=2)
            scales = a.op("vmulps", _scales_of_rows(a, weights, constants["scales"]), scale)
            a.into(total, "vfmadd231ps", total, a.op("vcvtdq2ps", integers), scales)
        target = rows * (4 * ROWS) + 4 * problem.n_out * token
        a.store("sums", target, a.op("vpermps", constants["order"], total))


def _q4_0_sums(a: Assembler, weights: Offset, inputs: Offset, constants: Registers) -> Register:
    """Products of 32 inputs with eight rows, four inputs at a time."""
    total = a.op("zero")
    for half in range(2):
        activations = _in_both_halves(a, a.load("blocks", inputs + (2 + 16 * half), 16))
        for eight in range(2):
            place = weights + (16 + 64 * eight)
            rows = [
                a.op("vpshufb", constants["signed"], _unpacked(a, place + 32 * part, half == 1, constants["nibble"]))
                for part in range(2)
            ]
            for number, codes in enumerate(_pairs_of_rows(a, rows[0], rows[1])):
                four = a.op("vpshufd", activations, imm=0b01010101 * (2 * eight + number))
                magnitude, with_sign = a.op("vpsignb", codes, codes), a.op("vpsignb", four, codes)
                a.into(total, "vpdpbusd", total, magnitude, with_sign)
    return total


_MOVES_OF_Q4_K = 24
"""Of a turn: pointers, and copies and spills of the general registers that scales are put together in."""


def write_q4_k_gemv(a: Assembler, problem: Problem, first_byte: int, token: int) -> None:
    """The product of all rows with a token whose blocks of Q8_K begin at some byte of "blocks"."""
    blocks = problem.k // 256
    constants = load_constants(a, Q4_KX8_CONSTANTS)
    with a.loop("rows", problem.n_out // ROWS, overhead=20) as rows:
        total, minima = a.op("zero"), a.op("zero")
        with a.loop("block", blocks, overhead=12) as block:
            weights = rows * (blocks * Q4_KX8_BYTES) + block * Q4_KX8_BYTES
            inputs = block * Q8_K_BYTES + first_byte
            _q4_k_block(a, weights, inputs, (total, minima), constants)
        ordered = a.op("vpermps", constants["order"], total)
        a.store("sums", rows * (4 * ROWS) + 4 * problem.n_out * token, a.op("vsubps", ordered, minima))


def _q4_k_block(
    a: Assembler, weights: Offset, inputs: Offset, totals: tuple[Register, Register], constants: Registers
) -> None:
    total, minima = totals
    factor = a.load("blocks", inputs, size_bytes=4)
    scales = _scales_of_rows(a, weights, constants["scales"])
    factors_of_minima = a.op("vcvtph2ps", memory=a.at("weights", weights + 16, 16))
    low, whole = a.load("blocks", inputs + Q8_K_SUMS, 16), a.load("blocks", inputs + Q8_K_SUMS)
    pairs = a.op("vphaddw", low, a.op("vextracti128", whole, imm=1), size_bytes=16)
    sums = _in_both_halves(a, pairs)
    codes_total, minima_total = a.op("zero"), a.op("zero")
    with a.loop("pair", 4, overhead=_MOVES_OF_Q4_K) as pair:
        numbers = [six_bit_numbers(a, weights + pair * 24 + (32 + 12 * part)) for part in range(2)]
        parts = []
        for part, packed in enumerate(numbers):
            shuffled = a.op("vpshufb", packed, constants["numbers"], size_bytes=16)
            integers = _q4_k_sums(a, weights + pair * 256 + 128, inputs + pair * 64, part, constants["nibble"])
            parts.append(a.op("vpmaddwd", integers, a.op("vpmovzxbw", shuffled)))
        upper = [a.op("vpshufd", packed, imm=0b01001110, size_bytes=16) for packed in numbers]
        wide = a.op("vpmovzxbw", a.op("vpunpcklbw", *upper, size_bytes=16))
        two = a.op("vpmaddwd", a.op("vpshufd", sums, imm=0), wide)
        a.into(sums, "vpsrldq", sums, imm=4)
        a.into(codes_total, "vpaddd", a.op("vpaddd", *parts), codes_total)
        a.into(minima_total, "vpaddd", two, minima_total)
    a.into(total, "vfmadd231ps", total, a.op("vcvtdq2ps", codes_total), a.op("vmulps", factor, scales))
    scaled = a.op("vmulps", factor, factors_of_minima)
    a.into(minima, "vfmadd231ps", minima, a.op("vcvtdq2ps", minima_total), scaled)


def _q4_k_sums(a: Assembler, weights: Offset, inputs: Offset, part: int, nibble: Register) -> Register:
    """Products of 32 inputs with eight rows as sums of 16 bits, which hold 8 products of 4-bit codes with bytes."""
    products = []
    for half in range(2):
        activations = _in_both_halves(a, a.load("blocks", inputs + (Q8_K_CODES + 32 * part + 16 * half), 16))
        for eight in range(2):
            place = weights + 64 * (2 * half + eight)
            rows = [_unpacked(a, place + 32 * side, part == 1, nibble) for side in range(2)]
            for number, codes in enumerate(_pairs_of_rows(a, rows[0], rows[1])):
                four = a.op("vpshufd", activations, imm=0b01010101 * (2 * eight + number))
                products.append(a.op("vpmaddubsw", codes, four))
    total = products[0]
    for product in products[1:]:
        total = a.op("vpaddw", total, product)
    return total
