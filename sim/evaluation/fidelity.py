"""Holds the two fidelities against each other, operation by operation, and says why they differ where they do.

Both split an operation's time into fill, compute, stall and drain; the part that differs most is the reason. Stalls
that differ are contention: the closed form estimates who waits for whom where loads and stores, or several cores, share
the memory channel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from sim.evaluation.random_pairs import random_pairs
from sim.evaluation.result import Result
from sim.evaluation.timing import OperationTiming, event_timing, in_closed_form

__all__ = ["AGREEMENT", "MEDIAN_LIMIT", "WORST_LIMIT", "compare_fidelities", "compare_random_pairs"]

AGREEMENT = 0.05
"""Relative difference up to which the two count as agreeing."""

MEDIAN_LIMIT, WORST_LIMIT = 0.02, 0.10
"""What the median and the worst of relative differences may be."""

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


def compare_random_pairs(
    samples: int, seed: int, progress: Callable[[int], object] = lambda _number: None
) -> pd.DataFrame:
    """Analytic against event cycles of random products on random machines.

    Parameters
    ----------
    samples, seed : int
        See `random_pairs`.
    progress : called with 1 for every pair

    Returns
    -------
    DataFrame, one row a pair, with the columns of `compare_fidelities` (phase "random") and `machine`.
    """
    rows = []
    for machine, operation, work in random_pairs(samples, seed):
        (analytic,), event = in_closed_form(machine, [work]), event_timing(machine, work)
        error = analytic.cycles / event.cycles - 1
        rows.append(
            {
                "phase": "random",
                "name": operation.weight_format,
                "kind": operation.kind,
                "m": operation.m,
                "k": operation.k,
                "n": operation.n,
                "batch": operation.batch,
                "count": 1,
                "analytic_cycles": analytic.cycles,
                "event_cycles": event.cycles,
                "error": error,
                "reason": _reason(analytic, event) if abs(error) > AGREEMENT else "",
                "machine": machine.name,
            }
        )
        progress(1)
    return pd.DataFrame(rows)


def _reason(analytic: OperationTiming, event: OperationTiming) -> str:
    differences = {name: abs(getattr(analytic, part) - getattr(event, part)) for part, name in _REASONS.items()}
    return max(differences, key=lambda name: differences[name])
