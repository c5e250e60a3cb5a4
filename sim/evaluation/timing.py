"""Times the work of an operation, in one of two fidelities: in closed form, or by simulating its programs.

Both give the same record: the time, divided by what the array does, and how long each resource is busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from isa.instructions.types import ENGINES
from sim.evaluation.work import Work
from sim.lowering import Lowered
from sim.timing.analytic import Shares, time_nests
from sim.timing.dram import BankModel, MemoryModel, RamulatorModel
from sim.timing.event import EventTiming, ProgramSource, Recorder, TaskSource, simulate_programs
from sim.timing.machine import Machine
from sim.timing.memory import Memory
from sim.timing.nest import Int64, Nest
from sim.timing.streams import Stream, stream_tasks, time_stream
from sim.timing.tasks import Costs

__all__ = ["OperationTiming", "TimeWorks", "by_events", "event_timing", "in_closed_form"]


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


TimeWorks = Callable[[Machine, Sequence[Work]], Iterator[OperationTiming]]


def in_closed_form(machine: Machine, works: Sequence[Work]) -> Iterator[OperationTiming]:
    """The times of works without simulation, those of all matrix products at once."""
    products = iter(_products_in_closed_form(machine, [work for work in works if isinstance(work.body, Lowered)]))
    for work in works:
        if isinstance(work.body, Stream):
            timing = time_stream(machine, work.body)
            parts = timing.fill_cycles, timing.compute_cycles, timing.stall_cycles, timing.drain_cycles
            yield OperationTiming(*parts, 0, 0, timing.memory_cycles)
        else:
            yield next(products)


def _products_in_closed_form(machine: Machine, works: Sequence[Work]) -> list[OperationTiming]:
    if not works:
        return []
    bodies = [work.body for work in works if isinstance(work.body, Lowered)]
    nest = Nest.stack([lowered.choice.nest for lowered in bodies])
    shares = Shares(*np.array([lowered.shares for lowered in bodies]).T)
    timing = time_nests(nest, Memory.walked(_banks_of(machine)), _operand_cycles(works, nest), shares)
    totals = timing.totals
    columns = (
        timing.fill_cycles,
        timing.compute_cycles,
        timing.stall_cycles,
        timing.drain_cycles,
        totals.table_cycles,
        totals.scale_cycles,
        timing.channel_cycles,
    )
    rows = np.stack(np.broadcast_arrays(*columns), axis=-1).tolist()
    return [_after_tables(lowered, OperationTiming(*row)) for lowered, row in zip(bodies, rows, strict=True)]


def _operand_cycles(works: Sequence[Work], nest: Nest) -> Int64 | None:
    """Cycles of all `lmma` of the slowest core of each work, where one of them has real operands."""
    if all(work.lmma_cycles is None for work in works):
        return None
    cycles = np.array(nest.passes * nest.hardware.pass_cycles)
    for number, work in enumerate(works):
        if work.lmma_cycles is not None:
            cycles[number] = max(int(np.maximum(each, 1).sum()) for each in work.lmma_cycles)
    return cycles


def _after_tables(lowered: Lowered, timing: OperationTiming) -> OperationTiming:
    """A product whose tables are made first, if they are."""
    before = lowered.tables
    if before is None:
        return timing
    return replace(
        timing,
        fill_cycles=timing.fill_cycles + before.cycles,
        table_cycles=timing.table_cycles + before.table_cycles,
        memory_cycles=timing.memory_cycles + before.channel_cycles,
    )


def by_events(machine: Machine, works: Sequence[Work]) -> Iterator[OperationTiming]:
    """The times of works by simulation, one after the other as they are asked for."""
    return (event_timing(machine, work) for work in works)


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
