"""Machines, products and cuts as arrays of numbers that broadcast against each other: what the loops of
`sim.timing.nest` are made of. What is counted of them is there; what they are made from is `sim.timing.machine` and
`sim.timing.product`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sim.timing.machine import Machine
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit, LutArray

__all__ = ["Cuts", "Hardware", "Int64", "Products"]

Int64 = NDArray[np.int64]


class _Arrays:
    """Fields that are arrays which broadcast against each other."""

    def take(self, index: Any) -> Self:
        """The same fields at an index, where they are more than one number."""
        values = {item.name: np.asarray(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{name: value[index] if value.ndim else value for name, value in values.items()})

    @classmethod
    def stack(cls, each: Sequence[Self]) -> Self:
        """Fields of one number each, side by side, int64 [each]."""
        names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: np.array([getattr(item, name) for item in each], np.int64) for name in names})

    @classmethod
    def concatenate(cls, each: Sequence[Self]) -> Self:
        """Fields of several numbers each, one after the other."""
        names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: np.concatenate([getattr(item, name) for item in each]) for name in names})


@dataclass(frozen=True)
class Hardware(_Arrays):
    """What of machines decides their timing besides the DRAM, int64.

    Parameters
    ----------
    m, n, k, pass_cycles, pipeline_cycles : of the array; cycles of a pass are of the stored weight type
    table_lookup : 1 if it multiplies tables, else 0
    weight_rows : 1 if weights lie column after column, 0 if in blocks of N
    tables_each_block : 1 if tables are made anew for every N columns
    tables_per_cycle, vector_lanes, vector_pipeline_cycles, divide_cycles, move_bytes, store_pipeline_cycles, cores
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
    divide_cycles: Int64
    move_bytes: Int64
    store_pipeline_cycles: Int64
    cores: Int64

    @classmethod
    def of(cls, machine: Machine, unit: ArrayUnit, weight_bits: int, cores: int | None = None) -> Hardware:
        """One machine, for one of its units; of its cores so many share the memory (all by default)."""
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
            machine.vector.divide_cycles,
            machine.buffers.move_bytes,
            machine.buffers.store_pipeline_cycles,
            machine.cores if cores is None else cores,
        )
        return cls(*(np.asarray(value, np.int64) for value in values))


@dataclass(frozen=True)
class Products(_Arrays):
    """Matrix products, int64.

    Parameters
    ----------
    m, k, n, copies
    activation_bits, weight_bits, result_bytes, result_pitch_bytes
    column_scales : 0 none, 1 of the tensor, 2 of columns, 3 of groups of inputs
    column_scale_bytes
    scales_divide : 1 where scales of columns are divided by those of rows, else 0
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
    result_pitch_bytes: Int64
    column_scales: Int64
    column_scale_bytes: Int64
    scales_divide: Int64
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
            product.result_pitch_bytes,
            0 if scaling is None else 1 + ("tensor", "row", "group").index(scaling.granularity),
            0 if scaling is None else scaling.element_bytes,
            int(scaling is not None and scaling.rule == "divide"),
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
