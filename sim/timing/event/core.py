"""One core: a front end that fills five queues, and an engine at the end of each.

Think of a kitchen with five stations. The chef reads one line of the recipe at a time, and either turns a page or puts
a slip on the board of a station; if that board is full, the chef waits. A cook takes the next slip of the board as soon
as every bell that it names has rung, works, and, when the dish is out, rings the bells that it names in turn.

    front end ──[queue]──► engine ──(latency)──► results: tokens
                              └── memory channel, shared by all cores

**Ports.** Every bank of a scratchpad has one port. While an engine works on a bank, loads and stores that use it too
steal its cycles: the task takes the longest of its own cycles and, for each bank, its own port cycles and those that
were stolen. A load uses its ports at the instant when its data arrive, of tasks that began before; a store when it
starts, of tasks that began before or then; a task that ends at that instant is not concerned.

**Order within an instant.** First everything that ends there ends, and tokens are given. Then, in `settle`, engines
take tokens and start, in the order of `ENGINES`, core after core; then the channel decides. No result depends on the
order in which SimPy was told of the events of an instant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Hashable
from typing import Any

import simpy

from isa.instructions.operands import TOKENS
from isa.instructions.types import ENGINES, Engine
from sim.timing.event.channel import Channel
from sim.timing.event.clock import Clock
from sim.timing.event.recorder import Recorder
from sim.timing.event.sources import Bank, Feed, Handed, Job

__all__ = ["Core"]

Process = Generator[simpy.Event, Any, None]


class _Unit:
    """An engine with its queue."""

    def __init__(self, core: Core, number: int, engine: Engine) -> None:
        self.engine: Engine = engine
        self.queue: deque[Job] = deque()
        self.job: Job | None = None
        self.busy_cycles = self.finished_jobs = 0
        self._core, self._env = core, core.env
        self._requester = core.number * len(ENGINES) + number
        self._began_at = self._ends_at = 0
        self._used_before: tuple[int, ...] = ()
        self._coming: deque[tuple[int, Job]] = deque()

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in work, or on its way."""
        return self.job is None and not self.queue and not self._coming

    def start(self, now: int) -> None:
        """Take the next job, whose tokens have been taken: carry what it transfers, then work for what is left."""
        self.job = job = self.queue.popleft()
        self._began_at = self._ends_at = now
        if job.ports:
            if self.engine == "store":
                self._core.use_ports(job)
            used = self._core.port_cycles
            self._used_before = tuple(used.get(bank, 0) for bank, _ in job.ports)
        if job.channel_cycles:
            self._core.channel.request(self._requester, job.channel_cycles, self._work_on)
        else:
            self._work_on(now)

    def _work_on(self, now: int) -> None:
        """Work until the end that is known by now; at that time there may be a later one."""
        job = self.job
        assert job is not None  # noqa: S101  (`start` has taken it)
        end = self._began_at + (self._needed_cycles(job) if job.ports else job.cycles)
        if end > now:
            self._ends_at = end
            self._env.call_after(end - now, self._work_on)
        else:
            self._finish(job, now)

    def _needed_cycles(self, job: Job) -> int:
        """Cycles that the job takes, as far as is known now."""
        if self.engine in ("load", "store"):
            return job.cycles
        ports = (own + stolen for (_, own), stolen in zip(job.ports, self._stolen_cycles(job), strict=True))
        return max(job.cycles, *ports)

    def _stolen_cycles(self, job: Job) -> tuple[int, ...]:
        used = self._core.port_cycles
        pairs = zip(job.ports, self._used_before, strict=True)
        return tuple(used.get(bank, 0) - before for (bank, _), before in pairs)

    def _finish(self, job: Job, now: int) -> None:
        self.job = None
        if job.task.works:
            self.busy_cycles += now - self._began_at
        self.finished_jobs += 1
        self._core.ended(self, job, self._began_at, now)
        arrival = now + job.task.latency_cycles
        if self._coming and self._coming[-1][0] > arrival:
            arrival = self._coming[-1][0]
        if arrival == now:
            self._core.arrived(self.engine, job)
            return
        self._coming.append((arrival, job))
        self._env.call_after(arrival - now, self._arrive)

    def _arrive(self, _: int) -> None:
        self._core.arrived(self.engine, self._coming.popleft()[1])

    def state(self) -> Hashable:
        """Everything that decides what comes later, times relative to now."""
        now, job = self._env.now, self.job
        coming = tuple((arrival - now, job) for arrival, job in self._coming)
        if job is None:
            return tuple(self.queue), coming
        times = now - self._began_at, max(0, self._ends_at - now)
        return tuple(self.queue), coming, job, times, self._stolen_cycles(job) if job.ports else ()


class Core:
    """A core in execution.

    Parameters
    ----------
    env : Clock
    number : int
        Cores are numbered from 0.
    feed : Feed
    queue_depth : int
    channel : Channel
    recorder : Recorder

    Attributes
    ----------
    tokens : list of int
    port_cycles : mapping of (scratchpad, bank) to int
        Cycles for which loads and stores have used it so far.
    first_start_cycles, last_end_cycles, halted_at_cycles : int or None
        When the array first started and last ended, and when everything was over; skipped time included.
    skipped_cycles : int
        Time that was not simulated.
    """

    def __init__(
        self, env: Clock, number: int, feed: Feed, queue_depth: int, channel: Channel, recorder: Recorder
    ) -> None:
        self.env, self.number, self.feed, self.channel = env, number, feed, channel
        self.tokens = [0] * TOKENS
        self.port_cycles: dict[Bank, int] = {}
        self.first_start_cycles: int | None = None
        self.last_end_cycles: int | None = None
        self.halted_at_cycles: int | None = None
        self.skipped_cycles = 0
        self.units = tuple(_Unit(self, index, engine) for index, engine in enumerate(ENGINES))
        self._by_engine = dict(zip(ENGINES, self.units, strict=True))
        self._queue_depth, self._recorder = queue_depth, recorder
        self._handed: Handed = None
        self._handed_at = 0
        self._blocked: simpy.Event | None = None
        self._arriving: list[Job] = []
        self._changed = False
        env.process(self._front_end())

    def _front_end(self) -> Process:
        """One instruction a cycle; wait where a queue is full, and for everything at a fence and at the end."""
        while True:
            cycles, self._handed = self.feed.advance()
            self._handed_at = self.env.now + cycles
            yield self.env.timeout(cycles)
            self._changed = True
            handed = self._handed
            if isinstance(handed, Job):
                queue = self._by_engine[handed.task.engine].queue
                if len(queue) >= self._queue_depth:
                    yield self._wait()
                queue.append(handed)
            elif handed is not None:
                yield self._wait()
                if handed == "halt":
                    self.halted_at_cycles = self.env.now + self.skipped_cycles
                    return
                self.tokens = [0] * TOKENS

    def _wait(self) -> simpy.Event:
        self._blocked = self.env.event()
        return self._blocked

    def settle(self, now: int) -> None:
        """At the end of an instant: start what can start, and let the front end go on if it can."""
        if not self._changed:
            return
        self._changed = False
        for job in self._arriving:
            self.use_ports(job)
        self._arriving.clear()
        for unit in self.units:
            if unit.queue and unit.job is None and self._take(unit.queue[0]):
                works = unit.queue[0].task.works
                unit.start(now)
                if unit.engine == "array" and works and self.first_start_cycles is None:
                    self.first_start_cycles = now + self.skipped_cycles
        if not self._recorder.is_full:
            self._recorder.tokens(self.number, now, sum(self.tokens))
        if self._blocked is not None and self._may_go_on():
            self._blocked.succeed()
            self._blocked = None

    def _take(self, job: Job) -> bool:
        """Take the tokens that the job waits for, if they are all there."""
        tokens, wait = self.tokens, job.task.wait
        for counter in wait:
            if not tokens[counter]:
                return False
        for counter in wait:
            tokens[counter] -= 1
        return True

    def _may_go_on(self) -> bool:
        if isinstance(self._handed, Job):
            return len(self._by_engine[self._handed.task.engine].queue) < self._queue_depth
        return all(unit.idle for unit in self.units)

    def ended(self, unit: _Unit, job: Job, began_at: int, now: int) -> None:
        """An engine is free again."""
        self._changed = True
        if unit.engine == "array" and job.task.works:
            self.last_end_cycles = now + self.skipped_cycles
        self._recorder.work(self.number, job, began_at, now)

    def arrived(self, engine: Engine, job: Job) -> None:
        """The result of a job is there."""
        self._changed = True
        for counter in job.task.signal:
            self.tokens[counter] += 1
        if engine == "load" and job.ports:
            self._arriving.append(job)

    def use_ports(self, job: Job) -> None:
        """Count what a load or a store needs of each bank."""
        for bank, cycles in job.ports:
            self.port_cycles[bank] = self.port_cycles.get(bank, 0) + cycles

    def state(self) -> Hashable:
        """Everything but loop counters that decides what comes later, times relative to now."""
        ahead = max(0, self._handed_at - self.env.now)
        units = tuple(unit.state() for unit in self.units)
        halted = self.halted_at_cycles is not None
        return halted, self.feed.state(), self._handed, ahead, tuple(self.tokens), units

    def counts(self) -> tuple[int, ...]:
        """What has been counted so far: jobs and busy cycles of each engine."""
        return tuple(count for unit in self.units for count in (unit.finished_jobs, unit.busy_cycles))

    def skip(self, cycles: int, counts: tuple[int, ...]) -> None:
        """Count a time that was not simulated, and what was done in it."""
        self.skipped_cycles += cycles
        for unit, jobs, busy_cycles in zip(self.units, counts[::2], counts[1::2], strict=True):
            unit.finished_jobs += jobs
            unit.busy_cycles += busy_cycles
            if unit.engine == "array" and busy_cycles and self.last_end_cycles is not None:
                self.last_end_cycles += cycles
