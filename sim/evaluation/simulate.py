"""Goes over a trace and times each operation on a machine, one after the other; equal operations are timed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from sim.timing.activity import energy_per_action_pj, total_energy_pj
from sim.timing.analytic import time_tiles, transfer_cycles
from sim.timing.event import simulate_tiles
from sim.timing.machine import Machine
from sim.timing.result import ACTION_PREFIX, Fidelity, Result
from sim.timing.tiles import Tiles, TileTiming
from sim.timing.work import TracedOperation, Work, work_of
from workloads.trace import SIZES, Trace

__all__ = ["simulate"]

_FIDELITIES: dict[Fidelity, Callable[[Machine, Tiles, int], TileTiming]] = {
    "analytic": time_tiles,
    "event": simulate_tiles,
}
_SHAPE_KEYS = ("kind", *SIZES, "input_format", "weight_format", "output_format")
_OPERATION_COLUMNS = [item.name for item in fields(TracedOperation)]


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
    table = trace.operations
    keys = [*_SHAPE_KEYS, *_value_keys(machine, trace)]
    groups = table.groupby(keys, observed=True, sort=False).ngroup().to_numpy()
    _, first = np.unique(groups, return_index=True)
    energy = energy_per_action_pj(machine)
    timed = []
    for row in table.iloc[first][_OPERATION_COLUMNS].itertuples(index=False, name=None):
        timed.append(_timed_row(machine, work_of(machine, trace, TracedOperation(*row)), fidelity, energy))
        progress(len(timed), len(first))
    results = pd.DataFrame(timed)
    actions = [name for name in results.columns if name.startswith(ACTION_PREFIX)]
    results[actions] = results[actions].fillna(0).astype("int64")
    results = results.astype({"bound_by": "category"}).take(groups).reset_index(drop=True)
    tokens = table[table["name"] == "embedding"].groupby("phase", observed=True)["m"].sum()
    return Result(
        machine=machine,
        fidelity=fidelity,
        operations=pd.concat([table.reset_index(drop=True), results], axis=1),
        prefill_tokens=int(tokens.get("prefill", 0)),
        decode_tokens=int(tokens.get("decode", 0)),
        operand_values=trace.operands is not None and machine.compute.serial_operand != "none",
    )


def _value_keys(machine: Machine, trace: Trace) -> tuple[str, ...]:
    """What besides its shape distinguishes an operation when operand values decide its cycles."""
    if trace.operands is None or machine.compute.serial_operand == "none":
        return ()
    return ("layer", "name") if machine.compute.serial_operand == "weights" else ("layer", "name", "first_row")


def _timed_row(machine: Machine, work: Work, fidelity: Fidelity, energy: Mapping[str, float]) -> dict[str, Any]:
    """The result's columns for one operation."""
    timing = _FIDELITIES[fidelity](machine, work.tiles, work.unit.pipeline_cycles)
    actions = work.activity.actions
    return {
        "cycles": timing.cycles,
        "fill_cycles": timing.fill_cycles,
        "compute_cycles": timing.compute_cycles,
        "stall_cycles": timing.stall_cycles,
        "drain_cycles": timing.drain_cycles,
        "bound_by": _bound(machine, work, timing),
        "useful_lane_cycles": work.useful_lane_cycles,
        "utilization": work.useful_lane_cycles / (timing.cycles * machine.compute.lanes),
        **work.activity.memory_bytes(),
        "energy_pj": total_energy_pj(energy, actions),
        **{ACTION_PREFIX + name: count for name, count in actions.items()},
    }


def _bound(machine: Machine, work: Work, timing: TileTiming) -> str:
    """The resource that is busy longest; latency, if the operation is too short for any to matter."""
    moved = work.tiles.load_bytes, work.tiles.store_bytes
    transfers = sum(int(transfer_cycles(machine, sizes).sum()) for sizes in moved)
    busy = {
        work.stage: timing.compute_cycles,
        "dram": transfers,
        "latency": (machine.dram_latency_cycles if transfers else 0) + work.unit.pipeline_cycles,
    }
    return max(busy, key=lambda name: busy[name])
