"""T-MAC's tables on AVX2: the scale of tables that share one, and for eight groups of four activations all 16 signed
sums, in 8 bits.

Source: microsoft/T-MAC, `python/t_mac/intrins/lut_ctor.cc`: `partial_max_g4_int8_k8`, `lut_ctor_g4_int8_impl` on AVX2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem, Step
from sim.simd.kernels.reductions import horizontal_maximum, horizontal_sum
from sim.simd.program import Offset, Register

__all__ = ["GROUP", "TILE_INPUTS", "Scaling", "table_constants", "table_steps"]

Bytes = NDArray[np.uint8]

GROUP = 4
"""Activations of a table."""
TILE_INPUTS = 64
"""Activations that share a scale, unless all do."""
_ENTRIES = 16
_INPUTS_AT_ONCE = 32
_LARGEST = 127.0


@dataclass(frozen=True)
class Scaling:
    """How tables are scaled.

    Parameters
    ----------
    unified : bool
        One scale for all tables of a token.
    averaged : bool
        Whether 16 entries are averaged: what the scale then stands for, and what rounding is expected to add, is
        accounted for here; and entries have their sign flipped.
    planes : int
        Of the weights; with several, half of the sum of the activations is taken off.
    """

    unified: bool
    averaged: bool
    planes: int


def table_constants(scaling: Scaling) -> dict[str, Bytes]:
    """What the table build reads beside activations, by buffer."""
    excess = -float((1 << scaling.planes) - 1)
    order = np.arange(16).reshape(4, 4).T.ravel()
    return {
        "places": (16 * np.arange(8)).astype("<i4").view(np.uint8),
        "magnitude": np.full(8, 0x7FFFFFFF, "<u4").view(np.uint8),
        "minus": np.full(8, 0x80000000, "<u4").view(np.uint8),
        "numbers": np.array([_LARGEST, 1.0, _ENTRIES, excess], "<f4").view(np.uint8),
        "order": np.tile(order, 2).astype(np.uint8),
        "sign_bits": np.full(32, 0x80, np.uint8),
    }


def table_steps(problem: Problem, name: str, sizes: Mapping[str, int], scaling: Scaling) -> list[Step]:
    """The scales, then the tables, of float32 "activations" in buffers of such sizes."""
    tile = problem.k if scaling.unified else TILE_INPUTS
    scales = Assembler(f"{name} scales", 32, sizes)
    _scales(scales, problem, tile)
    tables = Assembler(f"{name} tables", 32, sizes)
    _Tables(tables, problem, tile, scaling).write()
    return [Step("quantize", scales.program()), Step("tables", tables.program())]


def _gathered(a: Assembler, place: Offset, places: Register) -> list[Register]:
    """The first, second, third and fourth activations of eight groups."""
    size_bytes = 4 * GROUP * 7 + 4
    return [
        a.op("vgatherdps", places, memory=a.at("activations", place + 4 * number, size_bytes))
        for number in range(GROUP)
    ]


def _scales(a: Assembler, problem: Problem, tile: int) -> None:
    """The largest sum of the magnitudes of a group, over 127."""
    places, magnitude, limit = a.load("places", 0), a.load("magnitude", 0), a.load("numbers", 0, size_bytes=4)
    tiles = problem.k // tile
    with a.loop("token", problem.batch_tokens) as token, a.loop("tile", tiles) as number:
        place = token * (4 * tiles) + number * 4
        a.store("scales", place, a.op("zero", size_bytes=16), size_bytes=4)
        with a.loop("eight", tile // _INPUTS_AT_ONCE) as eight:
            inputs = _gathered(
                a, token * (4 * problem.k) + (number * (4 * tile) + eight * (4 * _INPUTS_AT_ONCE)), places
            )
            sizes = [a.op("vpand", magnitude, value) for value in inputs]
            sums = a.op("vaddps", a.op("vaddps", *sizes[:2]), a.op("vaddps", *sizes[2:]))
            scale = a.op("vdivss", horizontal_maximum(a, sums), limit, size_bytes=4)
            a.store("scales", place, a.op("vmaxss", scale, memory=a.at("scales", place, 4), size_bytes=4), size_bytes=4)


class _Tables:
    """Writes the build of all tables."""

    def __init__(self, a: Assembler, problem: Problem, tile: int, scaling: Scaling) -> None:
        self._a, self._problem, self._tile, self._scaling = a, problem, tile, scaling
        self._places, self._minus, self._order = a.load("places", 0), a.load("minus", 0), a.load("order", 0)
        self._flip = a.load("sign_bits", 0) if scaling.averaged else None

    def write(self) -> None:
        """Tokens, the tiles of one scale within, 32 activations at a time within these."""
        a, k, tile = self._a, self._problem.k, self._tile
        with a.loop("token", self._problem.batch_tokens) as token, a.loop("tile", k // tile) as number:
            place = token * (4 * (k // tile)) + number * 4
            scale = a.load("scales", place, size_bytes=4)
            quotient = a.op("vdivss", a.load("numbers", 4, size_bytes=4), scale, size_bytes=4)
            # Activations that are all 0 have no inverse of their scale, and 0 will do.
            nothing = a.op("vpcmpeqd", scale, a.op("zero", size_bytes=4), size_bytes=4)
            inverse = a.op("vbroadcastss", a.op("vpandn", nothing, quotient, size_bytes=4))
            bias = a.op("zero", size_bytes=16)
            with a.loop("eight", tile // _INPUTS_AT_ONCE) as eight:
                inputs = token * (4 * k) + (number * (4 * tile) + eight * (4 * _INPUTS_AT_ONCE))
                tables = token * (4 * k) + (number * (4 * tile) + eight * (4 * _INPUTS_AT_ONCE))
                sums = self._sums(_gathered(a, inputs, self._places))
                if self._scaling.planes > 1:
                    a.into(bias, "vaddss", bias, horizontal_sum(a, sums[0]), size_bytes=16)
                self._store(sums, inverse, tables)
            self._finish(place, scale, bias)

    def _sums(self, inputs: list[Register]) -> list[Register]:
        """All signed sums of four: the odd ones are computed, the others negated."""
        a = self._a
        sums = {1: inputs[0]}
        for place, value in enumerate(inputs[1:], 1):
            before, sums = sums, {}
            for number, total in before.items():
                sums[number] = a.op("vsubps", total, value)
                sums[number | 1 << place] = a.op("vaddps", total, value)
        negative = {15 - number: a.op("vpxor", total, self._minus) for number, total in sums.items()}
        return [(sums | negative)[number] for number in range(_ENTRIES)]

    def _store(self, sums: list[Register], inverse: Register, tables: Offset) -> None:
        """Entries in 8 bits, four of each group at a time."""
        a = self._a
        for quarter in range(4):
            scaled = [a.op("vmulps", value, inverse) for value in sums[4 * quarter : 4 * quarter + 4]]
            whole = [a.op("vcvtps2dq", a.op("vroundps", value, imm=0)) for value in scaled]
            words = [a.op("vpackssdw", *whole[pair : pair + 2]) for pair in (0, 2)]
            entries = a.op("vpshufb", a.op("vpacksswb", *words), self._order)
            if self._flip is not None:
                entries = a.op("vpxor", entries, self._flip)
            for half in range(2):
                part = a.op("vextracti128", entries, imm=1) if half else entries
                for number in range(4):
                    one = a.op("vpextrd", part, imm=number, size_bytes=16) if number else part
                    place = tables + (_ENTRIES * (4 * half + number) + 4 * quarter)
                    a.store("tables", place, one, size_bytes=4)

    def _finish(self, place: Offset, scale: Register, bias: Register) -> None:
        a = self._a
        if self._scaling.averaged:
            count, excess = a.load("numbers", 8, size_bytes=4), a.load("numbers", 12, size_bytes=4)
            scale = a.op("vmulss", scale, count, size_bytes=4)
            a.store("scales", place, scale, size_bytes=4)
            bias = a.op("vaddss", bias, a.op("vmulss", scale, excess, size_bytes=4), size_bytes=4)
        a.store("biases", place, bias, size_bytes=4)
