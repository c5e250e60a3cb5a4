"""Analytic time of cut matrix products: the loops of a `Nest` on engines that work at the same time.

    Nest + Memory ──► cycles of every kind of tile ──`recurrence`──► when the array begins and ends, when all has ended

How long an engine takes for a tile is known from the loops alone (`sim.timing.totals`); when it can begin, from the
engines, operands and places that it waits for. A loop is followed until it is periodic and the rest is multiplied, so
that the work does not depend on how many tiles there are. What programs wait for besides (ports of scratchpads, full
queues) is left to the event model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sim.timing.arrays import Int64
from sim.timing.bounds import start_cycles
from sim.timing.memory import Memory
from sim.timing.nest import Nest
from sim.timing.totals import Totals, pairs

__all__ = ["Memory", "NestTiming", "Shares", "time_nests"]

Float64 = NDArray[np.float64]
Array = NDArray[np.int64] | NDArray[np.float64] | NDArray[np.bool_]


@dataclass(frozen=True)
class NestTiming:
    """Time of cut products, int64 arrays of cycles.

    Parameters
    ----------
    fill_cycles : before the array has anything to do
    compute_cycles : in which it works
    stall_cycles : in which it waits for a later tile
    drain_cycles : after its last product
    channel_cycles : for which all cores have the memory channel
    totals : Totals
    """

    fill_cycles: Int64
    compute_cycles: Int64
    stall_cycles: Int64
    drain_cycles: Int64
    channel_cycles: Int64
    totals: Totals

    @property
    def cycles(self) -> Int64:
        """From the first instruction to the last result."""
        return self.fill_cycles + self.compute_cycles + self.stall_cycles + self.drain_cycles

    def take(self, index: int, nest: Nest) -> NestTiming:
        """One of several, which is the time of that nest."""
        return NestTiming(
            self.fill_cycles[index],
            self.compute_cycles[index],
            self.stall_cycles[index],
            self.drain_cycles[index],
            self.channel_cycles[index],
            Totals(nest, self.totals.memory),
        )


@dataclass(frozen=True)
class Shares:
    """How much all cores together load and store of what the largest part loads and stores; 1 for a core alone.

    Parameters
    ----------
    inputs, weights, results : float64
        One number, or one a nest.
    """

    inputs: Float64
    weights: Float64
    results: Float64


def time_nests(
    nest: Nest, memory: Memory, operand_cycles: Int64 | None = None, shares: Shares | None = None
) -> NestTiming:
    """Time of cut products, many at once.

    Parameters
    ----------
    nest : Nest
    memory : Memory
        It broadcasts against the nest.
    operand_cycles : int64, optional
        Cycles of all `lmma` from real operands; dense otherwise.
    shares : Shares, optional
        All cores have equal parts, if not given.
    """
    from sim.timing.recurrence import FIELDS, nest_times  # imports numba

    totals = Totals(nest, memory, operand_cycles)
    known = _loops(nest) | _rings(nest, memory, shares) | _cycles(totals)
    columns = np.broadcast_arrays(*(np.asarray(known[name], np.float64) for name in FIELDS))
    shape = columns[0].shape
    times = np.ceil(nest_times(np.stack([column.ravel() for column in columns], axis=-1))).astype(np.int64)
    first, last, end = (times[:, part].reshape(shape) for part in range(3))
    array = np.broadcast_to(totals.array_cycles, shape)
    # Cores and stores cannot have the channel for less than they carry, however they take turns.
    carried = (
        totals.input_load_cycles * known["input_shares"]
        + (totals.weight_load_cycles + totals.scale_load_cycles) * known["weight_shares"]
        + totals.store_cycles * known["result_shares"]
    )
    channel = np.broadcast_to(np.ceil(carried).astype(np.int64), shape)
    late = np.maximum(known["start"] + channel - end, 0)
    last = np.maximum(last, first + array)
    return NestTiming(first, array, last - first - array + late, end - last, channel, totals)


def _loops(nest: Nest) -> dict[str, Array]:
    """How often each loop is run, and where operands are loaded."""
    hardware, products = nest.hardware, nest.products
    loaded, scaled = products.input_on_chip == 0, products.column_scales > 0
    given, lookup = products.tables_given == 1, hardware.table_lookup == 1
    tables = np.where(given, nest.input_level, nest.table_level)
    return {
        "copies": products.copies,
        "columns_outer": nest.cuts.columns_outer,
        "full_rows": nest.rows.full,
        "row_edge": nest.rows.edge > 0,
        "full_columns": nest.columns.full,
        "column_edge": nest.columns.edge > 0,
        "depths": nest.inputs.tiles,
        "depth_edge": nest.inputs.edge > 0,
        "input_level": np.where(loaded, nest.input_level, -1),
        "table_level": np.where(lookup, tables, -1),
        "weight_level": nest.weight_level,
        "column_scale_level": np.where(scaled, nest.scale_level, -1),
        "row_scale_level": np.where(scaled & (products.row_scales_on_chip == 0), nest.row_level, -1),
    }


def _rings(nest: Nest, memory: Memory, shares: Shares | None) -> dict[str, Array]:
    """Places, who uses what, latencies, and how cores share the channel."""
    hardware, products = nest.hardware, nest.products
    given, grouped = products.tables_given == 1, products.column_scales == 3
    tables = np.where(given, nest.input_level, nest.table_level)
    return {
        "input_places": nest.places(nest.input_level),
        "table_places": nest.places(tables),
        "weight_places": nest.places(nest.weight_level),
        "sum_places": nest.places(np.where(grouped, 3, 2)),
        "result_places": nest.places(np.asarray(2)),
        "column_scale_places": nest.places(nest.scale_level),
        "row_scale_places": nest.places(nest.row_level),
        "grouped": grouped,
        "scaled": products.column_scales > 0,
        "loads_tables": given,
        "keeps_results": products.output_on_chip,
        "used_by_tables": (hardware.table_lookup == 1) & ~given,
        "array_latency": hardware.pipeline_cycles,
        "scale_latency": hardware.vector_pipeline_cycles,
        "load_latency": memory.latency_cycles,
        "store_latency": hardware.store_pipeline_cycles,
        "start": start_cycles(nest),
        "input_shares": hardware.cores if shares is None else shares.inputs,
        "weight_shares": hardware.cores if shares is None else shares.weights,
        "result_shares": hardware.cores if shares is None else shares.results,
    }


def _cycles(totals: Totals) -> dict[str, Array]:
    """How long each engine takes for whole tiles and edges."""
    nest, transfers = totals.nest, totals.transfers
    hardware = nest.hardware
    tables = [np.maximum(totals.one_table(*sizes), 1) for sizes in pairs(nest.rows, nest.table_depths)]
    scales = [np.maximum(totals.one_scale(*sizes), 1) for sizes in pairs(nest.rows, nest.columns)]
    moves = [totals.one_move(*sizes) for sizes in pairs(nest.rows, nest.columns)]
    stores = np.where(nest.products.output_on_chip == 1, np.stack(np.broadcast_arrays(*moves)), transfers.results)
    dense = nest.passes * hardware.pass_cycles
    slower = 1 if totals.operand_cycles is None else totals.operand_cycles / dense
    rows, columns, depths = (
        [-(-size // step) for size in (pieces.size, pieces.edge)]
        for pieces, step in ((nest.rows, hardware.m), (nest.columns, hardware.n), (nest.inputs, hardware.k))
    )
    products = [
        row * column * depth * hardware.pass_cycles * slower for row, column, depth in product(rows, columns, depths)
    ]
    named: dict[str, Sequence[Array] | Array] = {
        "load_input": transfers.inputs,
        "make_table": tables,
        "load_weight": transfers.weights,
        "load_column_scale": transfers.column_scales,
        "load_row_scale": transfers.row_scales,
        "multiply": products,
        "scale": scales,
        "store": stores,
    }
    return {f"{name}_{size}": cycles for name, each in named.items() for size, cycles in enumerate(each)}
