"""Writes how rings are filled: what is loaded at a level of the loops, and the tables that are made of it.

Who waits for what is filled, and when it is free again, is written by `sim.lowering.writer`.
"""

from __future__ import annotations

import numpy as np

from isa.instructions import Load, LutGen
from isa.instructions.types import Space
from isa.layouts import row_bytes
from sim.lowering.emitter import Emitter
from sim.lowering.memory_map import MemoryMap
from sim.lowering.operands import DEPTH, Operands
from sim.lowering.rings import Ring
from sim.timing.nest import ROW_SCALE_BYTES, Int64, Nest, Tile
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit

__all__ = ["Filler"]


class Filler:
    """Fills the rings of one program.

    Parameters
    ----------
    unit : ArrayUnit
    product : MatrixProduct
    nest : Nest
        Of this product on this unit, one cut.
    memory : MemoryMap
    operands : Operands
    emitter : Emitter
        Where to.
    """

    def __init__(
        self,
        unit: ArrayUnit,
        product: MatrixProduct,
        nest: Nest,
        memory: MemoryMap,
        operands: Operands,
        emitter: Emitter,
    ) -> None:
        self._unit, self._product, self._nest, self._memory = unit, product, nest, memory
        self._operands, self._emitter = operands, emitter
        self._given = bool(nest.products.tables_given)

    def held(self, level: int) -> list[Ring]:
        """Rings that are filled at a level and freed at its end; activations that tables are made of at once are freed
        by `lutgen`."""
        operands = self._operands
        rings = [operands.tables, operands.weights, operands.column_scales, operands.row_scales]
        if operands.inputs and not (operands.tables and operands.tables.level == operands.inputs.level):
            rings.insert(0, operands.inputs)
        return [ring for ring in rings if ring and ring.level == level]

    def fill(self, level: int, rows: int, columns: int, depth: int) -> None:
        """Load every operand of a level for a tile of so many rows, columns and inputs, and make tables."""
        operands, nest = self._operands, self._nest
        depth = depth if level == DEPTH else self._product.k
        inputs = operands.tables if self._given else operands.inputs
        if inputs and inputs.level == level:
            tile = nest.input_tile(_array(rows), _array(depth))
            if self._given:
                self._load(inputs, "table", "tables", tile)
            else:
                self._load(inputs, "activation", "input", tile)
        if operands.tables and not self._given and operands.tables.level == level:
            self._make_tables(operands.tables, rows, depth)
        if operands.weights.level == level:
            self._load(operands.weights, "weight", "weights", nest.weight_tile(_array(columns), _array(depth)))
        if operands.column_scales and operands.column_scales.level == level:
            self._load_scales(operands.column_scales, "scales", int(nest.column_scale_run(_array(columns))))
        if operands.row_scales and operands.row_scales.level == level:
            self._load_scales(operands.row_scales, "row_scales", rows * ROW_SCALE_BYTES)

    @property
    def input_pointer(self) -> int:
        """Where activations are read: in their ring, or where they are on chip."""
        operands = self._operands
        if operands.inputs:
            return operands.inputs.use
        assert operands.on_chip_input is not None  # noqa: S101
        return operands.on_chip_input

    def input_pitch_bytes(self, depth: int) -> int:
        """From one row of activations to the next, where a tile of that depth is read."""
        inputs = self._operands.inputs
        if inputs is None:
            return self._memory.input_row_bytes
        return row_bytes(depth if inputs.level == DEPTH else self._product.k, self._product.activation.bits)

    def _load_scales(self, ring: Ring, role: str, size_bytes: int) -> None:
        self._load(ring, "scale", role, Tile(_array(1), _array(size_bytes), _array(0)))

    def _load(self, ring: Ring, space: Space, role: str, tile: Tile) -> None:
        self._emitter.emit(
            Load(
                space=space,
                source=self._operands.sources[role],
                target=ring.fill,
                rows=int(tile.rows),
                row_bytes=int(tile.row_bytes),
                pitch_bytes=int(tile.pitch_bytes) if tile.rows > 1 else 0,
                wait=frozenset({ring.free}),
                signal=frozenset({ring.full}),
            )
        )
        ring.filled(self._emitter)

    def _make_tables(self, tables: Ring, rows: int, depth: int) -> None:
        inputs = self._operands.inputs
        at_once = inputs is not None and inputs.level == tables.level
        self._emitter.emit(
            LutGen(
                k=self._unit.k,
                activation=self._product.activation.name,
                source=self.input_pointer,
                target=tables.fill,
                rows=rows,
                depth=depth,
                pitch_bytes=self.input_pitch_bytes(depth),
                wait=frozenset({tables.free} | ({inputs.full} if inputs and at_once else set())),
                signal=frozenset({tables.full} | ({inputs.free} if inputs and at_once else set())),
            )
        )
        tables.filled(self._emitter)
        if inputs and at_once:
            inputs.used(self._emitter)


def _array(value: int) -> Int64:
    return np.asarray(value, np.int64)
