"""The tiles of an operation: all that the fidelities (`analytic`, `event`) need to know of it.

How an operation is cut into tiles is the subject of `sim.timing.mapping`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALVES", "Int64", "TileTiming", "Tiles"]

Int64 = NDArray[np.int64]

HALVES = 2
"""Halves of a double-buffered scratchpad."""


@dataclass(frozen=True)
class Tiles:
    """Per tile, in the order of execution, the bytes to load, the cycles to compute and the bytes to store."""

    load_bytes: Int64
    compute_cycles: Int64
    store_bytes: Int64


@dataclass(frozen=True)
class TileTiming:
    """Time of one operation in cycles, by what the array does; both fidelities give this.

    fill: nothing to compute yet, the first tile is on its way. compute: the array works. stall: it waits for a later
    tile. drain: nothing left to compute, the last store and the array's pipeline.
    """

    fill_cycles: int
    compute_cycles: int
    stall_cycles: int
    drain_cycles: int

    @property
    def cycles(self) -> int:
        """From the first request to the last result."""
        return self.fill_cycles + self.compute_cycles + self.stall_cycles + self.drain_cycles
