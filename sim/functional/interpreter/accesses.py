"""Who read and wrote each byte last, and whether a new access is right: written before it is read, and ordered after
whatever other engines did there.

For every space, engine and direction there is an array of the times of last access, one element a byte, made when that
engine first goes there. An engine's earlier accesses are ordered before its last one, so that the last is all that
needs to be compared with a clock. Arrays are filled by the system page by page as they are touched: four bytes a byte
for each engine that reads it and each that writes it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from isa.instructions import Region
from isa.instructions.types import ENGINES, SCRATCHPADS, Space
from sim.functional.interpreter.clocks import Clock
from sim.functional.interpreter.errors import Violation
from sim.functional.interpreter.spaces import rows_of

__all__ = ["MOST_TIMES", "Accesses"]

MOST_TIMES = np.iinfo(np.int32).max
"""Instructions of one engine that can be told apart."""

Times = dict[int, NDArray[np.int32]]
"""For each engine that has been there, the times of its last accesses of every byte; 0: none."""


class Accesses:
    """The accesses of a program in execution.

    Parameters
    ----------
    size_bytes : mapping of Space to int
    """

    def __init__(self, size_bytes: Mapping[Space, int]) -> None:
        self._written: dict[Space, NDArray[np.bool_]] = {
            space: np.zeros(size, np.bool_) for space, size in size_bytes.items()
        }
        self._reads: dict[Space, Times] = {space: {} for space in ("memory", *SCRATCHPADS)}
        self._writes: dict[Space, Times] = {space: {} for space in ("memory", *SCRATCHPADS)}
        self._positions = [array("L") for _ in ENGINES]

    def mark_written(self, region: Region) -> None:
        """Declare bytes to be there before the program runs."""
        rows_of(self._written[region.space], region)[...] = True

    def start(self, engine: int, position: int) -> None:
        """Remember an engine's next instruction, to name it if something goes wrong later."""
        self._positions[engine].append(position)

    def read(self, engine: int, region: Region, now: Clock) -> None:
        """Record a read by an engine whose clock is `now`.

        Raises
        ------
        Violation
            If a byte was never written, or was written by another engine in no fixed order.
        """
        written = rows_of(self._written[region.space], region)
        if not written.all():
            first = _address(region, int(np.argmin(written)))
            raise Violation("uninitialized read", f"byte {first} of {region.space}, never written", "a write before it")
        self._check_ordered(engine, region, now, ("read", "written"), self._writes[region.space])
        self._record(self._reads[region.space], engine, region, now)

    def write(self, engine: int, region: Region, now: Clock) -> None:
        """Record a write by an engine whose clock is `now`.

        Raises
        ------
        Violation
            If rows overlap each other, or another engine reads or writes there in no fixed order.
        """
        if region.rows > 1 and region.pitch_bytes < region.row_bytes:
            found = f"rows of {region.row_bytes} bytes every {region.pitch_bytes} bytes of {region.space}"
            raise Violation("overlapping write", found, "rows that do not overlap")
        self._check_ordered(engine, region, now, ("written", "written"), self._writes[region.space])
        self._check_ordered(engine, region, now, ("written", "read"), self._reads[region.space])
        self._record(self._writes[region.space], engine, region, now)
        rows_of(self._written[region.space], region)[...] = True

    def _record(self, last: Times, engine: int, region: Region, now: Clock) -> None:
        if engine not in last:
            last[engine] = np.zeros(len(self._written[region.space]), np.int32)
        rows_of(last[engine], region)[...] = now[engine]

    def _check_ordered(self, engine: int, region: Region, now: Clock, done: _Done, last: Times) -> None:
        for other, times in last.items():
            if other != engine:
                there = rows_of(times, region)
                if there.max() > now[other]:
                    self._report(region, there, other, now[other], done)

    def _report(self, region: Region, times: NDArray[Any], other: int, known: int, done: _Done) -> NoReturn:
        index = int(np.argmax(times > known))
        position = self._positions[other][int(times.flat[index]) - 1]
        raise Violation(
            "overlapping write",
            f"byte {_address(region, index)} of {region.space} {done[0]} here and {done[1]} by {ENGINES[other]} "
            f"(instruction {position}) in no fixed order",
            "an order by tokens, queue or fence",
        )


_Done = tuple[Literal["read", "written"], Literal["read", "written"]]


def _address(region: Region, index: int) -> int:
    """The address of a region's byte, counted without the gaps."""
    row, column = divmod(index, region.row_bytes)
    return region.address + row * region.pitch_bytes + column
