"""Writes the program of a matrix product that has been cut: the loops of `sim.timing.nest` as instructions.

Every operand that is loaded has a ring (`sim.lowering.rings`). Where a tile changes with every `lmma`, that instruction
itself waits for it and frees it; where it serves several, a `sync` does, before and after the inner loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from isa.instructions import Halt, Instruction, Lmma, Load, LutGen, Scale, Store, Sync
from isa.instructions.operands import TOKENS
from isa.layouts import row_bytes
from sim.lowering.emitter import Emitter
from sim.lowering.memory_map import MemoryMap
from sim.lowering.operands import COPIES, DEPTH, Dimension, make_operands
from sim.lowering.rings import Ring, grant_places
from sim.timing.nest import ROW_SCALE_BYTES, Int64, Nest, Pieces
from sim.timing.nest import Tile as Transfer
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit

__all__ = ["ProgramWriter"]

_OUTER, _INNER = 1, 2
# The counter from scaling in place to storing; rings take theirs from the first on.
_SCALED = TOKENS - 1


@dataclass(frozen=True)
class _Tile:
    """The tile that is being written: its sizes, and its place among the tiles of the inputs."""

    rows: int
    columns: int
    depth: int
    first: bool = True
    last: bool = True


class ProgramWriter:
    """Writes one program.

    Parameters
    ----------
    unit : ArrayUnit
    product : MatrixProduct
    nest : Nest
        Of this product on this unit, one cut.
    memory : MemoryMap
    emitter : Emitter
        Where to; it may have written something before.
    """

    def __init__(
        self, unit: ArrayUnit, product: MatrixProduct, nest: Nest, memory: MemoryMap, emitter: Emitter
    ) -> None:
        self._unit, self._product, self._nest, self._memory, self._emitter = unit, product, nest, memory, emitter
        self._given = bool(nest.products.tables_given)
        self._operands = make_operands(emitter, product, nest, memory)

    def write(self) -> tuple[Instruction, ...]:
        """The whole program, `halt` included."""
        operands, product = self._operands, self._product
        rings = (operands.inputs, operands.tables, operands.weights, operands.sums, operands.results)
        scales = (operands.column_scales, operands.row_scales)
        grant_places(self._emitter, [ring for ring in (*rings, *scales) if ring])
        nest = self._nest
        whole = _Tile(int(nest.rows.size), int(nest.columns.size), product.k)
        with self._loop(COPIES, "copies", product.copies, 1), self._tiles(COPIES, whole):
            self._outer(whole)
        self._emitter.emit(Halt())
        return tuple(self._emitter.instructions)

    def _outer(self, whole: _Tile) -> None:
        columns_outer = bool(self._nest.cuts.columns_outer)
        for count, size in _runs(self._nest.columns if columns_outer else self._nest.rows):
            tile = replace(whole, columns=size) if columns_outer else replace(whole, rows=size)
            with self._loop(_OUTER, "n" if columns_outer else "m", count, size), self._tiles(_OUTER, tile):
                self._inner(tile)

    def _inner(self, outer: _Tile) -> None:
        columns_inner = not self._nest.cuts.columns_outer
        for count, size in _runs(self._nest.columns if columns_inner else self._nest.rows):
            tile = replace(outer, columns=size) if columns_inner else replace(outer, rows=size)
            with self._loop(_INNER, "n" if columns_inner else "m", count, size), self._tiles(_INNER, tile):
                self._accumulate(tile)
                self._finish(tile)

    def _accumulate(self, tile: _Tile) -> None:
        pieces = self._nest.inputs
        size, last, tiles = int(pieces.size), int(pieces.last), int(pieces.tiles)
        if tiles > 1:
            for count, first in ((1, True), (tiles - 2, False)):
                if count:
                    with self._loop(DEPTH, "k", count, size):
                        self._multiply(replace(tile, depth=size, first=first, last=False))
        with self._loop(DEPTH, "k", 1, last):
            self._multiply(replace(tile, depth=last, first=tiles == 1))

    @contextmanager
    def _loop(self, level: int, dimension: Dimension, count: int, size: int) -> Iterator[None]:
        """A loop whose iterations are `size` apart in a dimension; pointers of outer levels stay where they are."""
        strides = {
            path.pointer: path.strides[dimension](size) if dimension in path.strides else 0
            for path in self._operands.paths
            if path.level < level
        }
        with self._emitter.repeat(count, strides):
            yield

    @contextmanager
    def _tiles(self, level: int, tile: _Tile) -> Iterator[None]:
        """Load what changes at a level, let its users wait for it, and free it at the end."""
        self._load(level, tile)
        held = [ring for ring in self._loaded_rings() if ring.level == level]
        for engine in dict.fromkeys(ring.consumer for ring in held):
            full = frozenset(ring.full for ring in held if ring.consumer == engine)
            self._emitter.emit(Sync(unit=engine, wait=full))
        places = {ring.use: self._emitter.moved(ring.use) for ring in held}
        yield
        for engine in dict.fromkeys(ring.consumer for ring in held):
            free = frozenset(ring.free for ring in held if ring.consumer == engine)
            self._emitter.emit(Sync(unit=engine, signal=free))
        for ring in held:
            # Inner loops have gone along the inputs of the tile; the next tile is a place after its beginning.
            self._emitter.step(ring.use, places[ring.use] - self._emitter.moved(ring.use))
            ring.used(self._emitter)

    def _loaded_rings(self) -> list[Ring]:
        """Rings that `_tiles` waits for; activations that tables are made of at once are freed by `lutgen`."""
        operands = self._operands
        rings = [operands.tables, operands.weights, operands.column_scales, operands.row_scales]
        if operands.inputs and not (operands.tables and operands.tables.level == operands.inputs.level):
            rings.insert(0, operands.inputs)
        return [ring for ring in rings if ring]

    def _load(self, level: int, tile: _Tile) -> None:
        """Load every operand of a level, and make tables."""
        operands, nest = self._operands, self._nest
        depth = tile.depth if level == DEPTH else self._product.k
        inputs = operands.tables if self._given else operands.inputs
        if inputs and inputs.level == level:
            space, role = ("table", "tables") if self._given else ("activation", "input")
            self._fill(inputs, space, role, nest.input_tile(_array(tile.rows), _array(depth)))
        if operands.tables and not self._given and operands.tables.level == level:
            self._make_tables(tile.rows, depth)
        if operands.weights.level == level:
            self._fill(operands.weights, "weight", "weights", nest.weight_tile(_array(tile.columns), _array(depth)))
        if operands.column_scales and operands.column_scales.level == level:
            count = 1 if self._one_scale else tile.columns
            self._fill_scales(operands.column_scales, "scales", count * int(nest.products.column_scale_bytes))
        if operands.row_scales and operands.row_scales.level == level:
            self._fill_scales(operands.row_scales, "row_scales", tile.rows * ROW_SCALE_BYTES)

    @property
    def _one_scale(self) -> bool:
        """Whether all columns share the scale of the tensor."""
        return self._product.scaling is not None and self._product.scaling.granularity == "tensor"

    def _fill_scales(self, ring: Ring, role: str, size_bytes: int) -> None:
        self._fill(ring, "scale", role, Transfer(_array(1), _array(size_bytes), _array(0)))

    def _fill(self, ring: Ring, space: str, role: str, transfer: Transfer) -> None:
        self._emitter.emit(
            Load(
                space=space,  # type: ignore[arg-type]
                source=self._operands.sources[role],
                target=ring.fill,
                rows=int(transfer.rows),
                row_bytes=int(transfer.row_bytes),
                pitch_bytes=int(transfer.pitch_bytes) if transfer.rows > 1 else 0,
                wait=frozenset({ring.free}),
                signal=frozenset({ring.full}),
            )
        )
        ring.filled(self._emitter)

    def _make_tables(self, rows: int, depth: int) -> None:
        tables, inputs = self._operands.tables, self._operands.inputs
        assert tables is not None  # noqa: S101
        at_once = inputs is not None and inputs.level == tables.level
        self._emitter.emit(
            LutGen(
                k=self._unit.k,
                activation=self._product.activation.name,
                source=self._input_pointer,
                target=tables.fill,
                rows=rows,
                depth=depth,
                pitch_bytes=self._input_pitch(depth),
                wait=frozenset({tables.free} | ({inputs.full} if inputs and at_once else set())),
                signal=frozenset({tables.full} | ({inputs.free} if inputs and at_once else set())),
            )
        )
        tables.filled(self._emitter)
        if inputs and at_once:
            inputs.used(self._emitter)

    @property
    def _input_pointer(self) -> int:
        """Where activations are read: in their ring, or where they are on chip."""
        operands = self._operands
        if operands.inputs:
            return operands.inputs.use
        assert operands.on_chip_input is not None  # noqa: S101
        return operands.on_chip_input

    def _input_pitch(self, depth: int) -> int:
        """From one row of activations to the next, where a tile of that depth is read."""
        inputs = self._operands.inputs
        if inputs is None:
            return self._memory.input_row_bytes
        return row_bytes(depth if inputs.level == DEPTH else self._product.k, self._product.activation.bits)

    def _multiply(self, tile: _Tile) -> None:
        """One `lmma`, and the scaling of its sums where they belong to a group."""
        self._load(DEPTH, tile)
        operands, product = self._operands, self._product
        held = [ring for ring in self._loaded_rings() if ring.level == DEPTH and ring.consumer == "array"]
        starts, ends = (True, True) if operands.results else (tile.first, tile.last)
        tables = operands.tables
        if tables:
            table_depth = tile.depth if tables.level == DEPTH else product.k
            source, pitch = tables.use, -(-table_depth // self._unit.k) * int(self._nest.table_bytes)
        else:
            source, pitch = self._input_pointer, self._input_pitch(tile.depth)
        integers = not product.activation.floating and product.weight.coding != "float"
        self._emitter.emit(
            Lmma(
                m=self._unit.m,
                n=self._unit.n,
                k=self._unit.k,
                activation=product.activation.name,
                weight=product.weight.name,
                accumulator="int32" if integers else "fp32",
                inputs="table" if tables else "activation",
                order=self._unit.weight_order,
                mode="overwrite" if starts else "accumulate",
                source=source,
                weights=operands.weights.use,
                target=operands.sums.fill,
                rows=tile.rows,
                columns=tile.columns,
                depth=tile.depth,
                pitch_bytes=pitch,
                wait=frozenset({ring.full for ring in held} | ({operands.sums.free} if starts else set())),
                signal=frozenset({ring.free for ring in held} | ({operands.sums.full} if ends else set())),
            )
        )
        for ring in held:
            ring.used(self._emitter)
        if ends:
            operands.sums.filled(self._emitter)
        if operands.results:
            self._scale(tile, operands.results)

    def _scale(self, tile: _Tile, results: Ring | None) -> None:
        """Scale sums: in place, or added to the results of the groups before."""
        operands, scaling = self._operands, self._product.scaling
        assert operands.column_scales is not None  # noqa: S101
        assert scaling is not None  # noqa: S101
        wait, signal = {operands.sums.full}, set[int]()
        if results:
            wait |= {results.free} if tile.first else set()
            signal |= {operands.sums.free} | ({results.full} if tile.last else set())
            if operands.column_scales.level == DEPTH:
                wait |= {operands.column_scales.full}
                signal |= {operands.column_scales.free}
        else:
            signal |= {_SCALED}
        self._emitter.emit(
            Scale(
                granularity="group" if results and not tile.first else "row",
                rule=scaling.rule,
                columns_have="one" if self._one_scale else "each",
                scale=scaling.element,
                source=operands.sums.use,
                target=results.fill if results else operands.sums.use,
                column_scales=operands.column_scales.use,
                row_scales=operands.row_scale_pointer,
                rows=tile.rows,
                columns=tile.columns,
                wait=frozenset(wait),
                signal=frozenset(signal),
            )
        )
        if results:
            operands.sums.used(self._emitter)
            if operands.column_scales.level == DEPTH:
                operands.column_scales.used(self._emitter)
            if tile.last:
                results.filled(self._emitter)

    def _finish(self, tile: _Tile) -> None:
        """Scale sums of whole rows, and store."""
        operands, product = self._operands, self._product
        scaled_in_place = product.scaling is not None and not operands.results
        if scaled_in_place:
            self._scale(tile, None)
        ring = operands.results or operands.sums
        floats = product.scaling is not None or product.activation.floating or product.weight.coding == "float"
        self._emitter.emit(
            Store(
                space="activation" if product.output_on_chip else "memory",
                mode="overwrite",
                origin="accumulator",
                element="fp32" if floats else "int32",
                result=product.result,
                source=ring.use,
                target=operands.output,
                rows=tile.rows,
                columns=tile.columns,
                pitch_bytes=self._memory.result_row_bytes,
                wait=frozenset({_SCALED if scaled_in_place else ring.full}),
                signal=frozenset({ring.free}),
            )
        )
        ring.used(self._emitter)


def _array(value: int) -> Int64:
    return np.asarray(value, np.int64)


def _runs(pieces: Pieces) -> list[tuple[int, int]]:
    """(how many tiles, their size): the whole ones, then the edge."""
    runs = [(int(pieces.full), int(pieces.size)), (1, int(pieces.edge))]
    return [(count, size) for count, size in runs if count and size]
