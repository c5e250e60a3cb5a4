"""Closed-form time of a sequence of tiles on double-buffered scratchpads.

fill      the first tile's load and the memory latency: nothing to compute yet
compute   the array works
stall     the memory channel needs longer for the remaining loads and stores than the array for its work, or the two
          halves of a scratchpad turn around too slowly (load, latency, computation, then the next load)
drain     the last tile's store and the array's pipeline: nothing left to compute

cycles = fill + compute + stall + drain
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.timing.machine import Machine
from sim.timing.mapping import HALVES, Tiles

__all__ = ["TileTiming", "time_tiles", "transfer_cycles"]


@dataclass(frozen=True)
class TileTiming:
    """Time of one operation in cycles, by what the array does; both fidelities give this."""

    fill_cycles: int
    compute_cycles: int
    stall_cycles: int
    drain_cycles: int

    @property
    def cycles(self) -> int:
        """From the first request to the last result."""
        return self.fill_cycles + self.compute_cycles + self.stall_cycles + self.drain_cycles


def transfer_cycles(
    machine: Machine, size_bytes: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Cycles that transfers of so many bytes hold the memory channel, int64 of the same shape."""
    return np.ceil(size_bytes / machine.dram_bytes_per_cycle).astype(np.int64)


def time_tiles(machine: Machine, tiles: Tiles, pipeline_cycles: int) -> TileTiming:
    """Time of the tiles, without simulating them."""
    loads = transfer_cycles(machine, tiles.load_bytes)
    stores = transfer_cycles(machine, tiles.store_bytes)
    compute, last_compute = int(tiles.compute_cycles.sum()), int(tiles.compute_cycles[-1])
    latency = machine.dram_latency_cycles
    fill = int(loads[0]) + (latency if loads[0] else 0)
    channel = int(loads[1:].sum() + stores[:-1].sum())
    steady = channel + last_compute if channel else 0
    turnaround = (int(loads[1:].sum()) + latency * int((loads[1:] > 0).sum()) + compute) // HALVES
    return TileTiming(
        fill_cycles=fill,
        compute_cycles=compute,
        stall_cycles=max(0, steady - compute, turnaround - compute),
        drain_cycles=int(stores[-1]) + pipeline_cycles,
    )
