"""Least times of cut products, from their totals alone: what the search for a cut compares thousands of cuts by.

The last product cannot end before any of these, each of which engines that work at the same time obey:

    array        the first tile's way to the array, then all products without a pause
    loads        all loads one after the other, the latency of the last, and what is computed from it
    tables       all tables one after the other, and what is looked up in the last
    rings        a place of a scratchpad is filled, used and only then filled again; places take turns
    channel      all loads and stores of all cores, one after the other

How engines wait for each other tile by tile is the subject of `sim.timing.analytic`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim.timing.arrays import Int64
from sim.timing.nest import Nest
from sim.timing.totals import Totals

__all__ = ["least_cycles", "start_cycles"]


def least_cycles(totals: Totals) -> Int64:
    """The latest of all bounds, int64 cycles, many cuts at once."""
    nest = totals.nest
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
    start = start_cycles(nest)
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
    return np.asarray(end)


def start_cycles(nest: Nest) -> Int64:
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
    latency, start = totals.memory.latency_cycles, start_cycles(nest)
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
    latency, start, pipeline = totals.memory.latency_cycles, start_cycles(nest), hardware.pipeline_cycles

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
