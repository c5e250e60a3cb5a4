"""Times the work of an operation, in one of two fidelities: in closed form, or by simulating its programs.

Both give the same record: the time, divided by what the array does, and how long each resource is busy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from isa.instructions.types import ENGINES
from sim.evaluation.work import Work
from sim.lowering import Lowered
from sim.timing.analytic import NestTiming, time_nests
from sim.timing.dram import BankModel, MemoryModel, RamulatorModel
from sim.timing.event import EventTiming, ProgramSource, Recorder, TaskSource, simulate_programs
from sim.timing.machine import Machine
from sim.timing.memory import Memory
from sim.timing.streams import Stream, stream_tasks, time_stream
from sim.timing.tasks import Costs

__all__ = ["OperationTiming", "TimeOperation", "event_timing", "in_closed_form"]


@dataclass(frozen=True)
class OperationTiming:
    """Time of one operation in cycles.

    Parameters
    ----------
    fill_cycles : nothing to compute yet, the first tile is on its way
    compute_cycles : the array (or vector unit) works
    stall_cycles : it waits for a later tile
    drain_cycles : nothing left to compute, the last results leave
    table_cycles, scale_cycles, memory_cycles : busy cycles of precompute, of scaling, and of the memory channel
    """

    fill_cycles: int
    compute_cycles: int
    stall_cycles: int
    drain_cycles: int
    table_cycles: int
    scale_cycles: int
    memory_cycles: int

    @property
    def cycles(self) -> int:
        """From the first instruction to the last result."""
        return self.fill_cycles + self.compute_cycles + self.stall_cycles + self.drain_cycles


TimeOperation = Callable[[Machine, Work], OperationTiming]


def in_closed_form(machine: Machine, work: Work) -> OperationTiming:
    """The time without simulation."""
    if isinstance(work.body, Stream):
        timing = time_stream(machine, work.body)
        parts = timing.fill_cycles, timing.compute_cycles, timing.stall_cycles, timing.drain_cycles
        return OperationTiming(*parts, 0, 0, timing.memory_cycles)
    lowered = work.body
    timing_of_nest = _nest_timing(machine, lowered, work)
    totals = timing_of_nest.totals
    before = lowered.tables
    return OperationTiming(
        fill_cycles=int(timing_of_nest.fill_cycles) + (before.cycles if before else 0),
        compute_cycles=int(timing_of_nest.compute_cycles),
        stall_cycles=int(timing_of_nest.stall_cycles),
        drain_cycles=int(timing_of_nest.drain_cycles),
        table_cycles=int(totals.table_cycles) + (before.table_cycles if before else 0),
        scale_cycles=int(totals.scale_cycles),
        memory_cycles=lowered.channel_cycles(totals) + (before.channel_cycles if before else 0),
    )


def _nest_timing(machine: Machine, lowered: Lowered, work: Work) -> NestTiming:
    operands = None
    if work.lmma_cycles is not None:
        operands = np.asarray(max(int(np.maximum(cycles, 1).sum()) for cycles in work.lmma_cycles))
    memory = Memory.walked(_banks_of(machine))
    return time_nests(lowered.choice.nest, memory, operands, lowered.shares)


def event_timing(machine: Machine, work: Work, recorder: Recorder | None = None) -> OperationTiming:
    """The time by simulating every instruction, but for loops that repeat.

    Parameters
    ----------
    recorder : Recorder, optional
        Collects what the engines do.
    """
    memory = _memory_of(machine)
    if isinstance(work.body, Stream):
        tasks = TaskSource(f"stream on {machine.name}", stream_tasks(machine, work.body))
        return _of_events(simulate_programs(machine, [tasks], memory, recorder))
    lowered, costs = work.body, Costs(machine, work.unit, memory)
    cycles = work.lmma_cycles or (None,) * len(lowered.programs)
    sources = [
        ProgramSource(f"core {core} of {machine.name}", program, costs, own)
        for core, (program, own) in enumerate(zip(lowered.programs, cycles, strict=True))
    ]
    if lowered.tables is None:
        return _of_events(simulate_programs(machine, sources, memory, recorder))
    tables = ProgramSource(f"tables on {machine.name}", lowered.tables.program, costs)
    before = simulate_programs(machine, [tables], memory, recorder)
    return _after(before, _of_events(simulate_programs(machine, sources, memory, recorder)))


@lru_cache(maxsize=64)
def _banks_of(machine: Machine) -> BankModel:
    """The memory of the closed form, and of event simulations unless another is named; it remembers the transfers that
    it has timed."""
    return BankModel(machine.dram, machine.clock_ghz)


def _memory_of(machine: Machine) -> MemoryModel:
    """The memory of event simulations: the one that the machine file names."""
    return _ramulator_of(machine) if machine.dram.model == "ramulator" else _banks_of(machine)


@lru_cache(maxsize=64)
def _ramulator_of(machine: Machine) -> RamulatorModel:
    return RamulatorModel(machine.dram, machine.clock_ghz)


def _of_events(timing: EventTiming) -> OperationTiming:
    busy: Mapping[str, int] = dict(zip(ENGINES, timing.busy_cycles, strict=True))
    return OperationTiming(
        timing.fill_cycles,
        timing.compute_cycles,
        timing.stall_cycles,
        timing.drain_cycles,
        busy["table"],
        busy["scale"],
        timing.memory_busy_cycles,
    )


def _after(before: EventTiming, main: OperationTiming) -> OperationTiming:
    """An operation whose tables are made first."""
    return OperationTiming(
        before.cycles + main.fill_cycles,
        main.compute_cycles,
        main.stall_cycles,
        main.drain_cycles,
        _of_events(before).table_cycles + main.table_cycles,
        main.scale_cycles,
        before.memory_busy_cycles + main.memory_cycles,
    )
