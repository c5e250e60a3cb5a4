"""Holds the two fidelities against each other, operation by operation, and says why they differ where they do.

Both split an operation's time into fill, compute, stall and drain; the part that differs most is the reason: stalls
that only the event model sees are contention (loads and stores in each other's way, halves of a scratchpad not free
in time).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sim.evaluation.result import Result

__all__ = ["AGREEMENT", "compare_fidelities"]

AGREEMENT = 0.05
"""Relative difference up to which the two count as agreeing."""

_REASONS = {"fill_cycles": "fill", "stall_cycles": "contention", "drain_cycles": "drain"}


def compare_fidelities(analytic: Result, event: Result) -> pd.DataFrame:
    """Analytic against event cycles of the same trace on the same machine.

    Returns
    -------
    DataFrame, one row a distinct operation (phase, name, sizes), with `count`, `analytic_cycles`, `event_cycles` (of
    one), `error` (analytic over event, minus 1; of the worst of the equal ones) and `reason` (empty within 5 %).
    """
    parts = list(_REASONS)
    keys = ["phase", "name", "kind", "m", "k", "n", "batch"]
    table = event.operations[keys].copy()
    table["analytic_cycles"] = analytic.operations["cycles"].to_numpy()
    table["event_cycles"] = event.operations["cycles"].to_numpy()
    table["error"] = table["analytic_cycles"] / table["event_cycles"] - 1
    difference = (analytic.operations[parts] - event.operations[parts]).abs().to_numpy()
    named = np.array(list(_REASONS.values()))[difference.argmax(axis=1)]
    table["reason"] = np.where(table["error"].abs() > AGREEMENT, named, "")
    table["deviation"] = table["error"].abs()
    groups = table.groupby(keys, observed=True, sort=False)
    worst = table.loc[groups["deviation"].idxmax()].drop(columns="deviation")
    worst.insert(len(keys), "count", groups.size().to_numpy())
    return worst.reset_index(drop=True)
