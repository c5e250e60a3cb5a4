"""Goes over a trace and times each operation on a machine, one after the other; equal operations are timed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sim.evaluation.activity import energy_per_action_pj, total_energy_pj
from sim.evaluation.distinct import distinct_operations
from sim.evaluation.fusion import shared_out
from sim.evaluation.result import ACTION_PREFIX, Fidelity, Result
from sim.evaluation.timing import OperationTiming, TimeWorks, by_events, in_closed_form
from sim.evaluation.work import Work, works_of
from sim.timing.machine import Machine
from sim.timing.nest import Int64
from workloads.trace import Trace

__all__ = ["simulate"]

# Operations that are lowered, and timed in closed form, at once: enough to make one of them cheap.
_TOGETHER = 64
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
    fidelity : {"analytic", "event", "rtl"}
        "rtl" needs the extra of that name, and a machine that is as its RTL (`sim.evaluation.hardware_timing`).
    progress : called with (distinct operations timed so far, distinct operations in all)

    Raises
    ------
    InputError
        If no unit supports an operation's formats, the scratchpads cannot hold its smallest tile, or the RTL cannot be
        built.
    """
    time_works = _way_of(fidelity)
    table, distinct = trace.operations, distinct_operations(machine, trace)
    energy = energy_per_action_pj(machine)
    timed: list[dict[str, Any]] = []
    for first in range(0, len(distinct.operations), _TOGETHER):
        works = works_of(machine, distinct.operations[first : first + _TOGETHER], trace)
        for work, timing in zip(works, time_works(machine, works), strict=True):
            timed.append(_timed_row(machine, work, timing, energy))
            progress(len(timed), len(distinct.operations))
    kinds = distinct.kinds[distinct.groups]
    results = _spread(timed, kinds, distinct.groups, table["n"].to_numpy())
    tokens = table[table["name"] == "embedding"].groupby("phase", observed=True)["m"].sum()
    return Result(
        machine=machine,
        fidelity=fidelity,
        operations=pd.concat([table.reset_index(drop=True), results], axis=1),
        prefill_tokens=int(tokens.get("prefill", 0)),
        decode_tokens=int(tokens.get("decode", 0)),
        operand_values=fidelity != "rtl" and trace.operands is not None and machine.compute.serial_operand != "none",
    )


def _way_of(fidelity: Fidelity) -> TimeWorks:
    if fidelity == "rtl":
        # Tools for hardware are an extra.
        from sim.evaluation.hardware_timing import in_hardware

        return in_hardware
    return {"analytic": in_closed_form, "event": by_events}[fidelity]


def _spread(timed: Sequence[Mapping[str, Any]], kinds: Int64, groups: Int64, columns: Int64) -> pd.DataFrame:
    """The results of distinct products, for every operation of the trace: its own, or its share of a fused one's."""
    names = dict.fromkeys(name for row in timed for name in row)
    whole = [name for name in names if name not in _OF_ALL and name != "energy_pj"]
    counts = np.array([[row.get(name, 0) for row in timed] for name in whole], np.int64)
    spread = shared_out(counts[:, kinds], groups, columns)
    own = columns / np.bincount(groups, weights=columns)[groups]
    results: dict[str, Any] = {name: np.array([row[name] for row in timed])[kinds] for name in _OF_ALL}
    results["bound_by"] = pd.Categorical(results["bound_by"])
    results["energy_pj"] = np.array([row["energy_pj"] for row in timed])[kinds] * own
    results |= dict(zip(whole, spread, strict=True))
    results["cycles"] = sum(results[f"{part}_cycles"] for part in ("fill", "compute", "stall", "drain"))
    return pd.DataFrame({name: results[name] for name in names})


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
