"""The timeline of a trace on a machine: what every engine does in every operation, one operation after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from sim.evaluation.distinct import distinct_operations
from sim.evaluation.fusion import fused_names, fused_table
from sim.evaluation.timing import event_timing
from sim.evaluation.work import work_of
from sim.timing.event import Recorder
from sim.timing.machine import Machine
from sim.timing.timeline import MOST_SPANS, Section
from workloads.trace import Trace

__all__ = ["record_timeline"]

_SPANS_OF_ONE = 5_000


def record_timeline(
    machine: Machine, trace: Trace, progress: Callable[[int, int], object] = lambda _done, _total: None
) -> list[Section]:
    """Simulate a trace event by event and record it, as many operations as fit a timeline.

    Parameters
    ----------
    machine : Machine
    trace : Trace
    progress : called with (distinct operations recorded so far, distinct operations in all)

    Returns
    -------
    list of Section
        In the order of execution. Operations that are equal were simulated once. Those behind the first `MOST_SPANS`
        spans are not among them.
    """
    distinct = distinct_operations(machine, trace)
    recorded: dict[int, Section] = {}
    sections: list[Section] = []
    start = spans = 0
    for kind, name in zip(distinct.kinds.tolist(), _names(trace.operations, distinct.groups), strict=True):
        if spans > MOST_SPANS:
            break
        if kind not in recorded:
            recorder = Recorder(_SPANS_OF_ONE)
            work = work_of(machine, distinct.operations[kind], trace)
            cycles = event_timing(machine, work, recorder=recorder).cycles
            recorded[kind] = Section.recorded(name, 0, cycles, recorder)
            progress(len(recorded), len(distinct.operations))
        section = replace(recorded[kind], name=name, start_cycles=start)
        sections.append(section)
        start, spans = start + section.cycles, spans + len(section.spans)
    return sections


def _names(table: pd.DataFrame, groups: np.ndarray) -> list[str]:
    """What each group of operations is called: step, layer and the names of its operations."""
    fused, names = fused_table(table, groups), fused_names(table, groups)
    places = zip(fused["phase"].astype(str), fused["step"], fused["layer"], names, strict=True)
    return [f"{phase} {step}, {'' if layer < 0 else f'layer {layer}, '}{name}" for phase, step, layer, name in places]
