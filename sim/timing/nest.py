"""The loops of a matrix product on an array, as numbers: how often each operand is loaded, in tiles of which size.

    for every copy                                                   level 0
      for row tiles (order "mn") or column tiles ("nm")              level 1
        for column tiles, or row tiles                               level 2
          for tiles of the inputs                                    level 3
            accumulate
          scale, store

An operand is loaded at the innermost level at which its tile changes, and only if it is not the one already there.
Everything is an array, so that thousands of cuts of one product, or a million products on as many machines, are counted
at once. `sim.lowering` writes programs of exactly these loops; `sim.timing.analytic` says how long they take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from isa.layouts import ENTRY_BYTES
from sim.timing.arrays import Cuts, Hardware, Int64, Products

__all__ = ["ACCUMULATOR_BYTES", "ROW_SCALE_BYTES", "Cuts", "Hardware", "Int64", "Nest", "Pieces", "Products", "Tile"]

ACCUMULATOR_BYTES = 4
ROW_SCALE_BYTES = 4


class Pieces(NamedTuple):
    """How a dimension is cut: `full` tiles of `size`, then one of `edge` unless that is 0; `tiles` in all, the last of
    size `last`."""

    full: Int64
    size: Int64
    edge: Int64
    tiles: Int64
    last: Int64


class Tile(NamedTuple):
    """A transfer of one tile: rows, bytes of each, and the pitch."""

    rows: Int64
    row_bytes: Int64
    pitch_bytes: Int64


def _pieces(size: Int64, step: Int64) -> Pieces:
    step = np.minimum(step, size)
    full, edge = np.divmod(size, step)
    return Pieces(full, step, edge, full + (edge > 0), np.where(edge > 0, edge, step))


def _blocks(pieces: Pieces, step: Int64) -> Int64:
    """How often a dimension of the array is filled, over all tiles."""
    blocks: Int64 = pieces.full * -(-pieces.size // step) + -(-pieces.edge // step)
    return blocks


def _contiguous(rows: Int64, row_bytes: Int64, pitch_bytes: Int64) -> Tile:
    """A transfer, as one row where there are no gaps."""
    whole = row_bytes == pitch_bytes
    return Tile(np.where(whole, 1, rows), np.where(whole, rows * row_bytes, row_bytes), pitch_bytes)


@dataclass(frozen=True)
class Nest:
    """Products, cut, on arrays."""

    hardware: Hardware
    products: Products
    cuts: Cuts

    @classmethod
    def stack(cls, each: Sequence[Self]) -> Self:
        """Nests of one product in one cut, side by side."""
        return cls(
            Hardware.stack([nest.hardware for nest in each]),
            Products.stack([nest.products for nest in each]),
            Cuts.stack([nest.cuts for nest in each]),
        )

    @cached_property
    def rows(self) -> Pieces:
        """Row tiles."""
        return _pieces(self.products.m, self.cuts.tile_m)

    @cached_property
    def inputs(self) -> Pieces:
        """Tiles of the inputs."""
        return _pieces(self.products.k, self.cuts.tile_k)

    @cached_property
    def columns(self) -> Pieces:
        """Column tiles."""
        return _pieces(self.products.n, self.cuts.tile_n)

    @cached_property
    def input_depths(self) -> Pieces:
        """Tiles of the inputs as activations are loaded: all at once where a row tile holds whole rows."""
        whole = (self.cuts.whole_rows == 1) | (self.inputs.tiles == 1)
        return _pieces(self.products.k, np.where(whole, self.products.k, self.cuts.tile_k))

    @cached_property
    def row_level(self) -> Int64:
        """Level of what changes with the row tile."""
        return np.where(self.rows.tiles > 1, 1 + self.cuts.columns_outer, 0)

    @cached_property
    def column_level(self) -> Int64:
        """Level of what changes with the column tile."""
        return np.where(self.columns.tiles > 1, 2 - self.cuts.columns_outer, 0)

    @cached_property
    def input_level(self) -> Int64:
        """Level at which activations are loaded, and their tables made unless that is for every N columns."""
        return np.where(self.input_depths.tiles > 1, 3, self.row_level)

    @cached_property
    def table_level(self) -> Int64:
        """Level at which tables are made."""
        return np.where(self.hardware.tables_each_block == 1, 3, self.input_level)

    @cached_property
    def table_depths(self) -> Pieces:
        """Tiles of the inputs as tables are made of them."""
        step = np.where(self.hardware.tables_each_block == 1, self.cuts.tile_k, self.input_depths.size)
        return _pieces(self.products.k, step)

    @cached_property
    def weight_level(self) -> Int64:
        """Level at which weights are loaded."""
        return np.where(self.inputs.tiles > 1, 3, self.column_level)

    @cached_property
    def scale_level(self) -> Int64:
        """Level at which column scales are loaded."""
        levels = np.where(self.products.column_scales == 3, self.weight_level, self.column_level)
        return np.where(self.products.column_scales == 1, 0, levels)

    @property
    def passes(self) -> Int64:
        """How often the array takes M rows, N columns and K inputs, all copies."""
        hardware = self.hardware
        blocks = _blocks(self.rows, hardware.m) * _blocks(self.columns, hardware.n) * _blocks(self.inputs, hardware.k)
        return self.products.copies * blocks

    def visits(self, level: Int64) -> Int64:
        """How often the body of a level is entered, all copies."""
        return np.choose(level, self._visits_by_level)

    @cached_property
    def _visits_by_level(self) -> list[Int64]:
        copies = self.products.copies
        outer = copies * np.where(self.cuts.columns_outer == 1, self.columns.tiles, self.rows.tiles)
        both = copies * self.columns.tiles * self.rows.tiles
        return [copies, outer, both, both * self.inputs.tiles]

    def places(self, level: Int64) -> Int64:
        """Places that an operand of a level has: one is enough if it is loaded once."""
        return np.where(self.visits(level) > 1, self.cuts.places, 1)

    @cached_property
    def input_reloads(self) -> Int64:
        """How often each activation is loaded."""
        return self._repeats_of_columns(self.input_level)

    @cached_property
    def table_remakes(self) -> Int64:
        """How often each table is made."""
        return self._repeats_of_columns(self.table_level)

    @cached_property
    def weight_reloads(self) -> Int64:
        """How often each weight is loaded."""
        again = (self.weight_level == 3) | ((self.weight_level == 2) & (self.cuts.columns_outer == 0))
        return np.where(again, self.rows.tiles, 1)

    @cached_property
    def column_scale_reloads(self) -> Int64:
        """How often the scale of each column is loaded, or for a tile of the inputs one of its scales."""
        again = (self.scale_level == 3) | ((self.scale_level == 2) & (self.cuts.columns_outer == 0))
        return np.where(again, self.rows.tiles, 1) * np.where(self.scale_level == 3, self.inputs.tiles, 1)

    @cached_property
    def row_scale_reloads(self) -> Int64:
        """How often the scale of each row is loaded."""
        return self._repeats_of_columns(self.row_level)

    def _repeats_of_columns(self, level: Int64) -> Int64:
        again = (level == 3) | ((level == 2) & (self.cuts.columns_outer == 1))
        return np.where(again, self.columns.tiles, 1)

    @property
    def input_row_bytes(self) -> Int64:
        """Bytes of all activations of a row; of its tables where those are loaded."""
        return self._input_bytes(self.products.k)

    def input_tile(self, rows: Int64, depth: Int64) -> Tile:
        """The transfer of a tile of activations, or of tables that were made before."""
        return _contiguous(rows, self._input_bytes(depth), self.input_row_bytes)

    def weight_tile(self, columns: Int64, depth: Int64) -> Tile:
        """The transfer of a tile of weights."""
        rows = self.hardware.weight_rows == 1
        runs = np.where(rows, columns, -(-columns // self.hardware.n))
        return _contiguous(runs, self.weight_run(depth), self.weight_run(self.products.k))

    def weight_run(self, depth: Int64) -> Int64:
        """Bytes of so many inputs of a column, or of a block of N columns."""
        blocks = -(-depth // self.hardware.k) * self.group_bytes
        columns = -(-depth * self.products.weight_bits // 8)
        return np.where(self.hardware.weight_rows == 1, columns, blocks)

    def result_tile(self, rows: Int64, columns: Int64) -> Tile:
        """The transfer of a tile of results."""
        return _contiguous(rows, columns * self.products.result_bytes, self.products.result_pitch_bytes)

    @property
    def group_bytes(self) -> Int64:
        """Bytes of N columns times K inputs of weights."""
        return -(-self.hardware.n * self.hardware.k * self.products.weight_bits // 8)

    @property
    def table_bytes(self) -> Int64:
        """Bytes of the table of K activations."""
        # Units without tables may have a large K, whose tables nobody asks for.
        return ENTRY_BYTES << (np.minimum(self.hardware.k, 16) - 1)

    def _input_bytes(self, depth: Int64) -> Int64:
        activations = -(-depth * self.products.activation_bits // 8)
        tables = -(-depth // self.hardware.k) * self.table_bytes
        return np.where(self.products.tables_given == 1, tables, activations)

    def column_scale_run(self, columns: Int64) -> Int64:
        """Bytes of the column scales of a tile: one scale, where all columns share that of the tensor."""
        return np.where(self.products.column_scales == 1, 1, columns) * self.products.column_scale_bytes

    @property
    def loaded_bytes(self) -> Int64:
        """Bytes of activations, tables and weights over the memory channel, all copies, without scales."""
        products = self.products
        inputs = (1 - products.input_on_chip) * products.m * self.input_row_bytes * self.input_reloads
        blocks = np.where(self.hardware.weight_rows == 1, products.n, -(-products.n // self.hardware.n))
        return products.copies * (inputs + blocks * self.weight_run(products.k) * self.weight_reloads)

    @property
    def stored_bytes(self) -> Int64:
        """Bytes of results over the memory channel, all copies."""
        products = self.products
        return (1 - products.output_on_chip) * products.copies * products.m * products.n * products.result_bytes

    # Scratchpad bytes that the tiles take.

    @cached_property
    def activation_scratchpad_bytes(self) -> Int64:
        """Activations that are loaded or stay, and results that stay."""
        products = self.products
        whole = products.copies * products.m * -(-products.k * products.activation_bits // 8)
        tile = self.rows.size * -(-self.input_depths.size * products.activation_bits // 8)
        loaded = np.where(products.tables_given == 1, 0, tile * self.places(self.input_level))
        results = products.copies * products.m * products.n * products.result_bytes
        inputs: Int64 = np.where(products.input_on_chip == 1, whole, loaded)
        return inputs + results * products.output_on_chip

    @cached_property
    def weight_scratchpad_bytes(self) -> Int64:
        """Weights."""
        tile = self.weight_tile(self.columns.size, self.inputs.size)
        return tile.rows * tile.row_bytes * self.places(self.weight_level)

    @cached_property
    def table_scratchpad_bytes(self) -> Int64:
        """Tables; 0 without."""
        tile = self.rows.size * -(-self.table_depths.size // self.hardware.k) * self.table_bytes
        return tile * self.places(self.table_level) * self.hardware.table_lookup

    @cached_property
    def accumulator_scratchpad_bytes(self) -> Int64:
        """Sums, and results beside them where groups are added up."""
        tile = self.rows.size * self.columns.size * ACCUMULATOR_BYTES
        grouped = self.products.column_scales == 3
        level = np.where(grouped, 3, 2)
        return tile * self.places(level) + np.where(grouped, tile * self.places(np.asarray(2)), 0)

    @cached_property
    def scale_scratchpad_bytes(self) -> Int64:
        """Scales of columns and rows; 0 without."""
        columns = self.column_scale_run(self.columns.size) * self.places(self.scale_level)
        rows = self.rows.size * ROW_SCALE_BYTES * self.places(self.row_level)
        all_rows = self.products.copies * self.products.m * ROW_SCALE_BYTES
        scales = columns + np.where(self.products.row_scales_on_chip == 1, all_rows, rows)
        return np.where(self.products.column_scales > 0, scales, 0)
