"""The distinct operations of a trace on a machine: what is fused is one, and what is equal is timed once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sim.evaluation.fusion import fused_groups, fused_table
from sim.evaluation.work import TracedOperation
from sim.timing.machine import Machine
from workloads.trace import SIZES, Trace

__all__ = ["DistinctOperations", "distinct_operations"]

Int64 = NDArray[np.int64]

_SHAPE_KEYS = ("kind", *SIZES, "input_format", "weight_format", "output_format")
_COLUMNS = [item.name for item in fields(TracedOperation)]


@dataclass(frozen=True, eq=False)
class DistinctOperations:
    """A trace as a machine executes it.

    Parameters
    ----------
    operations : tuple of TracedOperation
        The first of each kind of equal ones; of a fused product the first, with the columns of all.
    groups : int64 [operations of the trace]
        The fused product, or the operation alone, that each belongs to, in the order of execution.
    kinds : int64 [groups]
        Which of `operations` each group is equal to.
    """

    operations: tuple[TracedOperation, ...]
    groups: Int64
    kinds: Int64


def distinct_operations(machine: Machine, trace: Trace) -> DistinctOperations:
    """The distinct operations of a trace, where operand values decide cycles those of each layer by themselves."""
    groups = fused_groups(machine, trace.operations)
    fused = fused_table(trace.operations, groups)
    keys = [*_SHAPE_KEYS, "fused", *value_keys(machine, trace)]
    kinds: Int64 = np.asarray(fused.groupby(keys, observed=True, sort=False).ngroup(), np.int64)
    _, distinct = np.unique(kinds, return_index=True)
    rows = fused.iloc[distinct][_COLUMNS].itertuples(index=False, name=None)
    return DistinctOperations(tuple(TracedOperation(*row) for row in rows), groups, kinds)


def value_keys(machine: Machine, trace: Trace) -> tuple[str, ...]:
    """What besides its shape distinguishes an operation when operand values decide its cycles."""
    if trace.operands is None or machine.compute.serial_operand == "none":
        return ()
    return ("layer", "name") if machine.compute.serial_operand == "weights" else ("layer", "name", "first_row")
