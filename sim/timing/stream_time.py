"""Closed-form time of a sequence of tiles on double-buffered scratchpads.

The last computation cannot end before any of three chains, each of which the event model obeys too:

    compute      the first tile's load and latency, then all computation without a pause
    loads        all loads one after the other, the latency of the last, the last computation
    turnaround   a scratchpad half is loaded, computed from and only then loaded again; halves take turns

The run cannot end before the last store that follows it, nor before the memory channel has carried all loads and stores
one after the other. The latest is taken for the truth. What is left out: loads and stores that meet at the wrong
moment, and computation that waits for a free half of the output scratchpad.
"""

from __future__ import annotations

import numpy as np

from sim.timing.machine import Machine
from sim.timing.tiles import HALVES, Int64, Tiles, TileTiming

__all__ = ["time_tiles", "transfer_cycles"]


def transfer_cycles(machine: Machine, size_bytes: Int64) -> Int64:
    """Cycles that transfers of so many bytes hold the memory channel, int64 of the same shape."""
    return np.ceil(size_bytes / machine.dram_bytes_per_cycle).astype(np.int64)


def time_tiles(machine: Machine, tiles: Tiles, pipeline_cycles: int) -> TileTiming:
    """Time of the tiles, without simulating them."""
    loads = transfer_cycles(machine, tiles.load_bytes)
    stores = transfer_cycles(machine, tiles.store_bytes)
    compute, last_compute = int(tiles.compute_cycles.sum()), int(tiles.compute_cycles[-1])
    latency = machine.dram_latency_cycles
    fill = int(loads[0]) + (latency if loads[0] else 0)
    all_loads = int(loads.sum())
    loaded = all_loads + (latency if all_loads else 0) + last_compute
    computed = max(fill + compute, loaded, _turnaround(loads, tiles.compute_cycles, latency))
    end = max(computed + int(stores[-1]), all_loads + int(stores.sum()))
    return TileTiming(fill, compute, computed - fill - compute, end - computed + pipeline_cycles)


def _turnaround(loads: Int64, compute: Int64, latency: int) -> int:
    """Earliest end of the last computation if the halves of the scratchpads alone set the pace."""
    cycle = loads + latency * (loads > 0) + compute
    last = (len(loads) - 1) % HALVES
    ends = [
        int(loads[:first].sum() + cycle[first::HALVES].sum()) + (0 if first == last else int(compute[-1]))
        for first in range(min(HALVES, len(loads)))
    ]
    return max(ends)
