"""A list of tasks as what a core executes: operations without instructions, such as streams through the vector unit.

A list has no loops, but its tasks may repeat: where the same few tasks, addresses aside, follow each other again and
again, they are a loop to those who look for steady ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.timing.dram import MemoryModel
from sim.timing.event.alignment import RepeatingMemory
from sim.timing.event.sources import Feed, Handed, Job, job_of
from sim.timing.tasks import Task

__all__ = ["TaskSource"]

# The longest body of a loop that is looked for, in tasks, and how often it has to repeat.
_LONGEST_BODY, _LEAST_REPEATS = 16, 4


@dataclass(frozen=True, eq=False)
class TaskSource:
    """Tasks one after the other, one handed out a cycle.

    Parameters
    ----------
    name : str
    tasks : sequence of Task
    """

    name: str
    tasks: Sequence[Task]

    @property
    def repeats(self) -> bool:
        """As far as its tasks do."""
        return True

    def feed(self, memory: MemoryModel) -> Feed:
        """From its first task on."""
        return _TaskFeed(self.tasks, memory)


class _Run(NamedTuple):
    """Tasks from `start` to `end` that are `body` tasks again and again."""

    start: int
    end: int
    body: int


class _TaskFeed:
    """The next of a list of tasks. Tasks that take the same time are the same job."""

    def __init__(self, tasks: Sequence[Task], memory: MemoryModel) -> None:
        self.executed, self.looped = 0, False
        self._position = 0
        self._jobs = _jobs(tasks, memory)
        self._runs = _runs(np.array([job.position for job in self._jobs], np.int64))
        self._starts = [run.start for run in self._runs]

    def advance(self) -> tuple[int, Handed]:
        """One task a cycle; behind the last there is nothing more to do."""
        if self._position == len(self._jobs):
            return 0, "halt"
        job = self._jobs[self._position]
        self._position += 1
        self.executed += 1
        run = self._run()
        if run is not None and (self._position - run.start) % run.body == 0:
            self.looped = True
        return 1, job

    def state(self) -> Hashable:
        """Where it is: in the body of which run, or else in the list."""
        run = self._run()
        return (None, self._position) if run is None else (run, (self._position - run.start) % run.body)

    def counters(self) -> tuple[int, ...]:
        """How often the body is left of the run that it is in."""
        run = self._run()
        return () if run is None else ((run.end - self._position - 1) // run.body + 1,)

    def skip(self, level: int, iterations: int) -> None:  # noqa: ARG002  (runs are not nested)
        """Leave out repetitions of the body."""
        run = self._run()
        assert run is not None  # noqa: S101  (it has a counter)
        self._position += iterations * run.body

    def _run(self) -> _Run | None:
        index = bisect_right(self._starts, self._position) - 1
        return self._runs[index] if index >= 0 and self._position < self._runs[index].end else None


def _jobs(tasks: Sequence[Task], memory: MemoryModel) -> list[Job]:
    """The job of each task, one for all that take the same time wherever their memory lies."""
    span = memory.span_bytes if isinstance(memory, RepeatingMemory) else None
    by_address: dict[Hashable, Job] = {}
    by_time: dict[Hashable, Job] = {}
    jobs = []
    for position, task in enumerate(tasks):
        transfer = task.transfer
        rest = task.engine, task.name, task.cycles, task.latency_cycles, task.accesses, task.wait, task.signal
        if transfer is not None and span is not None:
            transfer = transfer._replace(address=transfer.address % span)
        job = by_address.get((transfer, task.passes_over, rest))
        if job is None:
            job = job_of(position, task, memory)
            job = by_time.setdefault((job.channel_cycles, rest), job)
            by_address[transfer, task.passes_over, rest] = job
        jobs.append(job)
    return jobs


def _runs(kinds: NDArray[np.int64]) -> list[_Run]:
    """Where a few kinds repeat, shorter bodies first; a run is whole repetitions."""
    places = np.arange(len(kinds))
    bodies = np.zeros(len(kinds), np.int64)
    ends = np.zeros(len(kinds), np.int64)
    for body in range(min(_LONGEST_BODY, len(kinds) // _LEAST_REPEATS), 0, -1):
        differs = np.append(kinds[body:] != kinds[:-body], np.ones(body, bool))
        first_other = np.minimum.accumulate(np.where(differs, places, len(kinds))[::-1])[::-1]
        repeats = (first_other - places) // body + 1
        long = repeats >= _LEAST_REPEATS
        bodies[long], ends[long] = body, (places + repeats * body)[long]
    runs: list[_Run] = []
    for start in np.flatnonzero(bodies).tolist():
        if not runs or start >= runs[-1].end:
            runs.append(_Run(start, int(ends[start]), int(bodies[start])))
    return runs
