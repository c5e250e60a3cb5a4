"""Products of ggml with several tokens for plain formats: the tiles of llamafile's sgemm on AVX-512.

F32, F16 and BF16 take four rows with up to six tokens in registers of 16 sums, over blocks of about twelve such tiles
of tokens. Q8_0 and Q4_0 take four rows with up to four tokens.

Source: llama.cpp, ggml/src/ggml-cpu/llamafile/sgemm.cpp, `tinyBLAS` and `tinyBLAS_Q0_AVX::gemm4xN` for 32 registers, as
GCC 12 compiles them for Zen 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sim.simd.x86_integers  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem
from sim.simd.kernels.ggml_driver import tiles
from sim.simd.kernels.reductions import horizontal_sum
from sim.simd.program import Offset, Register

__all__ = ["FLOAT_TILES", "BlockFormat", "FloatTile", "token_blocks", "write_block_tiles", "write_float_tiles"]

_ROWS = 4
_MOST_TOKENS, _BLOCK_TILES = 6, 12
_TILE_OF_BLOCKS = 4
_SETUP = 40
"""Instructions on integers before a tile: places of its rows and tokens."""


def _even(count: int, most: int) -> tuple[int, int, int]:
    """Parts of at most so many, as equal as can be: how many, the larger size, and how many have it."""
    parts = -(-count // most)
    size = -(-count // parts)
    parts = -(-count // size)
    return parts, size, parts - (parts * size - count)


def token_blocks(tokens: int) -> list[list[tuple[int, int, int]]]:
    """Blocks of tiles of tokens: of each the first token, how many tiles, and their size."""
    count, size, larger = _even(tokens, _MOST_TOKENS)
    parts = 1 if count < _BLOCK_TILES else (count + _BLOCK_TILES // 2) // _BLOCK_TILES
    longest = -(-count // parts)
    long_parts = parts - (parts * longest - count)
    blocks, tile = [], 0
    for part in range(parts):
        end = tile + longest - (part >= long_parts)
        runs = [(tile * size, min(end, larger) - tile, size)] if tile < larger else []
        if end > larger:
            start = max(tile, larger)
            runs.append((larger * size + (start - larger) * (size - 1), end - start, size - 1))
        blocks.append(runs)
        tile = end
    return blocks


@dataclass(frozen=True)
class FloatTile:
    """How a float type is multiplied in tiles.

    Parameters
    ----------
    size_bytes : int
        Of a number.
    vector : int
        Numbers taken at once.
    load : function
        Writes the load of so many from a buffer.
    add : str
        The instruction that multiplies and adds.
    folded : bool
        Tokens are operands in memory.
    """

    size_bytes: int
    vector: int
    load: Callable[[Assembler, str, Offset], Register]
    add: str
    folded: bool


def _loaded(a: Assembler, buffer: str, place: Offset) -> Register:
    return a.load(buffer, place, size_bytes=64)


def _converted(a: Assembler, buffer: str, place: Offset) -> Register:
    return a.op("vcvtph2ps", memory=a.at(buffer, place, 32), size_bytes=64)


FLOAT_TILES = {
    "f32": FloatTile(4, 16, _loaded, "vfmadd231ps", folded=True),
    "f16": FloatTile(2, 16, _converted, "vfmadd231ps", folded=False),
    "bf16": FloatTile(2, 32, _loaded, "vdpbf16ps", folded=False),
}


def write_float_tiles(a: Assembler, problem: Problem, tile: FloatTile) -> None:
    """The whole product of weights and "blocks" of one float type."""
    n, row_bytes = problem.n_out, problem.k * tile.size_bytes
    for runs in token_blocks(problem.batch_tokens):
        with a.loop("rows", n // _ROWS) as rows:
            for first, count, tokens in runs:
                with a.loop("tile", count, overhead=_SETUP) as number:
                    token = number * tokens + first
                    totals = _float_tile(a, problem.k, tile, (rows * (_ROWS * row_bytes), token * row_bytes), tokens)
                    _store_sums(a, totals, token * (4 * n) + rows * (4 * _ROWS), 4 * n)


def _float_tile(
    a: Assembler, k: int, tile: FloatTile, places: tuple[Offset, Offset], tokens: int
) -> list[list[Register]]:
    """Sums of each token with each row."""
    stride, row_bytes = tile.vector * tile.size_bytes, k * tile.size_bytes
    totals = [[a.op("zero", size_bytes=64) for _ in range(_ROWS)] for _ in range(tokens)]
    with a.loop("vector", k // tile.vector) as vector:
        weights, inputs = places[0] + vector * stride, places[1] + vector * stride
        rows = [tile.load(a, "weights", weights + number * row_bytes) for number in range(_ROWS)]
        for number, sums in enumerate(totals):
            place = inputs + number * row_bytes
            token = None if tile.folded else tile.load(a, "blocks", place)
            for row, total in zip(rows, sums, strict=True):
                if token is None:
                    a.into(total, tile.add, total, row, memory=a.at("blocks", place, 64), size_bytes=64)
                else:
                    a.into(total, tile.add, total, row, token, size_bytes=64)
    return totals


def _store_sums(a: Assembler, totals: Sequence[Sequence[Register]], target: Offset, token_bytes: int) -> None:
    """Four rows' sums of each token side by side."""
    for number, sums in enumerate(totals):
        ones = [horizontal_sum(a, total) for total in sums]
        pairs = [a.op("vpunpckldq", *ones[place : place + 2], size_bytes=16) for place in (0, 2)]
        four = a.op("vpunpcklqdq", *pairs, size_bytes=16)
        a.store("sums", target + number * token_bytes, four, size_bytes=16)


@dataclass(frozen=True)
class BlockFormat:
    """A format of blocks of 32 under a float16 scale.

    Parameters
    ----------
    block_bytes, input_bytes : int
        Of weights and activations.
    codes : function
        Writes the signed codes of a block: assembler, place of the block, constants in registers.
    """

    block_bytes: int
    input_bytes: int
    codes: Callable[[Assembler, Offset, Mapping[str, Register]], Register]


def write_block_tiles(a: Assembler, problem: Problem, form: BlockFormat, constants: Mapping[str, Register]) -> None:
    """The whole product of weights and "blocks" of int8."""
    n, blocks = problem.n_out, problem.k // 32
    row_bytes, token_bytes = blocks * form.block_bytes, blocks * form.input_bytes
    for first, count, tokens in tiles(problem.batch_tokens, _TILE_OF_BLOCKS):
        with a.loop("rows", n // _ROWS) as rows, a.loop("tile", count, overhead=_SETUP) as tile:
            token = tile * tokens + first
            totals = [[a.op("zero") for _ in range(_ROWS)] for _ in range(tokens)]
            with a.loop("block", blocks) as block:
                weights = rows * (_ROWS * row_bytes) + block * form.block_bytes
                inputs = token * token_bytes + block * form.input_bytes
                codes = [form.codes(a, weights + number * row_bytes, constants) for number in range(_ROWS)]
                scales = _four_scales(a, [weights + number * row_bytes for number in range(_ROWS)])
                _add_blocks(a, codes, scales, (inputs, token_bytes), totals)
            _store_sums(a, totals, token * (4 * n) + rows * (4 * _ROWS), 4 * n)


def _add_blocks(
    a: Assembler,
    codes: Sequence[Register],
    scales: Register,
    inputs: tuple[Offset, int],
    totals: list[list[Register]],
) -> None:
    """A block of each row with one of each token. Scales are multiplied four rows at a time."""
    magnitudes = [a.op("vpsignb", each, each) for each in codes]
    for number, sums in enumerate(totals):
        place = inputs[0] + number * inputs[1]
        scale = a.op("lookup_f16", a.load("blocks", place, size_bytes=2), size_bytes=2)
        product = a.op("vmulps", scales, scale, size_bytes=16)
        both = a.op("vinserti128", product, product, imm=1)
        token = a.load("blocks", place + 2)
        for row, total in enumerate(sums):
            # The compiler keeps the first and the last token in a register, and loads the others for each row.
            if row and 0 < number < len(totals) - 1:
                token = a.load("blocks", place + 2)
            integers = a.op("zero")
            a.into(integers, "vpdpbusd", integers, magnitudes[row], a.op("vpsignb", token, codes[row]))
            factor = a.op("vpermilps", both, imm=0b01010101 * row)
            a.into(total, "vfmadd231ps", total, factor, a.op("vcvtdq2ps", integers))


def _four_scales(a: Assembler, places: Sequence[Offset]) -> Register:
    """Float16 scales of four rows, put together in a general register."""
    patterns = [a.load("weights", place, size_bytes=2) for place in places]
    shifted = [a.op("shl", pattern, imm=16 * number, size_bytes=8) for number, pattern in enumerate(patterns) if number]
    whole = a.op("or", patterns[0], shifted[0], size_bytes=8)
    whole = a.op("or", whole, a.op("or", *shifted[1:], size_bytes=8), size_bytes=8)
    return a.op("vcvtph2ps", a.op("vmovq", whole, size_bytes=16), size_bytes=16)
