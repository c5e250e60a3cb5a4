"""Chooses how a matrix product is cut: loop order, tile sizes, whole rows of activations, double buffering.

All cuts that fit the scratchpads are estimated at once with a streaming memory; the promising ones are timed with the
real one, and among those of nearly the least time the one that moves least is taken, because it spends less energy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product as combinations

import numpy as np

from isa import InputError
from isa.instructions.transfer import SIZE_BITS
from isa.layouts import ENTRY_BYTES
from sim.timing.analytic import NestTiming, time_nests
from sim.timing.bounds import least_cycles
from sim.timing.machine import Machine
from sim.timing.memory import Memory
from sim.timing.nest import ACCUMULATOR_BYTES, Cuts, Hardware, Int64, Nest, Products
from sim.timing.product import MatrixProduct
from sim.timing.totals import Totals
from sim.timing.units import ArrayUnit

__all__ = ["Choice", "candidate_cuts", "choose_cut"]

# Worth timing exactly are so many of the fastest cuts whose estimated time is within the first factor of the best, and
# as many of those that move least within the second. Among those within the third of the least time, traffic decides.
_WORTH_TIMING, _WORTH_LESS_TRAFFIC, _NEARLY = 1.5, 1.04, 1.02
_TIMED_EACH = 12
# Sizes of a dimension that are all considered; of the smaller ones every second.
_LARGEST_SIZES = 9
# Cuts of more tiles than this, and than this many times the fewest possible, are not worth timing: they gain nothing
# and take long to simulate. And how many tiles are refused.
_FINE_TILES, _FINE_MULTIPLE = 1 << 14, 16
_MOST_TILES = 1 << 21


@dataclass(frozen=True)
class Choice:
    """The cut that was chosen, and why.

    Parameters
    ----------
    nest : Nest
        The product in that cut.
    timing : NestTiming
        Its time in closed form.
    considered, timed : int
        Cuts that fit, and cuts of which the time was computed.
    fastest_cycles : int
        The least time of those; the chosen one may be slightly slower and move less.
    """

    nest: Nest
    timing: NestTiming
    considered: int
    timed: int
    fastest_cycles: int


def choose_cut(
    machine: Machine, unit: ArrayUnit, product: MatrixProduct, cores: int = 1, tables_given: int = 0
) -> Choice:
    """The best cut of a product on a unit of a machine, of which so many cores share the memory.

    Raises
    ------
    InputError
        If not even the smallest tile fits the scratchpads, or the tiles would be too many to simulate.
    """
    hardware = replace(Hardware.of(machine, unit, product.weight.bits), cores=np.asarray(cores, np.int64))
    products = Products.of(product, tables_given)
    cuts = candidate_cuts(machine, unit, product, tables_given)
    if cores > 1 and (cuts.places > 1).any():
        # Whether the loads of several cores meet or pass each other is chance, unless computing hides them.
        cuts = cuts.take(cuts.places > 1)
    nest = Nest(hardware, products, cuts)
    tiles = nest.visits(np.asarray(3))
    _check_count(machine, int(tiles.min()))
    totals = Totals(nest, Memory.streaming(machine.memory_timings))
    estimate = least_cycles(totals)
    finest = min(max(_FINE_TILES, _FINE_MULTIPLE * int(tiles.min())), _MOST_TILES)
    time = np.where(tiles <= finest, estimate, np.iinfo(np.int64).max)
    near = np.flatnonzero(time <= time.min() * _WORTH_TIMING)
    fastest = near[np.lexsort((tiles[near], time[near]))][:_TIMED_EACH]
    nearly = np.flatnonzero(time <= time.min() * _WORTH_LESS_TRAFFIC)
    moved = totals.load_cycles + totals.store_cycles
    leanest = nearly[np.lexsort((tiles[nearly], moved[nearly]))][:_TIMED_EACH]
    timed = np.unique(np.concatenate((fastest, leanest)))
    exact = time_nests(Nest(hardware, products, cuts.take(timed)), Memory.of(machine.memory_timings))
    index = _least(exact, tiles[timed])
    chosen = Nest(hardware, products, cuts.take(timed[index]))
    return Choice(chosen, exact.take(index, chosen), len(tiles), len(timed), int(exact.cycles.min()))


def _least(timing: NestTiming, tiles: Int64) -> int:
    """Among cuts of nearly the least time, the one that moves least, makes the fewest tables, in the fewest tiles."""
    near = np.flatnonzero(timing.cycles <= timing.cycles.min() * _NEARLY)
    moved = timing.totals.load_cycles + timing.totals.store_cycles
    tables = np.broadcast_to(timing.totals.table_cycles, timing.cycles.shape)
    return int(near[np.lexsort((timing.cycles[near], tiles[near], tables[near], moved[near]))][0])


def candidate_cuts(machine: Machine, unit: ArrayUnit, product: MatrixProduct, tables_given: int = 0) -> Cuts:
    """All cuts that are considered and fit the scratchpads.

    Raises
    ------
    InputError
        If none fits.
    """
    scaling, buffers = product.scaling, machine.buffers
    if scaling is not None and scaling.granularity == "group" and scaling.group_size * product.activation.bits % 8:
        expected = "groups whose activations are whole bytes"
        raise InputError(f"machine {machine.name}", "scaling.group_size", scaling.group_size, expected)
    sums = buffers.output_bytes // ACCUMULATOR_BYTES
    rows = _sizes(product.m, unit.m, sums // min(product.n, unit.n))
    columns = _sizes(product.n, unit.n, sums // min(product.m, unit.m))
    if unit.looks_up_tables and Hardware.of(machine, unit, product.weight.bits).tables_each_block:
        columns = np.array([min(unit.n, product.n)])
    weights = buffers.weight_bytes * 8 // (min(product.n, unit.n) * product.weight.bits)
    inputs = _sizes(product.k, _input_step(unit, product), weights)
    if scaling is not None and scaling.granularity == "group":
        inputs = np.array([min(scaling.group_size, product.k)])
    cuts = _every_way(*_tiles_that_fit_once(machine, unit, product, rows, inputs, columns))
    # Whole rows are a choice only where the inputs are cut, loop orders only where both others are.
    distinct = (cuts.whole_rows == 0) | (cuts.tile_k < product.k)
    distinct &= (cuts.columns_outer == 0) | ((cuts.tile_m < product.m) & (cuts.tile_n < product.n))
    cuts = cuts.take(distinct)
    nest = Nest(Hardware.of(machine, unit, product.weight.bits), Products.of(product, tables_given), cuts)
    fits = (
        (nest.activation_scratchpad_bytes <= buffers.activation_bytes)
        & (nest.weight_scratchpad_bytes <= buffers.weight_bytes)
        & (nest.table_scratchpad_bytes <= buffers.table_bytes)
        & (nest.accumulator_scratchpad_bytes <= buffers.output_bytes)
        & (nest.scale_scratchpad_bytes <= buffers.scale_bytes)
        & (_largest_run(nest) < 1 << SIZE_BITS)
    )
    if not fits.any():
        smallest = f"{unit.m} x {int(inputs[0])} x {unit.n}"
        expected = f"scratchpads that hold a tile of {smallest}, its tables and scales"
        raise InputError(f"machine {machine.name}", "buffers", buffers.model_dump(), expected)
    # Every single place stands before the double one of the same tiles, which is at least as fast where it fits.
    fits[0::2] &= ~fits[1::2]
    return cuts.take(fits)


def _tiles_that_fit_once(
    machine: Machine, unit: ArrayUnit, product: MatrixProduct, rows: Int64, inputs: Int64, columns: Int64
) -> tuple[Int64, Int64, Int64]:
    """Row, input and column sizes of the tiles of which the scratchpads hold one: most do not."""
    buffers = machine.buffers
    row, depth, column = (axis.ravel() for axis in np.meshgrid(rows, inputs, columns, indexing="ij"))
    fits = (row * column * ACCUMULATOR_BYTES <= buffers.output_bytes) & (
        depth * column * product.weight.bits <= 8 * buffers.weight_bytes
    )
    if unit.looks_up_tables:
        fits &= row * -(-depth // unit.k) * (ENTRY_BYTES << unit.k - 1) <= buffers.table_bytes
    elif not product.input_on_chip:
        fits &= row * depth * product.activation.bits <= 8 * buffers.activation_bytes
    return row[fits], depth[fits], column[fits]


def _every_way(rows: Int64, inputs: Int64, columns: Int64) -> Cuts:
    """Tiles in both loop orders, with whole rows and without, single and double."""
    ways = np.array(list(combinations([0, 1], [0, 1], [1, 2])), np.int64).T
    order, whole_rows, places = (np.tile(way, len(rows)) for way in ways)
    tile_m, tile_k, tile_n = (np.repeat(size, ways.shape[1]) for size in (rows, inputs, columns))
    return Cuts(order, tile_m, tile_k, tile_n, whole_rows, places)


def _largest_run(nest: Nest) -> Int64:
    """The largest number in a field of a load or a store."""
    tiles = (
        nest.input_tile(nest.rows.size, nest.input_depths.size),
        nest.weight_tile(nest.columns.size, nest.inputs.size),
        nest.result_tile(nest.rows.size, nest.columns.size),
    )
    largest = [np.maximum(tile.rows, tile.row_bytes) for tile in tiles]
    run: Int64 = np.maximum.reduce(np.broadcast_arrays(*largest))
    return run


def _input_step(unit: ArrayUnit, product: MatrixProduct) -> int:
    """Inputs of the smallest tile: whole windows of the array, whose activations (and weights that lie in rows) are
    whole bytes."""
    window = unit.k * unit.groups_per_window
    in_rows = unit.weight_order == "rows" and product.weight.bits % 8
    return int(np.lcm(window, 8)) if product.activation.bits % 8 or in_rows else window


def _sizes(size: int, step: int, most: int) -> Int64:
    """Multiples of `step` that split `size` into 1, 2, 3, 4, 6, 8, 12, 16, 24, ... nearly equal parts, at most `most`:
    the largest, and of the smaller ones every second."""
    steps = -(-size // step)
    parts = {1, steps} | {base << power for base in (2, 3) for power in range(steps.bit_length())}
    sizes = np.array(sorted({min(size, -(-steps // count) * step) for count in parts}), np.int64)
    fitting = sizes[sizes <= max(most, sizes[0])][::-1]
    return np.sort(np.concatenate((fitting[:_LARGEST_SIZES], fitting[_LARGEST_SIZES:][::2])))


def _check_count(machine: Machine, count: int) -> None:
    if count > _MOST_TILES:
        expected = f"scratchpads and work of at most {_MOST_TILES:,} tiles an operation"
        raise InputError(f"machine {machine.name}", "buffers", f"{count:,} tiles in one operation", expected)
