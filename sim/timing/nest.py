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

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from isa.layouts import ENTRY_BYTES
from sim.timing.machine import Machine
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit, LutArray

__all__ = ["ACCUMULATOR_BYTES", "ROW_SCALE_BYTES", "Cuts", "Hardware", "Int64", "Nest", "Pieces", "Products", "Tile"]

Int64 = NDArray[np.int64]

ACCUMULATOR_BYTES = 4
ROW_SCALE_BYTES = 4


class _Arrays:
    """Fields that are arrays which broadcast against each other."""

    def take(self, index: Any) -> Self:
        """The same fields at an index, where they are more than one number."""
        values = {item.name: np.asarray(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{name: value[index] if value.ndim else value for name, value in values.items()})


@dataclass(frozen=True)
class Hardware(_Arrays):
    """What of machines decides their timing besides the DRAM, int64.

    Parameters
    ----------
    m, n, k, pass_cycles, pipeline_cycles : of the array; cycles of a pass are of the stored weight type
    table_lookup : 1 if it multiplies tables, else 0
    weight_rows : 1 if weights lie column after column, 0 if in blocks of N
    tables_each_block : 1 if tables are made anew for every N columns
    tables_per_cycle, vector_lanes, vector_pipeline_cycles, move_bytes, cores, queue_depth
    """

    m: Int64
    n: Int64
    k: Int64
    pass_cycles: Int64
    pipeline_cycles: Int64
    table_lookup: Int64
    weight_rows: Int64
    tables_each_block: Int64
    tables_per_cycle: Int64
    vector_lanes: Int64
    vector_pipeline_cycles: Int64
    move_bytes: Int64
    cores: Int64

    @classmethod
    def of(cls, machine: Machine, unit: ArrayUnit, weight_bits: int) -> Hardware:
        """One machine, for one of its units."""
        tables = unit if isinstance(unit, LutArray) else None
        values = (
            unit.m,
            unit.n,
            unit.k,
            unit.pass_cycles(weight_bits),
            unit.pipeline_cycles,
            int(unit.looks_up_tables),
            int(unit.weight_order == "rows"),
            int(tables is not None and tables.precompute == "none"),
            tables.tables_per_cycle if tables else 1,
            machine.vector.n,
            machine.vector.pipeline_cycles,
            machine.buffers.move_bytes,
            machine.cores,
        )
        return cls(*(np.asarray(value, np.int64) for value in values))


@dataclass(frozen=True)
class Products(_Arrays):
    """Matrix products, int64.

    Parameters
    ----------
    m, k, n, copies
    activation_bits, weight_bits, result_bytes
    column_scales : 0 none, 1 of the tensor, 2 of columns, 3 of groups of inputs
    column_scale_bytes
    input_on_chip, output_on_chip : 0 or 1
    row_scales_on_chip : 1 where the scales of activations are in their scratchpad already
    tables_given : 1 where tables are loaded that were made before
    """

    m: Int64
    k: Int64
    n: Int64
    copies: Int64
    activation_bits: Int64
    weight_bits: Int64
    result_bytes: Int64
    column_scales: Int64
    column_scale_bytes: Int64
    input_on_chip: Int64
    output_on_chip: Int64
    row_scales_on_chip: Int64
    tables_given: Int64

    @classmethod
    def of(cls, product: MatrixProduct, tables_given: int = 0) -> Products:
        """One product."""
        scaling = product.scaling
        values = (
            product.m,
            product.k,
            product.n,
            product.copies,
            product.activation.bits,
            product.weight.bits,
            product.result_bytes,
            0 if scaling is None else 1 + ("tensor", "row", "group").index(scaling.granularity),
            0 if scaling is None else 2 if scaling.element == "fp16" else 4,
            int(product.input_on_chip and not tables_given),
            int(product.output_on_chip),
            int(product.input_on_chip),
            tables_given,
        )
        return cls(*(np.asarray(value, np.int64) for value in values))


@dataclass(frozen=True)
class Cuts(_Arrays):
    """Loop order and tile sizes, int64; edges are smaller.

    Parameters
    ----------
    columns_outer : 0 for order "mn", 1 for "nm"
    tile_m, tile_k, tile_n : at most the product's
    whole_rows : 1 where activations (tables) of all inputs of a row tile are there at once, though weights are not
    places : of a tile that is followed by another, in each scratchpad: 1, or 2 for double buffering
    """

    columns_outer: Int64
    tile_m: Int64
    tile_k: Int64
    tile_n: Int64
    whole_rows: Int64
    places: Int64


class Pieces(NamedTuple):
    """How a dimension is cut: `full` tiles of `size`, then one of `edge` unless that is 0."""

    full: Int64
    size: Int64
    edge: Int64

    @property
    def tiles(self) -> Int64:
        """Tiles in all."""
        return self.full + (self.edge > 0)

    @property
    def last(self) -> Int64:
        """Size of the last tile."""
        return np.where(self.edge > 0, self.edge, self.size)


class Tile(NamedTuple):
    """A transfer of one tile: rows, bytes of each, and the pitch."""

    rows: Int64
    row_bytes: Int64
    pitch_bytes: Int64


def _pieces(size: Int64, step: Int64) -> Pieces:
    step = np.minimum(step, size)
    return Pieces(size // step, step, size % step)


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
        outer = np.where(self.cuts.columns_outer == 1, self.columns.tiles, self.rows.tiles)
        both = self.columns.tiles * self.rows.tiles
        steps = np.where(level == 0, 1, np.where(level == 1, outer, both))
        return self.products.copies * steps * np.where(level == 3, self.inputs.tiles, 1)

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
        each = self.products.result_bytes
        return _contiguous(rows, columns * each, self.products.n * each)

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

    @property
    def column_scale_run(self) -> Int64:
        """Bytes of the column scales of a tile: one scale, where all columns share that of the tensor."""
        return np.where(self.products.column_scales == 1, 1, self.columns.size) * self.products.column_scale_bytes

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
        columns = self.column_scale_run * self.places(self.scale_level)
        rows = self.rows.size * ROW_SCALE_BYTES * self.places(self.row_level)
        all_rows = self.products.copies * self.products.m * ROW_SCALE_BYTES
        scales = columns + np.where(self.products.row_scales_on_chip == 1, all_rows, rows)
        return np.where(self.products.column_scales > 0, scales, 0)
