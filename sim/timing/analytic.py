"""Closed-form time of cut matrix products: the loops of a `Nest` on engines that work at the same time.

What an engine does is known from the loops alone; how engines wait for each other is not simulated. The last product
cannot end before any of these, each of which the event model obeys too:

    array        the first tile's way to the array, then all products without a pause
    loads        all loads one after the other, the latency of the last, and what is computed from it
    tables       all tables one after the other, and what is looked up in the last
    rings        a place of a scratchpad is filled, used and only then filled again; places take turns
    channel      all loads and stores of all cores, one after the other

The latest is taken for the truth. What follows the last product is its way out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.timing.dram import BankModel, TimingArrays, Timings, Transfer, service_cycles_bound
from sim.timing.nest import ROW_SCALE_BYTES, Int64, Nest, Pieces, Tile

__all__ = ["Memory", "NestTiming", "Totals", "Transfers", "time_nests"]


@dataclass(frozen=True)
class NestTiming:
    """Time of cut products, int64 arrays of cycles.

    Parameters
    ----------
    fill_cycles : before the array has anything to do
    compute_cycles : in which it works
    stall_cycles : in which it waits for a later tile
    drain_cycles : after its last product
    totals : Totals
    """

    fill_cycles: Int64
    compute_cycles: Int64
    stall_cycles: Int64
    drain_cycles: Int64
    totals: Totals

    @property
    def cycles(self) -> Int64:
        """From the first instruction to the last result."""
        return self.fill_cycles + self.compute_cycles + self.stall_cycles + self.drain_cycles


class Transfers(NamedTuple):
    """Channel cycles of transfers; of inputs, weights and results by the four pairs of whole tiles and edges."""

    inputs: Int64
    weights: Int64
    results: Int64
    last_result: Int64
    column_scales: Int64
    row_scales: Int64


@dataclass(frozen=True)
class Memory:
    """What the closed form asks of a memory.

    Parameters
    ----------
    service_cycles : callable
        From a `Tile` to the cycles that transfers hold all channels, float64.
    latency_cycles : int64
        From a request to its first byte.
    """

    service_cycles: Callable[[Tile], NDArray[np.float64]]
    latency_cycles: Int64

    @classmethod
    def of(cls, timings: Timings | TimingArrays) -> Memory:
        """The law of `BankModel` for one DRAM, or for many."""
        latency = np.rint(timings.latency_cycles).astype(np.int64)
        return cls(lambda tile: service_cycles_bound(timings, *tile), latency)

    @classmethod
    def walked(cls, model: BankModel) -> Memory:
        """Every transfer walked through the banks, from address 0."""

        def cycles(tile: Tile) -> NDArray[np.float64]:
            shape = np.broadcast_shapes(*(np.shape(part) for part in tile))
            parts = (np.broadcast_to(part, shape).ravel().tolist() for part in tile)
            each = [model.service_cycles(Transfer(0, *sizes)) for sizes in zip(*parts, strict=True)]
            return np.array(each, np.float64).reshape(shape)

        return cls(cycles, np.asarray(model.latency_cycles, np.int64))

    @classmethod
    def streaming(cls, timings: Timings) -> Memory:
        """As if every transfer were a stream of whole bursts: a quick estimate."""
        rate = timings.burst_cycles / timings.channels / (1 - timings.refresh_share)

        def cycles(tile: Tile) -> NDArray[np.float64]:
            bursts = tile.rows * -(-tile.row_bytes // timings.burst_bytes)
            return np.asarray(bursts * rate, np.float64)

        return cls(cycles, np.rint(timings.latency_cycles).astype(np.int64))


@dataclass(frozen=True)
class Totals:
    """How long each engine works for cut products, all copies, one core: what an execution of the loops adds up to.

    Parameters
    ----------
    nest : Nest
    memory : Memory
        It broadcasts against the nest.
    operand_cycles : int64, optional
        Cycles of all `lmma` from real operands; dense otherwise.
    """

    nest: Nest
    memory: Memory
    operand_cycles: Int64 | None = None

    @cached_property
    def array_cycles(self) -> Int64:
        """Cycles of all `lmma`."""
        if self.operand_cycles is not None:
            return self.operand_cycles
        return self.nest.passes * self.nest.hardware.pass_cycles

    @cached_property
    def table_cycles(self) -> Int64:
        """Cycles of all `lutgen`."""
        nest, hardware = self.nest, self.nest.hardware

        each = [
            -(-rows * -(-depth // hardware.k) // hardware.tables_per_cycle)
            for rows, depth in _pairs(nest.rows, nest.table_depths)
        ]
        made = hardware.table_lookup * (1 - nest.products.tables_given) * nest.products.copies * nest.table_remakes
        return made * _total(_counts(nest.rows, nest.table_depths), each)

    @cached_property
    def scale_cycles(self) -> Int64:
        """Cycles of all `scale`."""
        nest = self.nest
        products = nest.products
        repeats = np.where(products.column_scales == 3, nest.inputs.tiles, products.column_scales > 0)
        each = [self.one_scale(*sizes) for sizes in _pairs(nest.rows, nest.columns)]
        return repeats * products.copies * _total(_counts(nest.rows, nest.columns), each)

    @cached_property
    def transfers(self) -> Transfers:
        """Channel cycles of every transfer that occurs."""
        nest = self.nest
        products = nest.products
        tiles = [nest.input_tile(*sizes) for sizes in _pairs(nest.rows, nest.input_depths)]
        tiles += [nest.weight_tile(*sizes) for sizes in _pairs(nest.columns, nest.inputs)]
        tiles += [nest.result_tile(*sizes) for sizes in _pairs(nest.rows, nest.columns)]
        tiles.append(nest.result_tile(nest.rows.last, nest.columns.last))
        one, none = np.asarray(1), np.asarray(0)
        tiles.append(Tile(one, nest.column_scale_run, none))
        tiles.append(Tile(one, nest.rows.size * ROW_SCALE_BYTES, none))
        shape = np.broadcast_shapes(*(np.shape(part) for tile in tiles for part in tile))
        stacked = (np.stack([np.broadcast_to(tile[part], shape) for tile in tiles]) for part in range(3))
        cycles = np.ceil(self.memory.service_cycles(Tile(*stacked))).astype(np.int64)
        return Transfers(cycles[0:4], cycles[4:8], cycles[8:12], *cycles[12:])

    @property
    def input_load_cycles(self) -> Int64:
        """Channel cycles of activations, or of tables that were made before."""
        nest = self.nest
        loaded = (1 - nest.products.input_on_chip) * nest.products.copies * nest.input_reloads
        return loaded * _total(_counts(nest.rows, nest.input_depths), self.transfers.inputs)

    @property
    def weight_load_cycles(self) -> Int64:
        """Channel cycles of weights."""
        nest = self.nest
        loads = _total(_counts(nest.columns, nest.inputs), self.transfers.weights)
        return nest.products.copies * nest.weight_reloads * loads

    @property
    def scale_load_cycles(self) -> Int64:
        """Channel cycles of scales, as if no tile were an edge."""
        nest = self.nest
        columns = nest.visits(nest.scale_level) * self.transfers.column_scales
        rows = (1 - nest.products.row_scales_on_chip) * nest.visits(nest.row_level) * self.transfers.row_scales
        return np.where(nest.products.column_scales > 0, columns + rows, 0)

    @property
    def store_cycles(self) -> Int64:
        """Channel cycles of results; 0 where they stay on chip."""
        nest = self.nest
        stores = _total(_counts(nest.rows, nest.columns), self.transfers.results)
        return (1 - nest.products.output_on_chip) * nest.products.copies * stores

    @cached_property
    def move_cycles(self) -> Int64:
        """Cycles of the store engine for results that stay on chip."""
        nest = self.nest
        moves = [self._one_move(*sizes) for sizes in _pairs(nest.rows, nest.columns)]
        return nest.products.output_on_chip * nest.products.copies * _total(_counts(nest.rows, nest.columns), moves)

    @property
    def load_cycles(self) -> Int64:
        """Channel cycles of all loads."""
        return self.input_load_cycles + self.weight_load_cycles + self.scale_load_cycles

    def one_scale(self, rows: Int64, columns: Int64) -> Int64:
        """Cycles of one `scale`."""
        return -(-rows * columns // self.nest.hardware.vector_lanes)

    @property
    def last_store_cycles(self) -> Int64:
        """Cycles in which the last tile of results leaves."""
        moves = self._one_move(self.nest.rows.last, self.nest.columns.last)
        return np.where(self.nest.products.output_on_chip == 1, moves, self.transfers.last_result)

    def _one_move(self, rows: Int64, columns: Int64) -> Int64:
        return -(-rows * columns * self.nest.products.result_bytes // self.nest.hardware.move_bytes)


def time_nests(nest: Nest, memory: Memory, operand_cycles: Int64 | None = None) -> NestTiming:
    """Time of cut products, many at once.

    Parameters
    ----------
    nest : Nest
    memory : Memory
        It broadcasts against the nest.
    operand_cycles : int64, optional
        Cycles of all `lmma` from real operands; dense otherwise.
    """
    totals = Totals(nest, memory, operand_cycles)
    hardware, cores = nest.hardware, nest.hardware.cores
    scaled = nest.products.column_scales > 0
    inputs_there, fill = _first_tile(totals)
    array = totals.array_cycles
    last_store = totals.last_store_cycles
    channel = cores * (totals.load_cycles + totals.store_cycles)
    out_of_array = hardware.pipeline_cycles + np.where(
        scaled, totals.one_scale(nest.rows.last, nest.columns.last) + hardware.vector_pipeline_cycles, 0
    )
    deepest = np.maximum(np.where(nest.products.input_on_chip == 1, 0, nest.input_level), nest.weight_level)
    start = _start(nest)
    after_load = totals.memory.latency_cycles + array // nest.visits(deepest)
    computed = np.maximum.reduce(
        np.broadcast_arrays(
            fill + array,
            start + cores * totals.load_cycles + after_load,
            start + channel - np.where(nest.products.output_on_chip == 1, 0, last_store),
            fill + totals.table_cycles + array // nest.visits(nest.table_level),
            _rings_end(totals, inputs_there, fill),
        )
    )
    first_tile = array // nest.visits(np.asarray(2))
    scales = fill + first_tile + hardware.pipeline_cycles + totals.scale_cycles + hardware.vector_pipeline_cycles
    end = np.maximum.reduce(
        np.broadcast_arrays(
            computed + out_of_array + last_store,
            start + channel,
            np.where(scaled, scales, 0) + last_store,
            fill + first_tile + totals.move_cycles,
        )
    )
    return NestTiming(fill, array, computed - fill - array, end - computed, totals)


def _start(nest: Nest) -> Int64:
    """Cycles of the front end before the first load: it sets two pointers a ring, and those into memory, and frees the
    places."""
    products = nest.products
    scaled = (products.column_scales > 0).astype(np.int64)
    grouped = (products.column_scales == 3).astype(np.int64)
    loaded = 1 - products.input_on_chip
    rings = 2 + loaded * (1 - products.tables_given) + nest.hardware.table_lookup + grouped + 2 * scaled
    pointers = 2 * rings + 3 + 2 * scaled
    cycles: Int64 = pointers + 2 * (2 + scaled)
    return cycles


def _first_tile(totals: Totals) -> tuple[Int64, Int64]:
    """When the first activations are there, and when the array has its first tile: operands come one after the other,
    tables are made in between."""
    nest = totals.nest
    hardware, cores = nest.hardware, nest.hardware.cores
    loaded = 1 - nest.products.input_on_chip
    inputs, weights = loaded * totals.transfers.inputs[0], totals.transfers.weights[0]
    groups = -(-nest.table_depths.size // hardware.k)
    makes = hardware.table_lookup * (1 - nest.products.tables_given)
    tables = makes * (-(-nest.rows.size * groups // hardware.tables_per_cycle) + hardware.pipeline_cycles)
    weights_first = loaded * (nest.weight_level < nest.input_level)
    latency, start = totals.memory.latency_cycles, _start(nest)
    inputs_there = np.where(loaded == 1, start + cores * (inputs + weights_first * weights) + latency, start)
    weights_there = start + cores * (weights + (1 - weights_first) * inputs) + latency
    return inputs_there, np.maximum(inputs_there + tables, weights_there)


class _Ring(NamedTuple):
    """A scratchpad whose places are filled, used and filled again, and how long each takes over all visits."""

    start: Int64
    visits: Int64
    places: Int64
    filling: Int64
    using: Int64
    latency: Int64
    """Cycles of each visit besides: until what was filled is there, and until the place is known to be free."""

    def end(self) -> Int64:
        """When the last place is free again, if nothing else sets the pace: places take turns, and each begins when the
        one before it has been filled."""
        each = (self.filling + self.using) // self.visits + self.latency
        first = self.start + -(-self.visits // self.places) * each
        other = self.start + self.filling // self.visits + self.visits // self.places * each
        return np.where((self.places > 1) & (self.visits > 1), np.maximum(first, other), first)


def _rings_end(totals: Totals, inputs_there: Int64, fill: Int64) -> Int64:
    """When the last product ends, if the places of one scratchpad alone set the pace: the latest of all."""
    nest = totals.nest
    hardware, products, array = nest.hardware, nest.products, totals.array_cycles
    made = hardware.table_lookup * (1 - products.tables_given) == 1
    used_up = made & (nest.table_level == nest.input_level)
    loaded = products.input_on_chip == 0
    latency, start, pipeline = totals.memory.latency_cycles, _start(nest), hardware.pipeline_cycles

    def ring(level: Int64, begin: Int64, filling: Int64, using: Int64, each: Int64) -> Int64:
        return _Ring(begin, nest.visits(level), nest.places(level), filling, using, each).end()

    # Activations and weights that one `lmma` frees are loaded one after the other.
    together = loaded & ~made & (nest.input_level == nest.weight_level)
    loads = totals.weight_load_cycles + np.where(together, totals.input_load_cycles, 0)
    weights = ring(nest.weight_level, start, loads, array, latency + pipeline) - pipeline
    users = np.where(used_up, totals.table_cycles, array)
    inputs = ring(nest.input_level, start, totals.input_load_cycles, users, latency + pipeline)
    inputs += np.where(used_up, array // nest.visits(nest.table_level), -pipeline)
    tables = ring(nest.table_level, inputs_there, totals.table_cycles, array, 2 * pipeline) - pipeline
    two = np.asarray(2)
    leaving = totals.scale_cycles + totals.store_cycles + totals.move_cycles
    on_the_way = pipeline + np.where(products.column_scales > 0, hardware.vector_pipeline_cycles, 0)
    sums = ring(two, fill, array, leaving, on_the_way) - leaving // nest.visits(two) - on_the_way
    ends = weights, np.where(loaded, inputs, 0), np.where(made, tables, 0), sums
    latest: Int64 = np.maximum.reduce(np.broadcast_arrays(*ends))
    return latest


def _pairs(first: Pieces, second: Pieces) -> list[tuple[Int64, Int64]]:
    """The sizes of all pairs of tiles of two dimensions."""
    return [(one, other) for one in (first.size, first.edge) for other in (second.size, second.edge)]


def _counts(first: Pieces, second: Pieces) -> list[Int64]:
    """How often each pair of sizes occurs."""
    counts = ((pieces.full, (pieces.edge > 0).astype(np.int64)) for pieces in (first, second))
    return [one * other for one, other in product(*counts)]


def _total(counts: Sequence[Int64], each: Sequence[Int64] | Int64) -> Int64:
    """The sum of sizes by how often they occur."""
    total = np.asarray(0, np.int64)
    for count, size in zip(counts, each, strict=True):
        total = total + count * size
    return total
