"""T-MAC's tables on NEON, of float16 activations: the scale of tables that share one, and for eight groups of four
activations all 16 signed sums, in 8 bits.

Source: microsoft/T-MAC, `python/t_mac/intrins/lut_ctor.cc`: `partial_max_g4_int8_k8`, `lut_ctor_g4_int8_impl` on ARM.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem, Step
from sim.simd.program import Offset, Register

__all__ = ["GROUP", "TILE_INPUTS", "table_constants", "table_steps"]

Bytes = NDArray[np.uint8]

GROUP = 4
"""Activations of a table."""
TILE_INPUTS = 64
"""Activations of 16 tables."""
_ENTRIES = 16
_INPUTS_AT_ONCE = 32
_LARGEST = 127.0
_HALF_BYTES = 2


def table_constants(averaged: bool, planes: int) -> dict[str, Bytes]:
    """What the table build reads beside activations, by buffer."""
    excess = -float((1 << planes) - 1) if averaged else 0.0
    numbers = [_LARGEST, 1.0, _ENTRIES, excess, 0.5]
    return {"numbers": np.array(numbers, "<f2").view(np.uint8)}


def table_steps(problem: Problem, sizes: Mapping[str, int], averaged: bool, planes: int) -> list[Step]:
    """The scales, then the tables, of float16 "activations" in buffers of such sizes.

    Without averages, one scale is for all tables of a token.
    """
    tile = TILE_INPUTS if averaged else problem.k
    scales, tables = (Assembler(f"T-MAC b{planes} NEON {name}", 16, sizes) for name in ("scales", "tables"))
    _scales(scales, problem, tile)
    _tables(tables, problem, tile, averaged)
    return [Step("quantize", scales.program()), Step("tables", tables.program())]


def _by_place(a: Assembler, place: Offset) -> list[Register]:
    """The first, second, third and fourth activations of eight groups: a load of structures, and what it takes."""
    words = [a.load("activations", place + 16 * number) for number in range(4)]
    even, odd = ([a.op(name, *words[half : half + 2]) for half in (0, 2)] for name in ("uzp1.16", "uzp2.16"))
    return [a.op(name, *values) for name in ("uzp1.16", "uzp2.16") for values in (even, odd)]


def _number(a: Assembler, place: int) -> Register:
    return a.load("numbers", _HALF_BYTES * place, size_bytes=_HALF_BYTES)


def _scales(a: Assembler, problem: Problem, tile: int) -> None:
    """The largest sum of the magnitudes of a group, over 127."""
    limit, tiles = _number(a, 0), problem.k // tile
    with a.loop("token", problem.batch_tokens) as token, a.loop("tile", tiles) as number:
        place = token * (_HALF_BYTES * tiles) + number * _HALF_BYTES
        a.store("scales", place, a.op("movi"), size_bytes=_HALF_BYTES)
        with a.loop("eight", tile // _INPUTS_AT_ONCE) as eight:
            inputs = token * (_HALF_BYTES * problem.k) + number * (_HALF_BYTES * tile)
            sizes = [a.op("fabs.16", value) for value in _by_place(a, inputs + eight * (_HALF_BYTES * _INPUTS_AT_ONCE))]
            total = sizes[0]
            for size in sizes[1:]:
                total = a.op("fadd.16", total, size)
            scale = a.op("fdiv.16", a.op("fmaxv.16", total), limit, size_bytes=_HALF_BYTES)
            before = a.load("scales", place, size_bytes=_HALF_BYTES)
            a.store("scales", place, a.op("fmax.16", before, scale, size_bytes=_HALF_BYTES))


def _tables(a: Assembler, problem: Problem, tile: int, averaged: bool) -> None:
    k, tiles = problem.k, problem.k // tile
    with a.loop("token", problem.batch_tokens) as token, a.loop("tile", tiles) as number:
        place = token * (_HALF_BYTES * tiles) + number * _HALF_BYTES
        scale = a.load("scales", place, size_bytes=_HALF_BYTES)
        inverse = a.op("fdiv.16", _number(a, 1), scale, size_bytes=_HALF_BYTES)
        bias = a.op("movi", size_bytes=_HALF_BYTES)
        with a.loop("eight", tile // _INPUTS_AT_ONCE) as eight:
            inputs = token * (_HALF_BYTES * k) + (
                number * (_HALF_BYTES * tile) + eight * (_HALF_BYTES * _INPUTS_AT_ONCE)
            )
            tables = token * (4 * k) + (number * (4 * tile) + eight * (4 * _INPUTS_AT_ONCE))
            sums = _sums(a, _by_place(a, inputs))
            for lane in range(8):
                one = a.op("dup.16", sums[0], imm=lane)
                a.into(bias, "fadd.16", bias, one, size_bytes=_HALF_BYTES)
            _store(a, sums, inverse, tables)
        _finish(a, place, scale, bias, averaged)


def _sums(a: Assembler, inputs: list[Register]) -> list[Register]:
    """All signed sums of four: the odd ones are computed, the others negated."""
    sums = {1: inputs[0]}
    for place, value in enumerate(inputs[1:], 1):
        before, sums = sums, {}
        for number, total in before.items():
            sums[number] = a.op("fsub.16", total, value)
            sums[number | 1 << place] = a.op("fadd.16", total, value)
    negative = {15 - number: a.op("fneg.16", total) for number, total in sums.items()}
    return [(sums | negative)[number] for number in range(_ENTRIES)]


def _store(a: Assembler, sums: list[Register], inverse: Register, tables: Offset) -> None:
    """Entries in 8 bits, byte by byte: publicly they are stored from the lanes."""
    for entry, value in enumerate(sums):
        whole = a.op("fcvtns.16", a.op("fmul.16", value, inverse))
        narrow = a.op("sqxtn.16", whole)
        for group in range(8):
            one = a.op("dup.8", narrow, imm=group, size_bytes=8) if group else narrow
            a.store("tables", tables + (_ENTRIES * group + entry), one, size_bytes=1)


def _finish(a: Assembler, place: Offset, scale: Register, bias: Register, averaged: bool) -> None:
    if averaged:
        scale = a.op("fmul.16", scale, _number(a, 2), size_bytes=_HALF_BYTES)
        a.store("scales", place, scale)
        bias = a.op("fmla.16", bias, scale, _number(a, 3), size_bytes=_HALF_BYTES)
    else:
        bias = a.op("fmul.16", bias, _number(a, 4), size_bytes=_HALF_BYTES)
    a.store("biases", place, bias)
