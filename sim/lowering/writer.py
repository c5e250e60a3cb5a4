"""Writes the program of a matrix product that has been cut: the loops of `sim.timing.nest` as instructions.

Every operand that is loaded has a ring (`sim.lowering.rings`). Where a tile changes with every `lmma`, that instruction
itself waits for it and frees it; where it serves several, a `sync` does, before and after the inner loops. How rings
are filled is written by `sim.lowering.fills`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from isa.instructions import Halt, Instruction, Lmma, Scale, Store, Sync
from isa.instructions.operands import TOKENS
from sim.lowering.emitter import Emitter
from sim.lowering.fills import Filler
from sim.lowering.memory_map import MemoryMap
from sim.lowering.operands import COPIES, DEPTH, Dimension, make_operands
from sim.lowering.rings import Ring, grant_places
from sim.timing.nest import Nest, Pieces
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
        self._operands = make_operands(emitter, product, nest, memory)
        self._filler = Filler(unit, product, nest, memory, self._operands, emitter)

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
        self._filler.fill(level, tile.rows, tile.columns, tile.depth)
        held = self._filler.held(level)
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

    def _multiply(self, tile: _Tile) -> None:
        """One `lmma`, and the scaling of its sums where they belong to a group."""
        self._filler.fill(DEPTH, tile.rows, tile.columns, tile.depth)
        operands, product = self._operands, self._product
        held = [ring for ring in self._filler.held(DEPTH) if ring.consumer == "array"]
        starts, ends = (True, True) if operands.results else (tile.first, tile.last)
        tables = operands.tables
        if tables:
            table_depth = tile.depth if tables.level == DEPTH else product.k
            source, pitch = tables.use, -(-table_depth // self._unit.k) * int(self._nest.table_bytes)
        else:
            source, pitch = self._filler.input_pointer, self._filler.input_pitch_bytes(tile.depth)
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
                columns_have="one" if scaling.granularity == "tensor" else "each",
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


def _runs(pieces: Pieces) -> list[tuple[int, int]]:
    """(how many tiles, their size): the whole ones, then the edge."""
    runs = [(int(pieces.full), int(pieces.size)), (1, int(pieces.edge))]
    return [(count, size) for count, size in runs if count and size]
