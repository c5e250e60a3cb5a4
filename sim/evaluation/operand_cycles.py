"""Cycles of each `lmma` from the cycles of the passes that it stands for, where operand values decide them."""

from __future__ import annotations

import numpy as np

from sim.lowering import Lowered
from sim.timing.nest import Int64, Nest
from sim.timing.units import ArrayUnit, PassCycles

__all__ = ["lmma_cycles"]


def lmma_cycles(lowered: Lowered, pass_cycles: PassCycles) -> tuple[Int64, ...]:
    """For every core the cycles of each `lmma`, int64, in the order in which its program executes them.

    Parameters
    ----------
    lowered : Lowered
        A product of one copy.
    pass_cycles : int64 broadcastable to [row blocks, column blocks, windows of inputs]
        Of the whole product.
    """
    cores, first_block = [], 0
    for nest in lowered.nests:
        blocks = -(-int(nest.products.n) // lowered.unit.n)
        own = pass_cycles if pass_cycles.shape[1] == 1 else pass_cycles[:, first_block : first_block + blocks]
        cores.append(_in_order(lowered.unit, nest, own))
        first_block += blocks
    return tuple(cores)


def _in_order(unit: ArrayUnit, nest: Nest, pass_cycles: PassCycles) -> Int64:
    """Sums over tiles, in the order of the loops."""
    sizes = (int(nest.products.m), int(nest.products.n), int(nest.products.k))
    steps = (int(nest.rows.size), int(nest.columns.size), int(nest.inputs.size))
    blocks = (unit.m, unit.n, unit.k * unit.groups_per_window)
    summed = pass_cycles
    for axis, (size, step, block) in enumerate(zip(sizes, steps, blocks, strict=True)):
        starts = np.arange(0, size, step) // block
        if summed.shape[axis] == 1:
            counts = np.diff(np.append(starts, -(-size // block)))
            summed = summed * counts.reshape([-1 if other == axis else 1 for other in range(3)])
        else:
            summed = np.add.reduceat(summed, starts, axis=axis)
    # A row tile of every column tile, or the other way round; the inputs are innermost.
    ordered: Int64 = summed.transpose(1, 0, 2) if nest.cuts.columns_outer else summed
    return ordered.ravel()
