"""Tables of sums of activations on AVX2, as the lookups of `elut` read them: the scale of each token's activations, and
for eight groups at a time all entries, transposed and split into planes of bytes.

Entries are put together as a compiler does it that finds common sums: those of the first activations of a group are
computed once. Source: microsoft/BitNet, `utils/codegen_tl2.py`, `per_tensor_quant`, `three_lut_ctor`, `two_lut_ctor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem, Step
from sim.simd.kernels.reductions import horizontal_maximum
from sim.simd.program import Offset, Register

__all__ = ["TABLE_BYTES", "table_constants", "table_steps"]

Bytes = NDArray[np.uint8]
Entries = NDArray[np.int64]
# A register, or None for zeros.
_Vector = Register | None

TABLE_BYTES = 32
"""Of a table: 16 entries, all low bytes before all high bytes."""
_GROUPS = 8
_ENTRIES = 16
_LARGEST_GROUP = 5
_LARGEST = 127.0
_SWAP_MIDDLE = 0b11011000


def table_constants() -> dict[str, Bytes]:
    """What the table build reads beside activations, by buffer."""
    planes = np.array([0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15] * 2, np.uint8)
    return {
        "magnitude": np.full(8, 0x7FFFFFFF, "<u4").view(np.uint8),
        "largest": np.full(4, _LARGEST, "<f4").view(np.uint8),
        "planes": planes,
        "places": (4 * np.outer(np.arange(1, _LARGEST_GROUP + 1), np.arange(_GROUPS)))
        .astype("<i4")
        .ravel()
        .view(np.uint8),
    }


def table_steps(
    problem: Problem, name: str, sizes: Mapping[str, int], parts: Sequence[tuple[Entries, int]]
) -> list[Step]:
    """The scale of every token, and its tables.

    Parameters
    ----------
    problem : Problem
    name : str
        Of the kernel.
    sizes : mapping of str to int
        All its buffers: "activations" float32, "scales", "tables", and those of `table_constants`.
    parts : sequence of (entries int64 [entries, group], columns)
        What is behind each other in a row of activations.
    """
    steps = [_scales(problem, Assembler(f"{name} scales", 32, sizes))]
    first, first_table = 0, 0
    all_tables = sum(columns // entries.shape[1] for entries, columns in parts) * TABLE_BYTES
    for entries, columns in parts:
        a = Assembler(f"{name} tables of {entries.shape[1]}", 32, sizes)
        _tables(a, problem, entries, columns, 4 * first, first_table, all_tables)
        steps.append(Step("tables", a.program()))
        first += columns
        first_table += columns // entries.shape[1] * TABLE_BYTES
    return steps


def _scales(problem: Problem, a: Assembler) -> Step:
    """127 / max |x| of every token."""
    magnitude = a.load("magnitude", 0)
    with a.loop("token", problem.batch_tokens) as token:
        largest = a.op("zero")
        with a.loop("vector", problem.k // 8) as vector:
            size = a.op("vpand", magnitude, memory=a.at("activations", token * (4 * problem.k) + vector * 32))
            a.into(largest, "vmaxps", size, largest)
        one = horizontal_maximum(a, largest)
        limit = a.load("largest", 0, size_bytes=4)
        a.store("scales", token * 4, a.op("vdivss", limit, one, size_bytes=4), size_bytes=4)
    return Step("quantize", a.program())


def _tables(
    a: Assembler, problem: Problem, entries: Entries, columns: int, first: int, first_table: int, table_bytes: int
) -> None:
    """Tables of one part for all tokens; offsets are in bytes of a token's activations and tables."""
    group = entries.shape[1]
    offsets = a.load("places", 32 * (group - 1))
    planes = a.load("planes", 0)
    with a.loop("token", problem.batch_tokens) as token:
        scale = a.op("vbroadcastss", memory=a.at("scales", token * 4, 4))
        with a.loop("eight", columns // group // _GROUPS) as eight:
            place = token * (4 * problem.k) + (eight * (4 * group * _GROUPS) + first)
            inputs = [_quantized(a, place + 4 * number, group, scale, offsets) for number in range(group)]
            sums = _Sums(a, inputs)
            rows = [sums.of(tuple(entry)) for entry in entries.tolist()]
            rows += [None] * (_ENTRIES - len(rows))
            lower, upper = _transposed(a, rows[:8]), _transposed(a, rows[8:])
            for number in range(_GROUPS):
                words = _merged(a, "vpackssdw", lower[number], upper[number])
                split = a.op("vpshufb", a.op("vpermq", words, imm=_SWAP_MIDDLE), planes)
                table = token * table_bytes + (eight * (_GROUPS * TABLE_BYTES) + (first_table + number * TABLE_BYTES))
                a.store("tables", table, a.op("vpermq", split, imm=_SWAP_MIDDLE))


def _quantized(a: Assembler, place: Offset, group: int, scale: Register, offsets: Register) -> Register:
    """One activation of each of eight groups, as int32."""
    size_bytes = 4 * group * (_GROUPS - 1) + 4
    memory = a.at("activations", place, size_bytes)
    floats = a.op("vgatherdps", offsets, memory=memory) if group > 1 else a.op("load", memory=memory)
    return a.op("vcvtps2dq", a.op("vroundps", a.op("vmulps", floats, scale), imm=0))


class _Sums:
    """Signed sums of the activations of eight groups, each computed once."""

    def __init__(self, a: Assembler, inputs: Sequence[Register]) -> None:
        self._a, self._inputs = a, inputs
        self._known: dict[tuple[int, ...], _Vector] = {}

    def of(self, factors: tuple[int, ...]) -> _Vector:
        """The sum that takes so much of each of the first activations."""
        if not any(factors):
            return None
        if factors not in self._known:
            self._known[factors] = self._computed(factors)
        return self._known[factors]

    def _computed(self, factors: tuple[int, ...]) -> _Vector:
        before, factor = self.of(factors[:-1]), factors[-1]
        if factor == 0:
            return before
        term = self._multiple(len(factors) - 1, abs(factor))
        if before is None and factor > 0:
            return term
        before = before or self._a.op("zero")
        return self._a.op("vpaddd" if factor > 0 else "vpsubd", before, term)

    def _multiple(self, number: int, factor: int) -> Register:
        """An activation so many times, by additions."""
        if factor == 1:
            return self._inputs[number]
        alone = (0,) * number + (factor,)
        known = self._known.get(alone)
        if known is None:
            known = self._a.op("vpaddd", self._multiple(number, factor - 1), self._inputs[number])
            self._known[alone] = known
        return known


def _transposed(a: Assembler, rows: Sequence[_Vector]) -> list[_Vector]:
    """Eight vectors of eight numbers, the other way round."""
    pairs = [_interleaved(a, "dq", *rows[number : number + 2]) for number in range(0, _GROUPS, 2)]
    quads = [_interleaved(a, "qdq", pairs[half][side], pairs[half + 1][side]) for half in (0, 2) for side in (0, 1)]
    columns = list[_Vector]()
    for number in range(4):
        left, right = quads[number // 2][number % 2], quads[2 + number // 2][number % 2]
        columns += [_merged_halves(a, left, right, imm) for imm in (0x20, 0x31)]
    return columns


def _interleaved(a: Assembler, items: str, left: _Vector, right: _Vector) -> tuple[_Vector, _Vector]:
    """Items of both in turn, over whole vectors."""
    if left is None and right is None:
        return None, None
    ordered = [value and a.op("vpermq", value, imm=_SWAP_MIDDLE) for value in (left, right)]
    low, high = (_merged(a, f"vpunpck{side}{items}", *ordered) for side in "lh")
    return low, high


def _merged(a: Assembler, name: str, left: _Vector, right: _Vector) -> Register:
    return a.op(name, left or a.op("zero"), right or a.op("zero"))


def _merged_halves(a: Assembler, left: _Vector, right: _Vector, imm: int) -> _Vector:
    if left is None and right is None:
        return None
    return a.op("vperm2i128", left or a.op("zero"), right or a.op("zero"), imm=imm)
