"""Cuts an operation into tiles that fit the double-buffered scratchpads, and chooses the tiling with the least time.

A matrix product of m × k × n runs as three loops of tiles, outputs kept in place while the inputs are summed over:

    order "mn":  for row tiles:    for column tiles: for input tiles       (activations stay, weights pass by)
    order "nm":  for column tiles: for row tiles:    for input tiles       (weights stay, activations pass by)

A tile is loaded only if it is not the one already there. What is no matrix product streams through in equal chunks.
Both give `Tiles`: per tile the bytes to load, the cycles to compute and the bytes to store, which is all that the
fidelities (`analytic`, `event`) need to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isa import Format, InputError
from sim.timing.analytic import time_tiles
from sim.timing.machine import Machine
from sim.timing.tiles import HALVES, Int64, Tiles
from sim.timing.units import ArrayUnit, PassCycles

__all__ = [
    "ACCUMULATOR_BYTES",
    "MatrixProduct",
    "Tiling",
    "busy_cycles",
    "map_matrix",
    "map_stream",
    "passes",
    "stays_on_chip",
]

ACCUMULATOR_BYTES = 4

# Candidates whose estimated time is within the first factor of the best are worth timing exactly: so many of the
# fastest and as many of those that move least. Among the ones within the second of the least time, traffic decides.
_WORTH_TIMING, _NEARLY = 1.5, 1.02
_TIMED_EACH = 8
# Into how many chunks a stream is cut, and how small a chunk may be for that.
_CHUNKS, _LEAST_CHUNK_BYTES = 16, 4096
# Finer tilings than this are not considered where a coarser one fits.
_MOST_TILES = 1 << 14


@dataclass(frozen=True)
class MatrixProduct:
    """`copies` independent products of [m, k] and [k, n], with bits a value and where inputs and outputs live."""

    m: int
    k: int
    n: int
    copies: int
    input_bits: int
    weight_bits: int
    output_bits: int
    input_on_chip: bool
    output_on_chip: bool


@dataclass(frozen=True)
class Tiling:
    """A way to run a matrix product: loop order, tile sizes, and the traffic that follows (bytes of all copies)."""

    order: Literal["mn", "nm"]
    tile_m: int
    tile_k: int
    tile_n: int
    column_tiles: int
    input_tiles: int
    weight_load_bytes: int
    input_load_bytes: int
    tiles: Tiles


def stays_on_chip(machine: Machine, size_bytes: int) -> bool:
    """Whether a tensor is kept in the activation scratchpad between operations: it fits one half of it."""
    return size_bytes <= machine.buffers.activation_bytes // 2


def map_stream(machine: Machine, load_bytes: int, compute_cycles: int, store_bytes: int) -> Tiles:
    """Equal chunks, each of at most half the activation scratchpad; `_CHUNKS` of them unless that makes them tiny, so
    that filling and draining the stream takes little."""
    longest = max(load_bytes, store_bytes)
    chunk = min(machine.buffers.activation_bytes // HALVES, max(_LEAST_CHUNK_BYTES, -(-longest // _CHUNKS)))
    count = max(1, -(-longest // chunk))
    return Tiles(_split(load_bytes, count), _split(compute_cycles, count), _split(store_bytes, count))


def _split(total: int, parts: int) -> Int64:
    """Integers that differ by at most one and sum to the total."""
    bounds = np.arange(parts + 1, dtype=np.int64) * total // parts
    return np.diff(bounds)


def map_matrix(
    machine: Machine,
    unit: ArrayUnit,
    product: MatrixProduct,
    weight_format: Format,
    pass_cycles: PassCycles | None = None,
) -> Tiling:
    """The best tiling of a matrix product.

    Parameters
    ----------
    machine, unit : the machine, and which of its units computes
    product : MatrixProduct
    weight_format : Format
    pass_cycles : int64 broadcastable to [row blocks, column blocks, windows], optional
        Cycles from real operand values; dense cycles otherwise.

    Raises
    ------
    InputError
        If not even the smallest tile fits the scratchpads.
    """
    order, tile_m, tile_k, tile_n = _candidates(machine, unit, product)
    if not len(tile_m):
        smallest = f"{unit.m} x {unit.k * unit.groups_per_window} x {unit.n}"
        expected = f"scratchpads of which one half holds a tile of {smallest}"
        raise InputError(f"machine {machine.name}", "buffers", machine.buffers.model_dump(), expected)
    row_tiles, input_tiles, column_tiles = -(-product.m // tile_m), -(-product.k // tile_k), -(-product.n // tile_n)
    weight_bytes = product.k * product.n * product.weight_bits / 8
    input_bytes = 0.0 if product.input_on_chip else product.m * product.k * product.input_bits / 8
    moving = input_tiles > 1
    reload_weights = np.where(moving, column_tiles * input_tiles > 1, (order == 0) & (column_tiles > 1))
    reload_inputs = np.where(moving, row_tiles * input_tiles > 1, (order == 1) & (row_tiles > 1))
    loads = weight_bytes * np.where(reload_weights, row_tiles, 1) + input_bytes * np.where(
        reload_inputs, column_tiles, 1
    )
    output_bytes = 0.0 if product.output_on_chip else product.m * product.n * product.output_bits / 8
    per_cycle = machine.dram_bytes_per_cycle
    first_load = (
        tile_k * tile_n * product.weight_bits + (not product.input_on_chip) * tile_m * tile_k * product.input_bits
    ) / 8
    last_store = (not product.output_on_chip) * tile_m * tile_n * product.output_bits / 8
    compute = busy_cycles(unit, product, weight_format, pass_cycles)
    tiles = row_tiles * input_tiles * column_tiles
    last_compute = compute / tiles
    channel = (loads - first_load + output_bytes - last_store) / per_cycle + last_compute
    # Tiles of unequal size keep the halves of a scratchpad waiting for each other: count them all as full ones.
    unevenness = tiles * tile_m * tile_k * tile_n / (product.m * product.k * product.n)
    turnaround = (loads / per_cycle + tiles * machine.dram_latency_cycles + compute) / HALVES * unevenness
    time = product.copies * np.maximum(np.maximum(compute, channel), turnaround) + (first_load + last_store) / per_cycle
    time = np.where(tiles * product.copies <= max(_MOST_TILES, tiles.min() * product.copies), time, np.inf)
    near = np.flatnonzero(time <= time.min() * _WORTH_TIMING)
    fastest = near[np.lexsort((tiles[near], time[near]))][:_TIMED_EACH]
    leanest = near[np.lexsort((tiles[near], loads[near]))][:_TIMED_EACH]
    tilings = [
        _expand(
            unit,
            product,
            weight_format,
            ("mn", "nm")[int(order[index])],
            (int(tile_m[index]), int(tile_k[index]), int(tile_n[index])),
            pass_cycles,
        )
        for index in dict.fromkeys([*fastest.tolist(), *leanest.tolist()])
    ]
    return _least(machine, tilings)


def _least(machine: Machine, tilings: list[Tiling]) -> Tiling:
    """Among tilings of nearly the least time, the one that moves least, in the fewest tiles: it spends less energy,
    and loads and stores that meet on the memory channel have slack."""
    cycles = [time_tiles(machine, tiling.tiles, 0).cycles for tiling in tilings]
    limit = min(cycles) * _NEARLY
    near = [tiling for tiling, count in zip(tilings, cycles, strict=True) if count <= limit]
    return min(
        near, key=lambda tiling: (tiling.weight_load_bytes + tiling.input_load_bytes, len(tiling.tiles.load_bytes))
    )


def _candidates(machine: Machine, unit: ArrayUnit, product: MatrixProduct) -> tuple[Int64, Int64, Int64, Int64]:
    """Loop order and tile sizes that fit half of every scratchpad: powers of two times the array, and whole sizes."""
    rows = _sizes(product.m, unit.m)
    inputs = _sizes(product.k, unit.k * unit.groups_per_window)
    columns = _sizes(product.n, unit.n)
    grid = np.meshgrid([0, 1], rows, inputs, columns, indexing="ij")
    order, tile_m, tile_k, tile_n = (axis.ravel() for axis in grid)
    buffers = machine.buffers
    fits = (
        (
            np.minimum(tile_m, product.m) * np.minimum(tile_k, product.k) * product.input_bits
            <= 4 * buffers.activation_bytes
        )
        & (
            np.minimum(tile_k, product.k) * np.minimum(tile_n, product.n) * product.weight_bits
            <= 4 * buffers.weight_bytes
        )
        & (
            np.minimum(tile_m, product.m) * np.minimum(tile_n, product.n) * ACCUMULATOR_BYTES
            <= buffers.output_bytes // 2
        )
    )
    return order[fits], tile_m[fits], tile_k[fits], tile_n[fits]


def _sizes(size: int, step: int) -> Int64:
    """Multiples of `step` that split `size` into 1, 2, 3, 4, 6, 8, 12, 16, 24, ... nearly equal parts."""
    steps = -(-size // step)
    parts = {1, steps} | {base << power for base in (2, 3) for power in range(steps.bit_length())}
    return np.array(sorted({-(-steps // count) * step for count in parts}), np.int64)


def passes(unit: ArrayUnit, product: MatrixProduct) -> int:
    """Passes of the array for one copy."""
    return -(-product.m // unit.m) * -(-product.k // unit.k) * -(-product.n // unit.n)


def busy_cycles(
    unit: ArrayUnit, product: MatrixProduct, weight_format: Format, pass_cycles: PassCycles | None = None
) -> int:
    """Cycles in which the array works on one copy; they do not depend on the tiling."""
    if pass_cycles is None:
        return passes(unit, product) * unit.pass_cycles(weight_format)
    rows, columns = -(-product.m // unit.m), -(-product.n // unit.n)
    repeats = (rows if pass_cycles.shape[0] == 1 else 1) * (columns if pass_cycles.shape[1] == 1 else 1)
    return int(pass_cycles.sum()) * repeats


def _expand(
    unit: ArrayUnit,
    product: MatrixProduct,
    weight_format: Format,
    order: Literal["mn", "nm"],
    tile: tuple[int, int, int],
    pass_cycles: PassCycles | None,
) -> Tiling:
    """Every tile of the chosen tiling, edges at their true size."""
    rows, inputs, columns = (
        _edges(size, step) for size, step in zip((product.m, product.k, product.n), tile, strict=True)
    )
    cycles = _tile_cycles(unit, weight_format, rows, inputs, columns, tile, pass_cycles)
    row, column, inner = np.meshgrid(*(np.arange(len(axis)) for axis in (rows, columns, inputs)), indexing="ij")
    axes = (0, 1, 2) if order == "mn" else (1, 0, 2)
    row, column, inner = (axis.transpose(axes).ravel() for axis in (row, column, inner))
    weight_tile = _bytes(inputs[inner] * columns[column], product.weight_bits)
    input_tile = _bytes(rows[row] * inputs[inner], 0 if product.input_on_chip else product.input_bits)
    weight_load = np.where(_changes(column * len(inputs) + inner), weight_tile, 0)
    input_load = np.where(_changes(row * len(inputs) + inner), input_tile, 0)
    output_tile = _bytes(rows[row] * columns[column], 0 if product.output_on_chip else product.output_bits)
    tiles = Tiles(
        np.tile(weight_load + input_load, product.copies),
        np.tile(cycles.transpose(axes).ravel(), product.copies),
        np.tile(np.where(inner == len(inputs) - 1, output_tile, 0), product.copies),
    )
    weight_load_bytes, input_load_bytes = (int(load.sum()) * product.copies for load in (weight_load, input_load))
    return Tiling(order, *tile, len(columns), len(inputs), weight_load_bytes, input_load_bytes, tiles)


def _tile_cycles(
    unit: ArrayUnit,
    weight_format: Format,
    rows: Int64,
    inputs: Int64,
    columns: Int64,
    tile: tuple[int, int, int],
    pass_cycles: PassCycles | None,
) -> Int64:
    """Compute cycles int64 [row tiles, column tiles, input tiles]."""
    row_blocks, groups, column_blocks = -(-rows // unit.m), -(-inputs // unit.k), -(-columns // unit.n)
    if pass_cycles is None:
        passes = row_blocks[:, None, None] * column_blocks[None, :, None] * groups[None, None]
        cycles: Int64 = passes * unit.pass_cycles(weight_format)
        return cycles
    steps = (tile[0] // unit.m, tile[2] // unit.n, tile[1] // (unit.k * unit.groups_per_window))
    summed: Int64 = pass_cycles
    for axis, (step, blocks) in enumerate(zip(steps, (row_blocks, column_blocks, groups), strict=True)):
        if summed.shape[axis] == 1 and axis < 2:
            summed = summed * np.expand_dims(blocks, tuple(other for other in range(3) if other != axis))
        else:
            summed = np.add.reduceat(summed, np.arange(0, summed.shape[axis], step), axis=axis)
    return summed


def _edges(size: int, step: int) -> Int64:
    """Sizes of the tiles along one dimension: whole steps, and what is left."""
    starts = np.arange(0, size, step, dtype=np.int64)
    return np.minimum(step, size - starts)


def _changes(identities: Int64) -> NDArray[np.bool_]:
    """Whether each tile differs from the one before it."""
    changed = np.ones(len(identities), bool)
    changed[1:] = identities[1:] != identities[:-1]
    return changed


def _bytes(values: Int64, bits: int) -> Int64:
    return -(-values * bits // 8)
