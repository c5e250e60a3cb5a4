"""Goes over a trace and times each operation on a machine, one after the other; equal operations are timed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sim.evaluation.activity import energy_per_action_pj, total_energy_pj
from sim.evaluation.distinct import distinct_operations
from sim.evaluation.fusion import shared_out
from sim.evaluation.result import ACTION_PREFIX, Fidelity, Result
from sim.evaluation.timing import OperationTiming, TimeOperation, event_timing, in_closed_form
from sim.evaluation.work import Work, work_of
from sim.timing.machine import Machine
from workloads.trace import Trace

__all__ = ["FIDELITIES", "simulate"]

FIDELITIES: dict[Fidelity, TimeOperation] = {"analytic": in_closed_form, "event": event_timing}
# Columns that are not shared out among the operations of a fused product.
_OF_ALL = ["bound_by", "utilization"]


def simulate(
    machine: Machine,
    trace: Trace,
    fidelity: Fidelity = "event",
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Result:
    """Time, traffic, actions and energy of a trace on a machine.

    Parameters
    ----------
    machine : Machine
    trace : Trace
    fidelity : {"analytic", "event"}
    progress : called with (distinct operations timed so far, distinct operations in all)

    Raises
    ------
    InputError
        If no unit supports an operation's formats, or the scratchpads cannot hold its smallest tile.
    """
    table, distinct = trace.operations, distinct_operations(machine, trace)
    energy = energy_per_action_pj(machine)
    timed = []
    for operation in distinct.operations:
        work = work_of(machine, operation, trace)
        timed.append(_timed_row(machine, work, FIDELITIES[fidelity](machine, work), energy))
        progress(len(timed), len(distinct.operations))
    rows = distinct.kinds[distinct.groups]
    results = _spread(pd.DataFrame(timed), rows, distinct.groups, table["n"].to_numpy())
    tokens = table[table["name"] == "embedding"].groupby("phase", observed=True)["m"].sum()
    return Result(
        machine=machine,
        fidelity=fidelity,
        operations=pd.concat([table.reset_index(drop=True), results], axis=1),
        prefill_tokens=int(tokens.get("prefill", 0)),
        decode_tokens=int(tokens.get("decode", 0)),
        operand_values=trace.operands is not None and machine.compute.serial_operand != "none",
    )


def _spread(timed: pd.DataFrame, rows: np.ndarray, groups: np.ndarray, columns: np.ndarray) -> pd.DataFrame:
    """The results of distinct products, for every operation of the trace: its own, or its share of a fused one's."""
    actions = [name for name in timed.columns if name.startswith(ACTION_PREFIX)]
    timed[actions] = timed[actions].fillna(0).astype("int64")
    results = timed.astype({"bound_by": "category"}).take(rows).reset_index(drop=True)
    shared = np.bincount(groups)[groups] > 1
    if not shared.any():
        return results
    own = columns / np.bincount(groups, weights=columns)[groups]
    for name in results.columns.difference(_OF_ALL):
        values = results[name].to_numpy()
        if values.dtype == np.int64:
            results[name] = np.where(shared, shared_out(values, groups, columns), values)
        else:
            results[name] = np.where(shared, values * own, values)
    parts = ["fill_cycles", "compute_cycles", "stall_cycles", "drain_cycles"]
    results["cycles"] = results[parts].sum(axis=1)
    return results


def _timed_row(machine: Machine, work: Work, timing: OperationTiming, energy: Mapping[str, float]) -> dict[str, Any]:
    """The result's columns for one operation."""
    actions = work.activity.actions
    return {
        "cycles": timing.cycles,
        "fill_cycles": timing.fill_cycles,
        "compute_cycles": timing.compute_cycles,
        "stall_cycles": timing.stall_cycles,
        "drain_cycles": timing.drain_cycles,
        "bound_by": _bound(machine, work, timing),
        "useful_lane_cycles": work.useful_lane_cycles,
        "utilization": work.useful_lane_cycles / (timing.cycles * machine.lanes),
        **work.activity.memory_bytes(),
        "energy_pj": total_energy_pj(energy, actions),
        **{ACTION_PREFIX + name: count for name, count in actions.items()},
    }


def _bound(machine: Machine, work: Work, timing: OperationTiming) -> str:
    """The resource that is busy longest; latency, if the operation is too short for any to matter."""
    latency = round(machine.memory_timings.latency_cycles) if timing.memory_cycles else 0
    on_vector = work.unit.unit_kind == "vector"
    busy = {
        "vector" if on_vector else "array": timing.compute_cycles,
        "precompute": timing.table_cycles,
        "scale": timing.scale_cycles,
        "dram": timing.memory_cycles,
        "latency": latency + work.unit.pipeline_cycles,
    }
    return max(busy, key=lambda name: busy[name])
