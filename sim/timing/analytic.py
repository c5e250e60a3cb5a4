"""Closed-form time of a sequence of tiles on double-buffered scratchpads.

The last computation cannot end before any of four chains, each of which the event model obeys too:

    compute      the first tile's load and latency, then all computation without a pause
    loads        all loads one after the other, the latency of the last, the last computation
    channel      all loads and all stores but the last, one after the other
    turnaround   a scratchpad half is loaded, computed from and only then loaded again; halves take turns

The latest of them is taken for the truth. What is left out is that loads and stores meet at the wrong moment.
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
    channel = all_loads + int(stores[:-1].sum())
    turnaround = _turnaround(loads, tiles.compute_cycles, latency)
    return TileTiming(
        fill_cycles=fill,
        compute_cycles=compute,
        stall_cycles=max(0, max(loaded, channel, turnaround) - fill - compute),
        drain_cycles=int(stores[-1]) + pipeline_cycles,
    )


def _turnaround(loads: Int64, compute: Int64, latency: int) -> int:
    """Earliest end of the last computation if the halves of the scratchpads alone set the pace."""
    cycle = loads + latency * (loads > 0) + compute
    last = (len(loads) - 1) % HALVES
    ends = [
        int(loads[:first].sum() + cycle[first::HALVES].sum()) + (0 if first == last else int(compute[-1]))
        for first in range(min(HALVES, len(loads)))
    ]
    return max(ends)
