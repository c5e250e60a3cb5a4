"""How long each engine and the memory channel work for cut products: what an execution of the loops adds up to.

Nothing here waits for anything; when what is done is the subject of `sim.timing.analytic`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

from sim.timing.arrays import Int64
from sim.timing.memory import Memory
from sim.timing.nest import ROW_SCALE_BYTES, Nest, Pieces, Tile

__all__ = ["Totals", "Transfers", "pairs"]


class Transfers(NamedTuple):
    """Channel cycles of transfers: of inputs, weights and results by the four pairs of whole tiles and edges, of scales
    by whole tiles and edges, int64 [sizes, ...]."""

    inputs: Int64
    weights: Int64
    results: Int64
    column_scales: Int64
    row_scales: Int64


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
        each = [self.one_table(*sizes) for sizes in pairs(nest.rows, nest.table_depths)]
        made = hardware.table_lookup * (1 - nest.products.tables_given) * nest.products.copies * nest.table_remakes
        return made * total(counts(nest.rows, nest.table_depths), each)

    @cached_property
    def scale_cycles(self) -> Int64:
        """Cycles of all `scale`."""
        nest = self.nest
        products = nest.products
        repeats = np.where(products.column_scales == 3, nest.inputs.tiles, products.column_scales > 0)
        each = [self.one_scale(*sizes) for sizes in pairs(nest.rows, nest.columns)]
        return repeats * products.copies * total(counts(nest.rows, nest.columns), each)

    @cached_property
    def transfers(self) -> Transfers:
        """Channel cycles of every transfer that occurs."""
        nest = self.nest
        tiles = [nest.input_tile(*sizes) for sizes in pairs(nest.rows, nest.input_depths)]
        tiles += [nest.weight_tile(*sizes) for sizes in pairs(nest.columns, nest.inputs)]
        tiles += [nest.result_tile(*sizes) for sizes in pairs(nest.rows, nest.columns)]
        one, none = np.asarray(1), np.asarray(0)
        runs = [nest.column_scale_run(nest.columns.size), nest.column_scale_run(nest.columns.edge)]
        runs += [size * ROW_SCALE_BYTES for size in (nest.rows.size, nest.rows.edge)]
        tiles += [Tile(one, np.asarray(run), none) for run in runs]
        shape = np.broadcast_shapes(*(np.shape(part) for tile in tiles for part in tile))
        stacked = (np.stack([np.broadcast_to(tile[part], shape) for tile in tiles]) for part in range(3))
        cycles = np.ceil(self.memory.service_cycles(Tile(*stacked))).astype(np.int64)
        return Transfers(cycles[0:4], cycles[4:8], cycles[8:12], cycles[12:14], cycles[14:16])

    @property
    def input_load_cycles(self) -> Int64:
        """Channel cycles of activations, or of tables that were made before."""
        nest = self.nest
        loaded = (1 - nest.products.input_on_chip) * nest.products.copies * nest.input_reloads
        return loaded * total(counts(nest.rows, nest.input_depths), self.transfers.inputs)

    @property
    def weight_load_cycles(self) -> Int64:
        """Channel cycles of weights."""
        nest = self.nest
        loads = total(counts(nest.columns, nest.inputs), self.transfers.weights)
        return nest.products.copies * nest.weight_reloads * loads

    @property
    def scale_load_cycles(self) -> Int64:
        """Channel cycles of scales."""
        nest, transfers = self.nest, self.transfers
        products, edge = nest.products, (nest.columns.edge > 0).astype(np.int64)
        columns = nest.columns.full * transfers.column_scales[0] + edge * transfers.column_scales[1]
        columns = np.where(nest.scale_level == 0, transfers.column_scales[0], columns * nest.column_scale_reloads)
        rows = nest.rows.full * transfers.row_scales[0] + (nest.rows.edge > 0) * transfers.row_scales[1]
        rows = rows * nest.row_scale_reloads * (1 - products.row_scales_on_chip)
        return np.where(products.column_scales > 0, products.copies * (columns + rows), 0)

    @property
    def store_cycles(self) -> Int64:
        """Channel cycles of results; 0 where they stay on chip."""
        nest = self.nest
        stores = total(counts(nest.rows, nest.columns), self.transfers.results)
        return (1 - nest.products.output_on_chip) * nest.products.copies * stores

    @cached_property
    def move_cycles(self) -> Int64:
        """Cycles of the store engine for results that stay on chip."""
        nest = self.nest
        moves = [self.one_move(*sizes) for sizes in pairs(nest.rows, nest.columns)]
        return nest.products.output_on_chip * nest.products.copies * total(counts(nest.rows, nest.columns), moves)

    @property
    def load_cycles(self) -> Int64:
        """Channel cycles of all loads."""
        return self.input_load_cycles + self.weight_load_cycles + self.scale_load_cycles

    def one_table(self, rows: Int64, depth: Int64) -> Int64:
        """Cycles of one `lutgen`."""
        hardware = self.nest.hardware
        return rows * -(-depth // (hardware.k * hardware.tables_per_cycle))

    def one_scale(self, rows: Int64, columns: Int64) -> Int64:
        """Cycles of one `scale`."""
        hardware = self.nest.hardware
        step = np.where(self.nest.products.scales_divide == 1, hardware.divide_cycles, 1)
        return rows * -(-columns // hardware.vector_lanes) * step

    @property
    def last_store_cycles(self) -> Int64:
        """Cycles in which the last tile of results leaves."""
        nest = self.nest
        row, column = nest.rows.edge > 0, nest.columns.edge > 0
        results = self.transfers.results
        last = np.where(row, np.where(column, results[3], results[2]), np.where(column, results[1], results[0]))
        return np.where(nest.products.output_on_chip == 1, self.one_move(nest.rows.last, nest.columns.last), last)

    def one_move(self, rows: Int64, columns: Int64) -> Int64:
        """Cycles in which a tile of results moves to another scratchpad."""
        return -(-rows * columns * self.nest.products.result_bytes // self.nest.hardware.move_bytes)


def pairs(first: Pieces, second: Pieces) -> list[tuple[Int64, Int64]]:
    """The sizes of all pairs of tiles of two dimensions."""
    return [(one, other) for one in (first.size, first.edge) for other in (second.size, second.edge)]


def counts(first: Pieces, second: Pieces) -> list[Int64]:
    """How often each pair of sizes occurs."""
    counts = ((pieces.full, (pieces.edge > 0).astype(np.int64)) for pieces in (first, second))
    return [one * other for one, other in product(*counts)]


def total(numbers: Sequence[Int64], each: Sequence[Int64] | Int64) -> Int64:
    """The sum of sizes by how often they occur."""
    cycles = np.asarray(0, np.int64)
    for count, size in zip(numbers, each, strict=True):
        cycles = cycles + count * size
    return cycles
