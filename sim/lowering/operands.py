"""The operands of one product on their way: rings in the scratchpads, pointers into memory, and how those move.

A `Path` is a pointer that follows the loops: it knows how many bytes a step of each dimension is. Pointers into memory
follow all loops; the pointer of a ring's consumer follows those that are inside the loop in which the ring is filled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isa.instructions.types import Engine
from isa.layouts import row_bytes
from sim.lowering.emitter import Emitter
from sim.lowering.memory_map import MemoryMap
from sim.lowering.rings import Ring
from sim.timing.nest import ACCUMULATOR_BYTES, ROW_SCALE_BYTES, Nest
from sim.timing.product import MatrixProduct

__all__ = ["COPIES", "DEPTH", "Dimension", "Operands", "Path", "make_operands"]

Dimension = Literal["copies", "m", "n", "k"]
Strides = Mapping[Dimension, Callable[[int], int]]
COPIES, DEPTH = 0, 3
_MEMORY = -1
# Token counters of the rings: (full, free).
_TOKENS = tuple((2 * ring, 2 * ring + 1) for ring in range(7))


@dataclass(frozen=True)
class Path:
    """A pointer that follows the loops inside a level.

    Parameters
    ----------
    pointer : int
    level : int
        Of the loop that it does not follow, nor those around it.
    strides : mapping of dimension to (tile size to bytes)
    """

    pointer: int
    level: int
    strides: Strides


@dataclass(frozen=True)
class Operands:
    """Rings by operand (None where there is none), and every path.

    `inputs` are the activations that are loaded, `tables` what the array looks up, made or loaded; `row_scale_pointer`
    is where the scales of rows are read, in their ring or where they are on chip; `sources` are the memory pointers of
    the rings that are loaded.
    """

    inputs: Ring | None
    tables: Ring | None
    weights: Ring
    sums: Ring
    results: Ring | None
    column_scales: Ring | None
    row_scales: Ring | None
    row_scale_pointer: int
    sources: Mapping[str, int]
    on_chip_input: int | None
    output: int
    paths: tuple[Path, ...]


@dataclass
class _Maker:
    """Makes rings one after the other in each scratchpad."""

    emitter: Emitter
    nest: Nest
    next_address: dict[str, int]
    next_token: int = 0

    def ring(self, space: str, level: int, consumer: Engine, place_bytes: int) -> Ring:
        places = int(self.nest.places(np.asarray(level)))
        base = self.next_address.get(space, 0)
        self.next_address[space] = base + places * place_bytes
        tokens = _TOKENS[self.next_token]
        self.next_token += 1
        return Ring.make(self.emitter, level, consumer, tokens, base, place_bytes, places)


def make_operands(emitter: Emitter, product: MatrixProduct, nest: Nest, memory: MemoryMap) -> Operands:
    """Rings and pointers of a product that has been cut; writes the pointers' `set` instructions.

    The scratchpads are filled as `Nest` counts them: a cut that fits there fits here.
    """
    hardware, products = nest.hardware, nest.products
    lookup, given = bool(hardware.table_lookup), bool(products.tables_given)
    stays = product.input_on_chip and not given
    used = product.copies * product.m * memory.input_row_bytes if stays else 0
    row_scales = product.copies * product.m * ROW_SCALE_BYTES if product.scaling and product.input_on_chip else 0
    maker = _Maker(emitter, nest, {"activation": used, "scale": row_scales})
    table_bytes, group = int(nest.table_bytes), int(hardware.k)
    rows, columns = int(nest.rows.size), int(nest.columns.size)
    paths: list[Path] = []
    sources: dict[str, int] = {}

    def groups(depth: int) -> int:
        return -(-depth // group)

    def bytes_of(depth: int) -> int:
        return row_bytes(depth, product.activation.bits)

    def by_row(pitch_bytes: int) -> Strides:
        return {"copies": lambda _: product.m * pitch_bytes, "m": lambda size: size * pitch_bytes}

    inputs = tables = on_chip = None
    input_level, table_level = int(nest.input_level), int(nest.table_level)
    if stays:
        on_chip = emitter.pointer(memory.address("input"))
        paths.append(Path(on_chip, _MEMORY, {**by_row(memory.input_row_bytes), "k": bytes_of}))
    elif not given:
        place = rows * bytes_of(int(nest.input_depths.size))
        inputs = maker.ring("activation", input_level, "table" if lookup else "array", place)
        if not lookup or table_level > input_level:  # otherwise `lutgen` uses them up when they arrive
            paths.append(Path(inputs.use, input_level, {"k": bytes_of}))
    if lookup:
        place = rows * groups(int(nest.table_depths.size)) * table_bytes
        tables = maker.ring("table", table_level, "array", place)
        paths.append(Path(tables.use, table_level, {"k": lambda size: groups(size) * table_bytes}))
    if not stays:
        role, pitch = ("tables", memory.table_row_bytes) if given else ("input", memory.input_row_bytes)
        sources[role] = emitter.pointer(memory.address(role))  # type: ignore[arg-type]
        by_depth = (lambda size: groups(size) * table_bytes) if given else bytes_of
        strides = {**by_row(pitch), "k": by_depth} if input_level == DEPTH else by_row(pitch)
        paths.append(Path(sources[role], _MEMORY, strides))
    weights = _weights(maker, nest, memory, product, paths, sources)
    sums, results = _sums(maker, product, rows * columns * ACCUMULATOR_BYTES)
    scales = _scales(maker, nest, memory, product, paths, sources)
    output = emitter.pointer(memory.address("output"))
    by_column: Strides = {"n": lambda size: size * product.result_bytes}
    paths.append(Path(output, _MEMORY, {**by_row(memory.result_row_bytes), **by_column}))
    return Operands(inputs, tables, weights, sums, results, *scales, sources, on_chip, output, tuple(paths))


def _weights(
    maker: _Maker, nest: Nest, memory: MemoryMap, product: MatrixProduct, paths: list[Path], sources: dict[str, int]
) -> Ring:
    level, block = int(nest.weight_level), 1 if nest.hardware.weight_rows else int(nest.hardware.n)
    tile = nest.weight_tile(nest.columns.size, nest.inputs.size)
    ring = maker.ring("weight", level, "array", int(tile.rows * tile.row_bytes))
    sources["weights"] = maker.emitter.pointer(memory.address("weights"))
    strides: dict[Dimension, Callable[[int], int]] = {
        "copies": lambda _: memory.copy_bytes("weights", product.copies),
        "n": lambda size: -(-size // block) * memory.block_bytes,
    }
    if level == DEPTH:
        strides["k"] = lambda size: int(nest.weight_run(np.asarray(size)))
    paths.append(Path(sources["weights"], _MEMORY, strides))
    return ring


def _sums(maker: _Maker, product: MatrixProduct, place_bytes: int) -> tuple[Ring, Ring | None]:
    """The ring of accumulators, and of results where groups are added up beside them."""
    grouped = product.scaling is not None and product.scaling.granularity == "group"
    if grouped:
        sums = maker.ring("accumulator", DEPTH, "scale", place_bytes)
        return sums, maker.ring("accumulator", 2, "store", place_bytes)
    return maker.ring("accumulator", 2, "store", place_bytes), None


def _scales(
    maker: _Maker, nest: Nest, memory: MemoryMap, product: MatrixProduct, paths: list[Path], sources: dict[str, int]
) -> tuple[Ring | None, Ring | None, int]:
    """The rings of scales, and the pointer that the scales of rows are read by; those of activations that are on chip
    are there too."""
    scaling = product.scaling
    if scaling is None:
        return None, None, 0
    each = int(nest.products.column_scale_bytes)
    count = 1 if scaling.granularity == "tensor" else int(nest.columns.size)
    columns = maker.ring("scale", int(nest.scale_level), "scale", count * each)
    sources["scales"] = maker.emitter.pointer(memory.address("scales"))
    by_column: dict[Dimension, Callable[[int], int]] = {}
    if scaling.granularity != "tensor":
        by_column = {"copies": lambda _: memory.copy_bytes("scales", product.copies), "n": lambda size: size * each}
    if scaling.granularity == "group":
        by_column["k"] = lambda _: memory.scale_row_bytes
    by_row: Strides = {
        "copies": lambda _: product.m * ROW_SCALE_BYTES,
        "m": lambda size: size * ROW_SCALE_BYTES,
    }
    paths.append(Path(sources["scales"], _MEMORY, by_column))
    pointer = maker.emitter.pointer(memory.address("row_scales"))
    paths.append(Path(pointer, _MEMORY, by_row))
    if product.input_on_chip:
        return columns, None, pointer
    sources["row_scales"] = pointer
    rows = maker.ring("scale", int(nest.row_level), "scale", int(nest.rows.size) * ROW_SCALE_BYTES)
    return columns, rows, rows.use
