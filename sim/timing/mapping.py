"""Chooses how an operation is cut into tiles that fit the double-buffered scratchpads.

Matrix products: all loop orders and tile sizes that fit are estimated at once, the promising ones timed exactly, and
among those of nearly the least time the one that moves least is taken. What is no matrix product streams through in
equal chunks. What a tiling looks like, tile by tile, is the subject of `sim.timing.tiling`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa import InputError
from sim.timing.analytic import time_tiles
from sim.timing.machine import Machine
from sim.timing.tiles import HALVES, Int64, Tiles
from sim.timing.tiling import ArrayJob, Cut, Tiling, expand

__all__ = ["ACCUMULATOR_BYTES", "map_matrix", "map_stream", "stays_on_chip"]

ACCUMULATOR_BYTES = 4

# Candidates whose estimated time is within the first factor of the best are worth timing exactly: so many of the
# fastest and as many of those that move least. Among the ones within the second of the least time, traffic decides.
_WORTH_TIMING, _NEARLY = 1.5, 1.02
_TIMED_EACH = 8
# Finer tilings than this are not considered where a coarser one fits; beyond the second, the machine is refused.
_FINE_TILES, _MOST_TILES = 1 << 14, 1 << 21
# Into how many chunks a stream is cut, and how small a chunk may be for that.
_CHUNKS, _LEAST_CHUNK_BYTES = 16, 4096

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Candidates:
    """Cuts that fit, one a row: loop order (0 "mn", 1 "nm") and tile sizes."""

    order: Int64
    tile_m: Int64
    tile_k: Int64
    tile_n: Int64

    def cut(self, index: int) -> Cut:
        sizes = (int(sizes[index]) for sizes in (self.tile_m, self.tile_k, self.tile_n))
        return Cut("nm" if self.order[index] else "mn", *sizes)


def stays_on_chip(machine: Machine, size_bytes: int) -> bool:
    """Whether a tensor is kept in the activation scratchpad between operations: it fits one half of it."""
    return size_bytes <= machine.buffers.activation_bytes // HALVES


def map_stream(machine: Machine, load_bytes: int, compute_cycles: int, store_bytes: int) -> Tiles:
    """Equal chunks, each of at most half the activation scratchpad; `_CHUNKS` of them unless that makes them tiny, so
    that filling and draining the stream takes little. `InputError` if they would be too many to simulate."""
    longest = max(load_bytes, store_bytes)
    chunk = min(machine.buffers.activation_bytes // HALVES, max(_LEAST_CHUNK_BYTES, -(-longest // _CHUNKS)))
    count = max(1, -(-longest // chunk))
    _check_count(machine, count)
    return Tiles(_split(load_bytes, count), _split(compute_cycles, count), _split(store_bytes, count))


def _split(total: int, parts: int) -> Int64:
    """Integers that differ by at most one and sum to the total."""
    quotient, remainder = divmod(total, parts)
    return quotient + (np.arange(parts, dtype=np.int64) < remainder)


def map_matrix(machine: Machine, job: ArrayJob) -> Tiling:
    """The best tiling of a matrix product on a machine.

    Raises
    ------
    InputError
        If not even the smallest tile fits the scratchpads, or the tiles would be too many to simulate.
    """
    candidates = _candidates(machine, job)
    if not len(candidates.order):
        smallest = f"{job.unit.m} x {job.unit.k * job.unit.groups_per_window} x {job.unit.n}"
        expected = f"scratchpads of which one half holds a tile of {smallest}"
        raise InputError(f"machine {machine.name}", "buffers", machine.buffers.model_dump(), expected)
    time, loads, tiles = _estimate(machine, job, candidates)
    _check_count(machine, int(tiles.min()))
    time = np.where(tiles <= max(_FINE_TILES, tiles.min()), time, np.inf)
    near = np.flatnonzero(time <= time.min() * _WORTH_TIMING)
    fastest = near[np.lexsort((tiles[near], time[near]))][:_TIMED_EACH]
    leanest = near[np.lexsort((tiles[near], loads[near]))][:_TIMED_EACH]
    indices = dict.fromkeys([*fastest.tolist(), *leanest.tolist()])
    return _least(machine, [expand(job, candidates.cut(index)) for index in indices])


def _least(machine: Machine, tilings: list[Tiling]) -> Tiling:
    """Among tilings of nearly the least time, the one that moves least, in the fewest tiles: it spends less energy,
    and loads and stores that meet on the memory channel have slack."""
    cycles = [time_tiles(machine, tiling.tiles, 0).cycles for tiling in tilings]
    limit = min(cycles) * _NEARLY
    near = [tiling for tiling, count in zip(tilings, cycles, strict=True) if count <= limit]
    return min(near, key=lambda one: (one.weight_load_bytes + one.input_load_bytes, len(one.tiles.load_bytes)))


def _candidates(machine: Machine, job: ArrayJob) -> _Candidates:
    """Loop orders and tile sizes that fit half of every scratchpad."""
    unit, product, buffers = job.unit, job.product, machine.buffers
    sizes = (
        _sizes(product.m, unit.m),
        _sizes(product.k, unit.k * unit.groups_per_window),
        _sizes(product.n, unit.n),
    )
    order, *tile = (axis.ravel() for axis in np.meshgrid([0, 1], *sizes, indexing="ij"))
    m, k, n = (np.minimum(*pair) for pair in zip(tile, (product.m, product.k, product.n), strict=True))
    fits = (
        (m * k * product.input_bits * HALVES <= 8 * buffers.activation_bytes)
        & (k * n * product.weight_bits * HALVES <= 8 * buffers.weight_bytes)
        & (m * n * ACCUMULATOR_BYTES * HALVES <= buffers.output_bytes)
    )
    return _Candidates(order[fits], *(axis[fits] for axis in tile))


def _sizes(size: int, step: int) -> Int64:
    """Multiples of `step` that split `size` into 1, 2, 3, 4, 6, 8, 12, 16, 24, ... nearly equal parts."""
    steps = -(-size // step)
    parts = {1, steps} | {base << power for base in (2, 3) for power in range(steps.bit_length())}
    return np.array(sorted({-(-steps // count) * step for count in parts}), np.int64)


def _estimate(machine: Machine, job: ArrayJob, candidates: _Candidates) -> tuple[Floats, Floats, Int64]:
    """Time in cycles, bytes loaded and number of tiles of every candidate, all copies, as if tiles were all alike."""
    product, order = job.product, candidates.order
    tile_m, tile_k, tile_n = candidates.tile_m, candidates.tile_k, candidates.tile_n
    rows, inputs, columns = -(-product.m // tile_m), -(-product.k // tile_k), -(-product.n // tile_n)
    tiles = rows * inputs * columns
    input_bits = 0 if product.input_on_chip else product.input_bits
    output_bits = 0 if product.output_on_chip else product.output_bits
    several = inputs > 1
    reload_weights = np.where(several, columns * inputs > 1, (order == 0) & (columns > 1))
    reload_inputs = np.where(several, rows * inputs > 1, (order == 1) & (rows > 1))
    weight_loads = product.k * product.n * product.weight_bits / 8 * np.where(reload_weights, rows, 1)
    input_loads = product.m * product.k * input_bits / 8 * np.where(reload_inputs, columns, 1)
    loads = weight_loads + input_loads
    first_load = (tile_k * tile_n * product.weight_bits + tile_m * tile_k * input_bits) / 8
    last_store = tile_m * tile_n * output_bits / 8
    stores = product.m * product.n * output_bits / 8
    compute = job.busy_cycles
    per_cycle = machine.dram_bytes_per_cycle
    channel = (loads - first_load + stores - last_store) / per_cycle + compute / tiles
    # Tiles of unequal size keep the halves of a scratchpad waiting for each other: count them all as full ones.
    unevenness = tiles * tile_m * tile_k * tile_n / (product.m * product.k * product.n)
    turnaround = (loads / per_cycle + tiles * machine.dram_latency_cycles + compute) / HALVES * unevenness
    steady = np.maximum(np.maximum(compute, channel), turnaround)
    time = product.copies * steady + (first_load + last_store) / per_cycle
    return time, product.copies * loads, product.copies * tiles


def _check_count(machine: Machine, count: int) -> None:
    if count > _MOST_TILES:
        expected = f"scratchpads and work of at most {_MOST_TILES:,} tiles an operation"
        raise InputError(f"machine {machine.name}", "buffers", f"{count:,} tiles in one operation", expected)
