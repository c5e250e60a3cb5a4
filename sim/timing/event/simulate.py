"""Simulates sources on cores that share a memory, from the first instruction until the last core has halted.

    sources ──► front ends, queues, engines (`core`) ──► memory channel (`channel`)
                              └── steady loops are skipped (`steady`) ──► EventTiming

Bounds of buffers, missing data and other errors in what a program computes are the interpreter's; here a program has
only to come to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isa import InputError
from isa.instructions.types import ENGINES
from sim.timing.dram import MemoryModel
from sim.timing.event.channel import Channel
from sim.timing.event.clock import Clock
from sim.timing.event.core import Core
from sim.timing.event.recorder import Recorder
from sim.timing.event.sources import Source
from sim.timing.event.steady import SteadyLoops
from sim.timing.machine import Machine

__all__ = ["MOST_EXECUTED", "EventTiming", "simulate_programs"]

MOST_EXECUTED = 1 << 24
"""Instructions of all cores that are simulated; those in skipped time do not count."""


@dataclass(frozen=True)
class EventTiming:
    """How long programs took; the parts are of the core that halted last, and sum to `cycles`.

    Parameters
    ----------
    cycles : int
        Until the last core halted.
    fill_cycles : int
        Until its array first started; all cycles, if it never did.
    compute_cycles : int
        In which its array worked.
    stall_cycles : int
        In which its array waited, between its first start and its last end.
    drain_cycles : int
        After that.
    busy_cycles : tuple of int
        In which each of its engines held a task other than `sync`, waiting for the channel included, in the order of
        `ENGINES`.
    jobs : tuple of int
        Tasks of each of its engines.
    memory_busy_cycles : int
        In which the channel, which all cores share, carried anything.
    executed_instructions : int
        Instructions of all cores that were really simulated.
    skipped_cycles : int
        Cycles in which steady loops repeated and nothing was simulated.
    """

    cycles: int
    fill_cycles: int
    compute_cycles: int
    stall_cycles: int
    drain_cycles: int
    busy_cycles: tuple[int, ...]
    jobs: tuple[int, ...]
    memory_busy_cycles: int
    executed_instructions: int
    skipped_cycles: int


def simulate_programs(
    machine: Machine,
    sources: Sequence[Source],
    memory_model: MemoryModel,
    recorder: Recorder | None = None,
    *,
    most_executed: int = MOST_EXECUTED,
) -> EventTiming:
    """Time of one source a core, all beginning at once.

    Parameters
    ----------
    machine : Machine
        For the depth of its queues.
    sources : sequence of Source
        One or more.
    memory_model : MemoryModel
    recorder : Recorder, optional
        Collects a timeline; what it has from a simulation before stands before it.
    most_executed : int
        Instructions that may be simulated.

    Raises
    ------
    InputError
        If every core that has not halted waits for tokens that nobody gives, or a run is too long and does not repeat.
    ValueError
        If there is no source.
    """
    if not sources:
        raise ValueError("at least one core executes something")
    simulation = _Simulation(machine, sources, memory_model, recorder or Recorder(0))
    repeats = all(source.repeats for source in sources)
    return simulation.run(most_executed, skipping=repeats)


class _Simulation:
    """Cores and channel in one SimPy environment, in which time goes from instant to instant."""

    def __init__(self, machine: Machine, sources: Sequence[Source], memory: MemoryModel, recorder: Recorder) -> None:
        self._sources, self._recorder = sources, recorder
        self._env = Clock()
        self._channel = Channel(self._env, len(sources) * len(ENGINES), recorder)
        self._cores = [
            Core(self._env, number, source.feed(memory), machine.queue_depth, self._channel, recorder)
            for number, source in enumerate(sources)
        ]
        self._steady = SteadyLoops(self._env, self._cores, self._channel, recorder)

    def run(self, most_executed: int, *, skipping: bool) -> EventTiming:
        """Until every core has halted."""
        env, cores, feeds = self._env, self._cores, [core.feed for core in self._cores]
        while (instant := env.peek()) < float("inf"):
            self._pass(int(instant))
            self._channel.arbitrate()
            if skipping:
                self._steady.observe()
            executed = 0
            for feed in feeds:
                executed += feed.executed
            if executed > most_executed:
                raise self._too_long(most_executed)
        if any(core.halted_at_cycles is None for core in cores):
            raise self._deadlock()
        timing = self._timing()
        self._recorder.finish(timing.cycles)
        return timing

    def _pass(self, now: int) -> None:
        """Let end what ends at this instant, and start what can start, until nothing more happens in it."""
        env = self._env
        while env.peek() == now:
            env.step()
            while env.peek() == now:
                env.step()
            for core in self._cores:
                core.settle(now)

    def _timing(self) -> EventTiming:
        ends = [core.halted_at_cycles or 0 for core in self._cores]
        cycles = max(ends)
        last = self._cores[ends.index(cycles)]
        busy = {unit.engine: unit.busy_cycles for unit in last.units}
        start = cycles if last.first_start_cycles is None else last.first_start_cycles
        end = cycles if last.last_end_cycles is None else last.last_end_cycles
        return EventTiming(
            cycles=cycles,
            fill_cycles=start,
            compute_cycles=busy["array"],
            stall_cycles=end - start - busy["array"],
            drain_cycles=cycles - end,
            busy_cycles=tuple(busy.values()),
            jobs=tuple(unit.finished_jobs for unit in last.units),
            memory_busy_cycles=self._channel.busy_cycles,
            executed_instructions=sum(core.feed.executed for core in self._cores),
            skipped_cycles=self._steady.skipped_cycles,
        )

    def _deadlock(self) -> InputError:
        number = next(number for number, core in enumerate(self._cores) if core.halted_at_cycles is None)
        core = self._cores[number]
        heads = [(unit.engine, unit.queue[0]) for unit in core.units if unit.queue]
        waits = [f"{engine} {job.position} for {_numbers(job.task.wait)}" for engine, job in heads]
        held = [counter for counter, tokens in enumerate(core.tokens) if tokens]
        found = f"waiting (engine, instruction): {'; '.join(waits)}"
        expected = f"tokens for one of them; only counters {_numbers(held)} have any"
        return InputError(self._sources[number].name, f"tokens of core {number}", found, expected)

    def _too_long(self, most_executed: int) -> InputError:
        core = max(self._cores, key=lambda core: core.feed.executed)
        name = self._sources[core.number].name
        expected = f"at most {most_executed}, or loops that repeat"
        return InputError(name, "instructions that are executed", f"more than {most_executed}", expected)


def _numbers(counters: Sequence[int] | frozenset[int]) -> str:
    return ", ".join(map(str, sorted(counters))) or "none"
