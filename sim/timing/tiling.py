"""A matrix product on an array, and what follows from cutting it into tiles: every tile's loads, cycles and stores.

A product of m × k × n runs as three loops of tiles, outputs kept in place while the inputs are summed over:

    order "mn":  for row tiles:    for column tiles: for input tiles       (activations stay, weights pass by)
    order "nm":  for column tiles: for row tiles:    for input tiles       (weights stay, activations pass by)

A tile is loaded only if it is not the one already there. Which tiling is best is the subject of `sim.timing.mapping`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isa import Format
from sim.timing.tiles import Int64, Tiles
from sim.timing.units import ArrayUnit, PassCycles

__all__ = ["ArrayJob", "Cut", "MatrixProduct", "Tiling", "expand"]

LoopOrder = Literal["mn", "nm"]


@dataclass(frozen=True)
class MatrixProduct:
    """`copies` independent products of [m, k] and [k, n], with bits a value and where inputs and outputs live."""

    m: int
    k: int
    n: int
    copies: int
    input_bits: int
    weight_bits: int
    output_bits: int
    input_on_chip: bool
    output_on_chip: bool


@dataclass(frozen=True)
class ArrayJob:
    """A matrix product on the unit that computes it.

    Parameters
    ----------
    unit : ArrayUnit
    product : MatrixProduct
    weight_format : Format
    pass_cycles : int64 broadcastable to [row blocks, column blocks, windows], optional
        Cycles from real operand values; dense cycles otherwise.
    """

    unit: ArrayUnit
    product: MatrixProduct
    weight_format: Format
    pass_cycles: PassCycles | None = None

    @property
    def passes(self) -> int:
        """Passes of the array for one copy."""
        rows, columns = self._blocks
        return rows * columns * -(-self.product.k // self.unit.k)

    @property
    def busy_cycles(self) -> int:
        """Cycles in which the array works on one copy; they do not depend on the tiling."""
        if self.pass_cycles is None:
            return self.passes * self.unit.pass_cycles(self.weight_format)
        rows, columns = self._blocks
        shape = self.pass_cycles.shape
        return int(self.pass_cycles.sum()) * (rows if shape[0] == 1 else 1) * (columns if shape[1] == 1 else 1)

    @property
    def _blocks(self) -> tuple[int, int]:
        return -(-self.product.m // self.unit.m), -(-self.product.n // self.unit.n)


@dataclass(frozen=True)
class Cut:
    """Loop order and tile sizes; edges are smaller."""

    order: LoopOrder
    tile_m: int
    tile_k: int
    tile_n: int


@dataclass(frozen=True)
class Tiling:
    """A cut with its tiles and the traffic that follows (bytes of all copies)."""

    cut: Cut
    input_tiles: int
    weight_load_bytes: int
    input_load_bytes: int
    tiles: Tiles


def expand(job: ArrayJob, cut: Cut) -> Tiling:
    """Every tile of a cut, edges at their true size."""
    product = job.product
    rows, inputs, columns = (
        _edges(size, step) for size, step in ((product.m, cut.tile_m), (product.k, cut.tile_k), (product.n, cut.tile_n))
    )
    axes = (0, 1, 2) if cut.order == "mn" else (1, 0, 2)
    cycles = _tile_cycles(job, cut, rows, inputs, columns).transpose(axes).ravel()
    grid = np.meshgrid(*(np.arange(len(axis)) for axis in (rows, columns, inputs)), indexing="ij")
    row, column, inner = (axis.transpose(axes).ravel() for axis in grid)
    weight_tile = _bytes(inputs[inner] * columns[column], product.weight_bits)
    input_tile = _bytes(rows[row] * inputs[inner], 0 if product.input_on_chip else product.input_bits)
    output_tile = _bytes(rows[row] * columns[column], 0 if product.output_on_chip else product.output_bits)
    weight_load = np.where(_changes(column * len(inputs) + inner), weight_tile, 0)
    input_load = np.where(_changes(row * len(inputs) + inner), input_tile, 0)
    store = np.where(inner == len(inputs) - 1, output_tile, 0)
    return Tiling(
        cut,
        len(inputs),
        int(weight_load.sum()) * product.copies,
        int(input_load.sum()) * product.copies,
        Tiles(*(np.tile(part, product.copies) for part in (weight_load + input_load, cycles, store))),
    )


def _tile_cycles(job: ArrayJob, cut: Cut, rows: Int64, inputs: Int64, columns: Int64) -> Int64:
    """Compute cycles int64 [row tiles, column tiles, input tiles]."""
    unit = job.unit
    row_blocks, groups, column_blocks = -(-rows // unit.m), -(-inputs // unit.k), -(-columns // unit.n)
    if job.pass_cycles is None:
        passes = row_blocks[:, None, None] * column_blocks[None, :, None] * groups[None, None]
        cycles: Int64 = passes * unit.pass_cycles(job.weight_format)
        return cycles
    summed: Int64 = job.pass_cycles
    steps = (cut.tile_m // unit.m, cut.tile_n // unit.n)
    for axis, (step, blocks) in enumerate(zip(steps, (row_blocks, column_blocks), strict=True)):
        if summed.shape[axis] == 1:
            summed = summed * (blocks[:, None, None] if axis == 0 else blocks[None, :, None])
        else:
            summed = np.add.reduceat(summed, np.arange(0, summed.shape[axis], step), axis=axis)
    windows = np.arange(0, summed.shape[2], cut.tile_k // (unit.k * unit.groups_per_window))
    tiles: Int64 = np.add.reduceat(summed, windows, axis=2)
    return tiles


def _edges(size: int, step: int) -> Int64:
    """Sizes of the tiles along one dimension: whole steps, and what is left."""
    starts = np.arange(0, size, step, dtype=np.int64)
    return np.minimum(step, size - starts)


def _changes(identities: Int64) -> NDArray[np.bool_]:
    """Whether each tile differs from the one before it."""
    changed = np.ones(len(identities), bool)
    changed[1:] = identities[1:] != identities[:-1]
    return changed


def _bytes(values: Int64, bits: int) -> Int64:
    return -(-values * bits // 8)
