"""The cuts of matrix products that are worth a thought: tile sizes, loop orders, whole rows of activations and double
buffering, as far as they fit the scratchpads. Which of them is taken is the subject of `sim.lowering.search`.

Products are handled together, because a dozen of them have hardly more cuts than fill one numpy operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from itertools import product as combinations

import numpy as np

from isa import InputError
from isa.instructions.transfer import SIZE_BITS
from isa.layouts import ENTRY_BYTES
from sim.timing.machine import Machine
from sim.timing.nest import ACCUMULATOR_BYTES, Cuts, Hardware, Int64, Nest, Products
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit

__all__ = ["Candidates", "Problem", "candidate_cuts", "candidates_of"]

# Sizes of a dimension that are all considered; of the smaller ones every second.
_LARGEST_SIZES = 9
_WAYS = np.array(list(combinations([0, 1], [0, 1], [1, 2])), np.int64).T
"""Loop order, whole rows and places of every way to go over the same tiles."""


@dataclass(frozen=True)
class Problem:
    """A product whose cut is sought.

    Parameters
    ----------
    unit : ArrayUnit
        What multiplies.
    product : MatrixProduct
        The part of one core.
    cores : int
        How many share the memory.
    tables_given : int
        1 where tables are loaded that were made before.
    """

    unit: ArrayUnit
    product: MatrixProduct
    cores: int = 1
    tables_given: int = 0


@dataclass(frozen=True, eq=False)
class Candidates:
    """Cuts of several problems, those of the first, then those of the second, ...

    Parameters
    ----------
    machine : Machine
    problems : tuple of Problem
    owners : int64
        The problem that each cut belongs to, ascending.
    cuts : Cuts
    """

    machine: Machine
    problems: tuple[Problem, ...]
    owners: Int64
    cuts: Cuts

    @cached_property
    def nest(self) -> Nest:
        """Every cut as loops."""
        return self.nests_of(np.arange(len(self.owners)))

    def nests_of(self, index: Int64) -> Nest:
        """Some of the cuts as loops; one, if the index is a number."""
        owners = self.owners[index]
        return Nest(self._hardware.take(owners), self._products.take(owners), self.cuts.take(index))

    @cached_property
    def _hardware(self) -> Hardware:
        """One machine a problem."""
        problems = self.problems
        each = [Hardware.of(self.machine, item.unit, item.product.weight.bits, item.cores) for item in problems]
        return Hardware.stack(each)

    @cached_property
    def _products(self) -> Products:
        """One product a problem."""
        return Products.stack([Products.of(item.product, item.tables_given) for item in self.problems])

    def only(self, kept: np.ndarray) -> Candidates:
        """Those of a mask."""
        return Candidates(self.machine, self.problems, self.owners[kept], self.cuts.take(kept))

    def parts(self) -> list[slice]:
        """The cuts of every problem."""
        ends = np.searchsorted(self.owners, np.arange(len(self.problems) + 1))
        return [slice(int(first), int(last)) for first, last in pairwise(ends)]


def candidate_cuts(machine: Machine, unit: ArrayUnit, product: MatrixProduct, tables_given: int = 0) -> Cuts:
    """All cuts of one product that are considered and fit the scratchpads.

    Raises
    ------
    InputError
        If none fits.
    """
    return candidates_of(machine, [Problem(unit, product, 1, tables_given)]).cuts


def candidates_of(machine: Machine, problems: Sequence[Problem]) -> Candidates:
    """All cuts that are considered and fit the scratchpads.

    Raises
    ------
    InputError
        If a problem has none.
    """
    each = [_distinct_cuts(machine, problem) for problem in problems]
    owners = np.repeat(np.arange(len(each)), [len(cuts.places) for cuts in each])
    candidates = Candidates(machine, tuple(problems), owners, Cuts.concatenate(each))
    fits = _fits(machine, candidates.nest)
    for problem, part in zip(problems, candidates.parts(), strict=True):
        if not fits[part].any():
            step = min(_input_step(problem.unit, problem.product), problem.product.k)
            expected = (
                f"scratchpads that hold a tile of {problem.unit.m} x {step} x {problem.unit.n}, its tables and scales"
            )
            raise InputError(f"machine {machine.name}", "buffers", machine.buffers.model_dump(), expected)
    # Every single place stands before the double one of the same tiles, which is at least as fast where it fits.
    fits[0::2] &= ~fits[1::2]
    return candidates.only(fits)


def _fits(machine: Machine, nest: Nest) -> np.ndarray:
    """Whether tiles fit the scratchpads, and their numbers the fields of instructions."""
    buffers = machine.buffers
    fits: np.ndarray = (
        (nest.activation_scratchpad_bytes <= buffers.activation_bytes)
        & (nest.weight_scratchpad_bytes <= buffers.weight_bytes)
        & (nest.table_scratchpad_bytes <= buffers.table_bytes)
        & (nest.accumulator_scratchpad_bytes <= buffers.output_bytes)
        & (nest.scale_scratchpad_bytes <= buffers.scale_bytes)
        & (_largest_run(nest) < 1 << SIZE_BITS)
    )
    return fits


def _distinct_cuts(machine: Machine, problem: Problem) -> Cuts:
    """Cuts into tiles of which one fits, before everything else that takes room is counted."""
    unit, product, buffers = problem.unit, problem.product, machine.buffers
    scaling = product.scaling
    grouped = scaling is not None and scaling.granularity == "group"
    if scaling is not None and grouped and scaling.group_size * product.activation.bits % 8:
        expected = "groups whose activations are whole bytes"
        raise InputError(f"machine {machine.name}", "scaling.group_size", scaling.group_size, expected)
    sums = buffers.output_bytes // ACCUMULATOR_BYTES
    rows = _sizes(product.m, unit.m, sums // min(product.n, unit.n))
    columns = _sizes(product.n, unit.n, sums // min(product.m, unit.m))
    if unit.looks_up_tables and Hardware.of(machine, unit, product.weight.bits).tables_each_block:
        columns = np.array([min(unit.n, product.n)])
    weights = buffers.weight_bytes * 8 // (min(product.n, unit.n) * product.weight.bits)
    inputs = _sizes(product.k, _input_step(unit, product), weights)
    if scaling is not None and grouped:
        inputs = np.array([min(scaling.group_size, product.k)])
    cuts = _every_way(*_tiles_that_fit_once(machine, unit, product, rows, inputs, columns))
    # Whole rows are a choice only where the inputs are cut, loop orders only where both others are.
    distinct = (cuts.whole_rows == 0) | (cuts.tile_k < product.k)
    distinct &= (cuts.columns_outer == 0) | ((cuts.tile_m < product.m) & (cuts.tile_n < product.n))
    return cuts.take(distinct)


def _tiles_that_fit_once(
    machine: Machine, unit: ArrayUnit, product: MatrixProduct, rows: Int64, inputs: Int64, columns: Int64
) -> tuple[Int64, Int64, Int64]:
    """Row, input and column sizes of the tiles of which the scratchpads hold one: most do not."""
    buffers = machine.buffers
    row, depth, column = (axis.ravel() for axis in np.meshgrid(rows, inputs, columns, indexing="ij"))
    fits = (row * column * ACCUMULATOR_BYTES <= buffers.output_bytes) & (
        depth * column * product.weight.bits <= 8 * buffers.weight_bytes
    )
    if unit.looks_up_tables:
        fits &= row * -(-depth // unit.k) * (ENTRY_BYTES << unit.k - 1) <= buffers.table_bytes
    elif not product.input_on_chip:
        fits &= row * depth * product.activation.bits <= 8 * buffers.activation_bytes
    return row[fits], depth[fits], column[fits]


def _every_way(rows: Int64, inputs: Int64, columns: Int64) -> Cuts:
    """Tiles in both loop orders, with whole rows and without, single and double."""
    order, whole_rows, places = (np.tile(way, len(rows)) for way in _WAYS)
    tile_m, tile_k, tile_n = (np.repeat(size, _WAYS.shape[1]) for size in (rows, inputs, columns))
    return Cuts(order, tile_m, tile_k, tile_n, whole_rows, places)


def _largest_run(nest: Nest) -> Int64:
    """The largest number in a field of a load or a store."""
    tiles = (
        nest.input_tile(nest.rows.size, nest.input_depths.size),
        nest.weight_tile(nest.columns.size, nest.inputs.size),
        nest.result_tile(nest.rows.size, nest.columns.size),
    )
    largest = [np.maximum(tile.rows, tile.row_bytes) for tile in tiles]
    run: Int64 = np.maximum.reduce(np.broadcast_arrays(*largest))
    return run


def _input_step(unit: ArrayUnit, product: MatrixProduct) -> int:
    """Inputs of the smallest tile: whole windows of the array, whose activations (and weights that lie in rows) are
    whole bytes."""
    window = unit.k * unit.groups_per_window
    in_rows = unit.weight_order == "rows" and product.weight.bits % 8
    return int(np.lcm(window, 8)) if product.activation.bits % 8 or in_rows else window


def _sizes(size: int, step: int, most: int) -> Int64:
    """Multiples of `step` that split `size` into 1, 2, 3, 4, 6, 8, 12, 16, 24, ... nearly equal parts, at most `most`:
    the largest, and of the smaller ones every second."""
    steps = -(-size // step)
    parts = {1, steps} | {base << power for base in (2, 3) for power in range(steps.bit_length())}
    sizes = np.array(sorted({min(size, -(-steps // count) * step) for count in parts}), np.int64)
    fitting = sizes[sizes <= max(most, sizes[0])][::-1]
    return np.sort(np.concatenate((fitting[:_LARGEST_SIZES], fitting[_LARGEST_SIZES:][::2])))
