"""Products of ggml with more than 16 tokens for K-quants: windows of 256 rows and 256 tokens are unpacked to bytes for
every 256 inputs, and multiplied on VNNI in tiles of 8 rows with 16 tokens.

    for every window of tokens, of rows, and every 256 inputs
        unpack the rows' codes to bytes, their scales and minima to int32, and the tokens' sums of 16
        for every 16 tokens
            bring four inputs of each token together
            for every 8 rows: codes times inputs, times scales, less minima times sums; add to the window's floats
    store the window's floats

Rows and tokens come by 16 here; what is left of 16, and 8 to 16 tokens, the public code treats in other ways. Each
window of rows has its own scratch buffers here, which all share in the public code.

Source: llama.cpp, ggml/src/ggml-cpu/tiled/tiled.cpp and tiled-kernel.cpp, for AVX-512 VNNI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem
from sim.simd.kernels.ggml_driver import bytes_of, tiles
from sim.simd.kernels.ggml_quantize import Q8_K_BYTES, Q8_K_CODES, Q8_K_SUMS
from sim.simd.program import Offset, Register

__all__ = ["TRANSPOSE_CONSTANTS", "TiledFormat", "is_tiled", "scratch_bytes", "write_tiled"]

Bytes = NDArray[np.uint8]

_WIDE = 64
_INPUTS, _WINDOW, _MICRO, _BAND = 256, 256, 16, 8
_SUMS_OF_INPUTS = 16
_LEAST_CHUNKS = 4
"""Of one thread: windows are halved until there are so many."""


@dataclass(frozen=True)
class TiledFormat:
    """A format that is multiplied in such tiles.

    Parameters
    ----------
    block_bytes : int
    subblock : {16, 32}
        Weights under a scale and a minimum.
    unpack : function
        Writes how a row's block is unpacked: assembler, place in "weights", and places in "codes" (256 bytes),
        "scales" (scales, then minima, as int32) and "factors" (two float32).
    """

    block_bytes: int
    subblock: int
    unpack: Callable[[Assembler, Offset, Offset, Offset, Offset], None]

    @property
    def scale_bytes(self) -> int:
        """Of a row's scales and minima."""
        return 2 * 4 * (_INPUTS // self.subblock)


def is_tiled(problem: Problem) -> bool:
    """Whether a product is one of those here."""
    return problem.batch_tokens > _MICRO and problem.batch_tokens % _MICRO == 0 and problem.n_out % _MICRO == 0


def _window(problem: Problem) -> tuple[int, int]:
    """Rows and tokens of a window."""

    def chunks(size: int) -> tuple[int, int]:
        return -(-problem.n_out // size), -(-problem.batch_tokens // size)

    size = _WINDOW
    while np.prod(chunks(size)) < _LEAST_CHUNKS and size > _MICRO:
        size //= 2
    rows, tokens = chunks(size)
    by_16 = [
        -(-count // parts // _MICRO) * _MICRO
        for count, parts in ((problem.n_out, rows), (problem.batch_tokens, tokens))
    ]
    return min(by_16[0], _WINDOW), min(by_16[1], _WINDOW)


def scratch_bytes(problem: Problem, form: TiledFormat) -> dict[str, int]:
    """Sizes of the buffers between the steps of a window, for all windows of rows."""
    rows, tokens = _window(problem)
    windows = -(-problem.n_out // rows)
    return {
        "codes": windows * rows * _INPUTS,
        "scales": windows * rows * form.scale_bytes,
        "factors": windows * rows * 8,
        "inputs_of_window": windows * tokens * _INPUTS,
        "sums_of_inputs": windows * _SUMS_OF_INPUTS * tokens * 4,
        "factors_of_inputs": windows * tokens * 4,
        "window": windows * rows * tokens * 4,
    }


def _interleaved(step: int) -> list[NDArray[np.int64]]:
    """Two orders that take runs of so many places in turns from two registers."""
    if step == 1:
        both = np.stack([np.arange(16), np.arange(16, 32)], axis=1).reshape(-1)
        return [both[:16], both[16:]]
    if step == 2:
        lower = np.concatenate([[first, first + 1, first + 16, first + 17] for first in range(0, 16, 4)])
        return [lower, lower + 2]
    runs = [np.arange(16).reshape(-1, step), np.arange(16, 32).reshape(-1, step)]
    both = np.stack(runs, axis=1).reshape(-1)
    return [both[:16], both[16:]]


_STEPS = (1, 2, 4, 8)
_COLUMNS = (0, 8, 1, 9, 4, 12, 5, 13, 2, 10, 3, 11, 6, 14, 7, 15)
"""Which column each register has after the four steps."""
TRANSPOSE_CONSTANTS: Bytes = np.concatenate(
    [bytes_of(order.astype("<u4")) for step in _STEPS for order in _interleaved(step)]
)


def _transposed(a: Assembler, rows: Sequence[Register]) -> list[Register]:
    """Columns of 16 x 16 doublewords: registers that are 1, 2, 4 and 8 apart are interleaved."""
    values = list(rows)
    for phase, step in enumerate(_STEPS):
        low, high = (a.load("transpose", _WIDE * (2 * phase + half), _WIDE) for half in (0, 1))
        for first in range(16):
            if first & step:
                continue
            pair = values[first], values[first + step]
            values[first] = a.op("vpermt2d", pair[0], low, pair[1], size_bytes=_WIDE)
            values[first + step] = a.op("vpermt2d", pair[0], high, pair[1], size_bytes=_WIDE)
    return [values[_COLUMNS.index(column)] for column in range(16)]


def write_tiled(a: Assembler, problem: Problem, form: TiledFormat) -> None:
    """The whole product of "weights" with activations in Q8_K in "blocks"."""
    window_rows, window_tokens = _window(problem)
    for first_token, token_windows, tokens in tiles(problem.batch_tokens, window_tokens):
        for token_window in range(token_windows):
            token = first_token + token_window * window_tokens
            for first_row, windows, rows in tiles(problem.n_out, window_rows):
                first_window = first_row // window_rows
                with a.loop("window", windows) as window:
                    number = window + first_window
                    shape = _Window(form, number, rows, tokens, (window_rows, window_tokens))
                    _write_window(a, problem, shape, token)


@dataclass(frozen=True)
class _Window:
    """A window of so many rows and tokens, by its number; `most` is what scratch buffers have room for."""

    form: TiledFormat
    number: Offset
    rows: int
    tokens: int
    most: tuple[int, int]

    def place(self, buffer: str) -> Offset:
        """Where the window's part of a scratch buffer begins."""
        rows, tokens = self.most
        sizes = {
            "codes": rows * _INPUTS,
            "scales": rows * self.form.scale_bytes,
            "factors": rows * 8,
            "inputs_of_window": tokens * _INPUTS,
            "sums_of_inputs": _SUMS_OF_INPUTS * tokens * 4,
            "factors_of_inputs": tokens * 4,
            "window": rows * tokens * 4,
        }
        return self.number * sizes[buffer]


def _write_window(a: Assembler, problem: Problem, window: _Window, token: int) -> None:
    blocks, row_floats = problem.k // _INPUTS, 4 * window.most[1]
    weights = window.number * (window.most[0] * blocks * window.form.block_bytes)
    zero = a.op("zero", size_bytes=_WIDE)
    with a.loop("row", window.rows) as row, a.loop("sixteen", window.tokens // 16) as sixteen:
        a.store("window", window.place("window") + row * row_floats + sixteen * _WIDE, zero)
    with a.loop("slab", blocks, overhead=8) as slab:
        with a.loop("row", window.rows, overhead=8) as row:
            window.form.unpack(
                a,
                weights + row * (blocks * window.form.block_bytes) + slab * window.form.block_bytes,
                window.place("codes") + row * _INPUTS,
                window.place("scales") + row * window.form.scale_bytes,
                window.place("factors") + row * 8,
            )
        with a.loop("token", window.tokens, overhead=8) as each:
            _copy_token(a, window, each * 1, (each + token) * (blocks * Q8_K_BYTES) + slab * Q8_K_BYTES)
        with a.loop("band", window.tokens // _MICRO, overhead=8) as band:
            _bring_together(a, window.place("inputs_of_window") + band * (_MICRO * _INPUTS))
            with a.loop("rows", window.rows // _BAND, overhead=20) as rows:
                _multiply(a, window, rows * _BAND, band * _MICRO)
    with a.loop("rows", window.rows // 16) as rows, a.loop("band", window.tokens // _MICRO) as band:
        source = window.place("window") + rows * (16 * row_floats) + band * _WIDE
        columns = _transposed(a, [a.load("window", source + number * row_floats, _WIDE) for number in range(16)])
        target = (band * _MICRO + token) * (4 * problem.n_out) + (rows * 16 + window.number * window.most[0]) * 4
        for number, column in enumerate(columns):
            a.store("sums", target + 4 * problem.n_out * number, column)


def _copy_token(a: Assembler, window: _Window, token: Offset, block: Offset) -> None:
    """A token's codes, and its sums and factor apart."""
    for part in range(_INPUTS // _WIDE):
        codes = a.load("blocks", block + (Q8_K_CODES + _WIDE * part), _WIDE)
        a.store("inputs_of_window", window.place("inputs_of_window") + token * _INPUTS + _WIDE * part, codes)
    for number in range(_SUMS_OF_INPUTS):
        wide = a.op("vpmovsxwd", a.load("blocks", block + (Q8_K_SUMS + 2 * number), 2), size_bytes=4)
        place = window.place("sums_of_inputs") + token * 4 + 4 * window.most[1] * number
        a.store("sums_of_inputs", place, wide)
    factor = a.load("blocks", block, 4)
    a.store("factors_of_inputs", window.place("factors_of_inputs") + token * 4, factor)


def _bring_together(a: Assembler, place: Offset) -> None:
    """Of 16 tokens: four inputs of each side by side, in place."""
    with a.loop("tile", _INPUTS // _WIDE) as tile:
        rows = [a.load("inputs_of_window", place + tile * _WIDE + _INPUTS * number, _WIDE) for number in range(16)]
        for number, column in enumerate(_transposed(a, rows)):
            a.store("inputs_of_window", place + tile * _WIDE + _INPUTS * number, column)


def _multiply(a: Assembler, window: _Window, row: Offset, token: Offset) -> None:
    """Eight rows with 16 tokens."""
    form, numbers = window.form, range(_BAND)
    scales = window.place("scales") + row * form.scale_bytes
    parts, fours = _WIDE // form.subblock, form.subblock // 4
    codes_sums, minima_sums = ([a.op("zero", size_bytes=_WIDE) for _ in numbers] for _ in range(2))
    with a.loop("quarter", _INPUTS // _WIDE) as quarter:
        for part in range(parts):
            totals = [a.op("zero", size_bytes=_WIDE) for _ in numbers]
            for four in range(fours):
                group = fours * part + four
                place = window.place("inputs_of_window") + token * _INPUTS + quarter * _WIDE + _INPUTS * group
                inputs = a.load("inputs_of_window", place, _WIDE)
                for number, total in enumerate(totals):
                    place = window.place("codes") + row * _INPUTS + quarter * _WIDE + (_INPUTS * number + 4 * group)
                    codes = a.op("vpbroadcastd_load", memory=a.at("codes", place, 4), size_bytes=_WIDE)
                    a.into(total, "vpdpbusd", total, codes, inputs, size_bytes=_WIDE)
            for number, total in enumerate(totals):
                scale = a.at("scales", scales + quarter * (4 * parts) + (form.scale_bytes * number + 4 * part), 4)
                product = a.op("vpmulld", total, memory=scale, size_bytes=_WIDE)
                a.into(codes_sums[number], "vpaddd", codes_sums[number], product, size_bytes=_WIDE)
    with a.loop("subblock", _INPUTS // form.subblock) as subblock:
        sums = _sums_of_subblock(a, window, subblock * 1, token)
        for number, total in enumerate(minima_sums):
            place = scales + subblock * 4 + (form.scale_bytes * number + form.scale_bytes // 2)
            product = a.op("vpmulld", sums, memory=a.at("scales", place, 4), size_bytes=_WIDE)
            a.into(total, "vpaddd", total, product, size_bytes=_WIDE)
    _add_to_window(a, window, (row, token), codes_sums, minima_sums)


def _sums_of_subblock(a: Assembler, window: _Window, subblock: Offset, token: Offset) -> Register:
    """The inputs' sums over a sub-block, of 16 tokens."""
    of_sixteen, count = 4 * window.most[1], window.form.subblock // 16
    place = window.place("sums_of_inputs") + subblock * (count * of_sixteen) + token * 4
    sums = a.load("sums_of_inputs", place, _WIDE)
    for number in range(1, count):
        memory = a.at("sums_of_inputs", place + number * of_sixteen, _WIDE)
        sums = a.op("vpaddd", sums, memory=memory, size_bytes=_WIDE)
    return sums


def _add_to_window(
    a: Assembler,
    window: _Window,
    places: tuple[Offset, Offset],
    codes: Sequence[Register],
    minima: Sequence[Register],
) -> None:
    """The rows' and the tokens' factors, then the sum."""
    row, token = places
    of_tokens = a.load("factors_of_inputs", window.place("factors_of_inputs") + token * 4, _WIDE)
    for number, (total, less) in enumerate(zip(codes, minima, strict=True)):
        factors = window.place("factors") + row * 8 + 8 * number
        value = a.op("vcvtdq2ps", total, size_bytes=_WIDE)
        value = a.op("vmulps", value, memory=a.at("factors", factors, 4), size_bytes=_WIDE)
        subtracted = a.op("vcvtdq2ps", less, size_bytes=_WIDE)
        memory = a.at("factors", factors + 4, 4)
        a.into(value, "vfnmadd231ps", value, subtracted, memory=memory, size_bytes=_WIDE)
        scaled = a.op("vmulps", value, of_tokens, size_bytes=_WIDE)
        target = window.place("window") + row * (4 * window.most[1]) + token * 4 + 4 * window.most[1] * number
        added = a.op("vaddps", scaled, memory=a.at("window", target, _WIDE), size_bytes=_WIDE)
        a.store("window", target, added)
