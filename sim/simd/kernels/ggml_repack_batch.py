"""Products of ggml's repacked weights with several tokens on AVX-512: sixteen rows with sixteen tokens, or with four.

Four tokens lie side by side as eight rows do: in turns of eight codes. A register of inputs has four of each of two
tokens, one of weights four of each of eight rows, and their products come to sixteen sums; the order of rows and tokens
is put right once a block.

Source: llama.cpp, ggml/src/ggml-cpu/arch/x86/repack.cpp, `gemm_q4_b32_8x8_q8_0_lut_avx` and `ggml_gemm_q4_K_8x8_q8_K`
for AVX-512.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem
from sim.simd.kernels.ggml_dots import Constants, load_constants
from sim.simd.kernels.ggml_driver import bytes_of, repeated
from sim.simd.kernels.ggml_k_dots import six_bit_numbers
from sim.simd.kernels.ggml_repack import Q4_0X8_BYTES, Q4_KX8_BYTES
from sim.simd.kernels.ggml_repack_quantize import Q8_0X4_BYTES, Q8_KX4_BYTES
from sim.simd.program import Offset, Register

__all__ = ["BATCH_CONSTANTS", "write_q4_0_gemm", "write_q4_k_gemm"]

Bytes = NDArray[np.uint8]
Registers = Mapping[str, Register]

_WIDE = 64
_ROWS, _TOKENS = 16, 4
_K_CODES, _K_SUMS = 16, 1040

_ROW_PATTERNS = 0b10001000, 0b11011101
_TOKEN_PATTERNS = 0b10100000, 0b11110101
_SWAP_HALVES = 0b01001110
_UPPER_PAIRS = 0b11001100
_UPPER_HALF = 0b11110000

BATCH_CONSTANTS: Constants = (
    ("halves", bytes_of(np.array([4, 5, 6, 7, 0, 1, 2, 3], "<u4"))),
    ("nibbles", repeated(15, "u1", _WIDE)),
    ("signed_nibbles", bytes_of(np.tile(np.array([*range(8), *range(-8, 0)], "i1"), 4))),
)

Matrix = list[list[list[Register]]]
"""Registers by turn of eight inputs, by half of the rows or tokens, and by pattern."""


def _patterns(a: Assembler, value: Register, patterns: Sequence[int]) -> list[Register]:
    return [a.op("vpshufd", value, imm=pattern, size_bytes=_WIDE) for pattern in patterns]


def _sixteen_rows(a: Assembler, places: Sequence[Offset], halves: Register) -> list[Register]:
    """Eight inputs of rows 0, 1, 4, 5 and of rows 2, 3, 6, 7 of each of two groups."""
    first, second = list[Register](), list[Register]()
    for place in places:
        low, high = a.load("weights", place, 32), a.load("weights", place + 32, 32)
        first.append(a.op("vpblendd", low, a.op("vpermd", halves, high), imm=_UPPER_HALF))
        second.append(a.op("vpblendd", a.op("vpermd", halves, low), high, imm=_UPPER_HALF))
    return [a.op("vinserti32x8", *pair, size_bytes=_WIDE) for pair in (first, second)]


def _nibbles(a: Assembler, packed: Register, high: bool, mask: Register) -> Register:
    value = a.op("vpsrlw", packed, imm=4, size_bytes=_WIDE) if high else packed
    return a.op("vpand", value, mask, size_bytes=_WIDE)


def _four_tokens(a: Assembler, place: Offset) -> list[list[Register]]:
    """Eight inputs of tokens 0 and 1, and of 2 and 3, by pattern."""
    codes = a.load("blocks", place, 32)
    pairs = [a.op("vperm2i128", codes, codes, imm=half) for half in (0x00, 0x11)]
    wide = [a.op("vinserti32x8", pair, pair, size_bytes=_WIDE) for pair in pairs]
    return [_patterns(a, each, _TOKEN_PATTERNS) for each in wide]


def _by_token(a: Assembler, sums: Sequence[Sequence[Register]]) -> list[Register]:
    """Sixteen rows' sums of each of four tokens, from those by half of the tokens and half of the rows."""
    found = []
    for first, second in sums:
        swapped = [a.op("vpshufd", value, imm=_SWAP_HALVES, size_bytes=_WIDE) for value in (second, first)]
        found.append(a.op("vpblendd", first, swapped[0], imm=_UPPER_PAIRS, size_bytes=_WIDE))
        found.append(a.op("vpblendd", swapped[1], second, imm=_UPPER_PAIRS, size_bytes=_WIDE))
    return found


def _float16_of_rows(a: Assembler, places: Sequence[Offset]) -> Register:
    halves = [a.load("weights", place, 16) for place in places]
    return a.op("vcvtph2ps", a.op("vinserti128", *halves, imm=1, size_bytes=32), size_bytes=_WIDE)


def _each_token(a: Assembler, scales: Register) -> list[Register]:
    return [a.op("vpermilps", scales, imm=0b01010101 * token, size_bytes=_WIDE) for token in range(_TOKENS)]


def _add_scaled(
    a: Assembler,
    totals: Sequence[Register],
    integers: Sequence[Register],
    rows: Register,
    tokens: Sequence[Register],
) -> None:
    """Sums of each token, times its scale and the rows' scales."""
    for total, value, token in zip(totals, integers, tokens, strict=True):
        scale = a.op("vmulps", rows, token, size_bytes=_WIDE)
        a.into(total, "vfmadd231ps", total, a.op("vcvtdq2ps", value, size_bytes=_WIDE), scale, size_bytes=_WIDE)


def _group_sizes(groups: int) -> list[tuple[int, int, int]]:
    """First group of four tokens, how many tiles, and groups in each."""
    whole = groups // 4
    return [run for run in ((0, whole, 4), (4 * whole, groups % 4, 1)) if run[1]]


def write_q4_0_gemm(a: Assembler, problem: Problem) -> None:
    """The whole product with tokens that come by fours."""
    n, blocks = problem.n_out, problem.k // 32
    group_bytes, rows_bytes = blocks * Q8_0X4_BYTES, blocks * Q4_0X8_BYTES
    constants = load_constants(a, BATCH_CONSTANTS)
    for first, tiles, groups in _group_sizes(problem.batch_tokens // _TOKENS):
        with a.loop("tile", tiles) as tile, a.loop("rows", n // _ROWS, overhead=20) as rows:
            group = tile * groups + first
            totals = [[a.op("zero", size_bytes=_WIDE) for _ in range(_TOKENS)] for _ in range(groups)]
            with a.loop("block", blocks, overhead=6) as block:
                weights = rows * (2 * rows_bytes) + block * Q4_0X8_BYTES
                inputs = group * group_bytes + block * Q8_0X4_BYTES
                _q4_0_block(a, [weights, weights + rows_bytes], (inputs, group_bytes), totals, constants)
            target = group * (4 * n * _TOKENS) + rows * (4 * _ROWS)
            for number, total in enumerate(each for sums in totals for each in sums):
                a.store("sums", target + 4 * n * number, total)


def _q4_0_block(
    a: Assembler,
    weights: Sequence[Offset],
    inputs: tuple[Offset, int],
    totals: Sequence[Sequence[Register]],
    constants: Registers,
) -> None:
    packed = [_sixteen_rows(a, [place + (16 + 64 * turn) for place in weights], constants["halves"]) for turn in (0, 1)]
    rows: Matrix = []
    for turn in range(4):
        codes = [_nibbles(a, value, turn > 1, constants["nibbles"]) for value in packed[turn % 2]]
        signed = [a.op("vpshufb", constants["signed_nibbles"], value, size_bytes=_WIDE) for value in codes]
        rows.append([_patterns(a, value, _ROW_PATTERNS) for value in signed])
    scales = _float16_of_rows(a, weights)
    for number, sums in enumerate(totals):
        place = inputs[0] + number * inputs[1]
        tokens = [_four_tokens(a, place + (8 + 32 * turn)) for turn in range(4)]
        integers = _by_token(a, _signed_sums(a, rows, tokens))
        stored = a.op("vpbroadcastq", a.load("blocks", place, 8), size_bytes=16)
        both = a.op("vinserti128", stored, stored, imm=1, size_bytes=32)
        _add_scaled(a, sums, integers, scales, _each_token(a, a.op("vcvtph2ps", both, size_bytes=_WIDE)))


def _signed_sums(a: Assembler, rows: Matrix, tokens: Matrix) -> list[list[Register]]:
    """By half of the tokens and half of the rows: magnitudes of inputs times weights with the inputs' signs."""
    zero = a.op("zero", size_bytes=_WIDE)
    found = []
    for half in range(2):
        magnitudes = [[a.op("vpabsb", each, size_bytes=_WIDE) for each in turn[half]] for turn in tokens]
        negative = [[a.op("vpmovb2m", each, size_bytes=_WIDE) for each in turn[half]] for turn in tokens]
        of_rows = []
        for side in range(2):
            parts = []
            for pattern in range(2):
                total = a.op("zero", size_bytes=_WIDE)
                for turn in reversed(range(4)):
                    weights = rows[turn][side][pattern]
                    mask = negative[turn][pattern]
                    signed = a.op("vpsubb_masked", weights, mask, zero, weights, size_bytes=_WIDE)
                    a.into(total, "vpdpbusd", total, magnitudes[turn][pattern], signed, size_bytes=_WIDE)
                parts.append(total)
            of_rows.append(a.op("vpaddd", *parts, size_bytes=_WIDE))
        found.append(of_rows)
    return found


def write_q4_k_gemm(a: Assembler, problem: Problem) -> None:
    """The whole product with tokens that come by fours."""
    n, blocks = problem.n_out, problem.k // 256
    group_bytes, rows_bytes = blocks * Q8_KX4_BYTES, blocks * Q4_KX8_BYTES
    constants = load_constants(a, BATCH_CONSTANTS)
    for first, tiles, groups in _group_sizes(problem.batch_tokens // _TOKENS):
        with a.loop("tile", tiles) as tile, a.loop("rows", n // _ROWS, overhead=20) as rows:
            group, kinds = tile * groups + first, range(2)
            totals = [[[a.op("zero", size_bytes=_WIDE) for _ in range(_TOKENS)] for _ in kinds] for _ in range(groups)]
            with a.loop("block", blocks, overhead=6) as block:
                weights = rows * (2 * rows_bytes) + block * Q4_KX8_BYTES
                places = [weights, weights + rows_bytes]
                scales = [_float16_of_rows(a, [place + 16 * kind for place in places]) for kind in kinds]
                inputs = group * group_bytes + block * Q8_KX4_BYTES
                with a.loop("pair", 4, overhead=_MOVES_OF_A_PAIR) as pair:
                    rows_of_pair = _RowsOfPair.written(a, places, pair * 1, constants)
                    for number, each in enumerate(totals):
                        _add_pair(a, rows_of_pair, scales, (inputs + number * group_bytes, pair * 1), each)
            target = group * (4 * n * _TOKENS) + rows * (4 * _ROWS)
            for number, (codes, minima) in enumerate(totals):
                for token in range(_TOKENS):
                    found = a.op("vsubps", codes[token], minima[token], size_bytes=_WIDE)
                    a.store("sums", target + 4 * n * (_TOKENS * number + token), found)


_MOVES_OF_A_PAIR = 44
"""Pointers, and copies and spills of the general registers that two groups' scales are put together in."""


@dataclass(frozen=True)
class _RowsOfPair:
    """Two sub-blocks of 32 of sixteen rows: codes by sub-block, scales by sub-block and half of the rows, minima."""

    codes: list[Matrix]
    scales: list[list[Register]]
    minima: Register

    @classmethod
    def written(cls, a: Assembler, weights: Sequence[Offset], pair: Offset, constants: Registers) -> _RowsOfPair:
        """Writes how they are loaded and unpacked."""
        packed = [
            _sixteen_rows(a, [place + pair * 256 + (128 + 64 * turn) for place in weights], constants["halves"])
            for turn in range(4)
        ]
        codes = [
            [
                [_patterns(a, _nibbles(a, side, part == 1, constants["nibbles"]), _ROW_PATTERNS) for side in turn]
                for turn in packed
            ]
            for part in range(2)
        ]
        numbers = []
        for part in range(2):
            groups = [six_bit_numbers(a, place + pair * 24 + (32 + 12 * part)) for place in weights]
            numbers.append(a.op("vinserti128", *groups, imm=1, size_bytes=32))
        wide = [a.op("vpmovzxbw", a.op("vpunpcklbw", each, each), size_bytes=_WIDE) for each in numbers]
        scales = [_patterns(a, each, (0b01000100, 0b11101110)) for each in wide]
        upper = [a.op("vpshufd", each, imm=_SWAP_HALVES) for each in numbers]
        return cls(codes, scales, a.op("vpmovzxbw", a.op("vpunpcklbw", *upper), size_bytes=_WIDE))


def _add_pair(
    a: Assembler,
    rows: _RowsOfPair,
    scales: Sequence[Register],
    inputs: tuple[Offset, Offset],
    totals: Sequence[Sequence[Register]],
) -> None:
    """Four tokens with two sub-blocks."""
    place, pair = inputs
    parts = []
    for part in range(2):
        tokens = [_four_tokens(a, place + pair * 256 + (_K_CODES + 128 * part + 32 * turn)) for turn in range(4)]
        sums = _sums_of_words(a, rows.codes[part], tokens, rows.scales[part])
        parts.append(_by_token(a, sums))
    integers = [a.op("vpaddd", *each, size_bytes=_WIDE) for each in zip(*parts, strict=True)]
    stored = [a.load("blocks", place + pair * 32 + (_K_SUMS + 16 * half), 16) for half in range(2)]
    of_tokens = _in_all_lanes(a, a.op("vphaddw", *stored, size_bytes=16))
    minima = [
        a.op(
            "vpmaddwd",
            a.op("vpshufd", of_tokens, imm=0b01010101 * token, size_bytes=_WIDE),
            rows.minima,
            size_bytes=_WIDE,
        )
        for token in range(_TOKENS)
    ]
    factors = _each_token(a, _in_all_lanes(a, a.load("blocks", place, 16)))
    for total, values, of_rows in zip(totals, (integers, minima), scales, strict=True):
        _add_scaled(a, total, values, of_rows, factors)


def _in_all_lanes(a: Assembler, value: Register) -> Register:
    both = a.op("vinserti128", value, value, imm=1, size_bytes=32)
    return a.op("vinserti32x8", both, both, size_bytes=_WIDE)


def _sums_of_words(a: Assembler, rows: Matrix, tokens: Matrix, scales: Sequence[Register]) -> list[list[Register]]:
    """By half of the tokens and half of the rows: sums of 16 bits times scales."""
    found = []
    for half in range(2):
        of_rows = []
        for side in range(2):
            parts = []
            for pattern in range(2):
                products = [
                    a.op("vpmaddubsw", rows[turn][side][pattern], tokens[turn][half][pattern], size_bytes=_WIDE)
                    for turn in reversed(range(4))
                ]
                total = products[0]
                for product in products[1:]:
                    total = a.op("vpaddw", total, product, size_bytes=_WIDE)
                parts.append(total)
            words = a.op("vpaddw", *parts, size_bytes=_WIDE)
            of_rows.append(a.op("vpmaddwd", words, scales[side], size_bytes=_WIDE))
        found.append(of_rows)
    return found
