"""What a core executes: a program with its costs. The other kind, a list of tasks, is in `task_list`.

    ProgramSource ──┐
                    ├──feed──► Feed ──advance──► job, fence, halt ──► queues of `sim.timing.event.core`
    TaskSource ─────┘

A feed is a source in execution. It knows how many cycles of the front end pass until the next job, and everything that
decides what it will hand out later; what engines make of a job is no business of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from isa.front_end import Dispatched, FrontEnd
from isa.instructions import End, EngineInstruction, Fence, Halt, Lmma
from isa.instructions.types import Space
from isa.program import Program
from sim.timing.dram import MemoryModel
from sim.timing.event.alignment import Alignment
from sim.timing.tasks import Costs, Task

__all__ = ["Bank", "Feed", "Handed", "Job", "Order", "ProgramSource", "Source", "job_of"]

Order = Literal["fence", "halt"]
Bank = tuple[Space, int]


@dataclass(frozen=True, eq=False, slots=True)
class Job:
    """A task that is ready to be queued. Jobs of one source that are the same object behave the same.

    Parameters
    ----------
    position : int
        Its instruction in the program, or the first task of the list that is like it.
    task : Task
    cycles : int
        For how long it holds its engine at least, 1 or more.
    channel_cycles : int
        For how long it holds the memory channel; 0 where nothing is moved.
    ports : tuple of ((scratchpad, bank), cycles)
        What it needs of each bank, all its accesses together.
    """

    position: int
    task: Task
    cycles: int
    channel_cycles: int
    ports: tuple[tuple[Bank, int], ...] = ()


Handed = Job | Order | None
"""What a front end hands out; None where only time has passed."""


class Feed(Protocol):
    """A source in execution.

    Attributes
    ----------
    executed : int
        Instructions (or tasks) that were executed so far.
    looped : bool
        Whether a loop went back to its beginning since somebody put this to False.
    """

    executed: int
    looped: bool

    def advance(self) -> tuple[int, Handed]:
        """Execute up to the next thing to hand out, and say how many cycles that takes."""

    def state(self) -> Hashable:
        """Everything but loop counters that decides what comes later. Equal states with equal counters have equal
        futures."""

    def counters(self) -> tuple[int, ...]:
        """Iterations that are left of each open loop, this one included, from the outermost."""

    def skip(self, level: int, iterations: int) -> None:
        """Leave out iterations of an open loop."""


class Source(Protocol):
    """What a core executes."""

    @property
    def name(self) -> str:
        """For messages: the file, or what was lowered."""

    @property
    def repeats(self) -> bool:
        """Whether equal loop iterations take equal time, so that steady ones may be skipped."""

    def feed(self, memory: MemoryModel) -> Feed:
        """Begin to execute it."""


@dataclass(frozen=True, eq=False)
class ProgramSource:
    """A program on a machine.

    Parameters
    ----------
    name : str
    program : Program
    costs : Costs
    lmma_cycles : int64 array [lmmas in the order of execution], optional
        Cycles of each `lmma` from real operands, in place of the dense cost; less than 1 counts as 1.

    Raises
    ------
    ValueError
        If there are not as many cycles as the program executes `lmma`s.
    """

    name: str
    program: Program
    costs: Costs
    lmma_cycles: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.lmma_cycles is None:
            return
        pairs = zip(self.program.repetitions(), self.program.instructions, strict=True)
        count = sum(times for times, instruction in pairs if isinstance(instruction, Lmma))
        if self.lmma_cycles.shape != (count,):
            raise ValueError(f"{self.name}: {count} lmmas are executed, cycles are of shape {self.lmma_cycles.shape}")

    @property
    def repeats(self) -> bool:
        """Unless operands make every `lmma` different."""
        return self.lmma_cycles is None or len(np.unique(self.lmma_cycles)) <= 1

    def feed(self, memory: MemoryModel) -> Feed:
        """Its front end."""
        return _ProgramFeed(self, memory)


class _ProgramFeed:
    """The front end of a program. Tasks are made once for each instruction and each set of addresses that differ in
    time; see `Alignment` for why others of those addresses do not matter."""

    def __init__(self, source: ProgramSource, memory: MemoryModel) -> None:
        self.executed, self.looped = 0, False
        self._front_end = FrontEnd(source.program)
        self._costs, self._memory = source.costs, memory
        self._alignment = Alignment(source.program, source.costs, memory)
        self._jobs: dict[tuple[int, ...], Job] = {}
        self._lmma_cycles = None
        if source.lmma_cycles is not None:
            self._lmma_cycles = iter(np.maximum(source.lmma_cycles, 1).tolist())

    def advance(self) -> tuple[int, Handed]:
        """Execute control instructions until there is something to hand out or, with nothing to hand out, a loop
        begins anew a second time."""
        cycles, looped = 0, False
        while True:
            dispatched = self._front_end.execute()
            cycles += 1
            instruction = dispatched.instruction
            if isinstance(instruction, EngineInstruction):
                handed: Handed = self._job(dispatched, isinstance(instruction, Lmma))
                break
            kind = type(instruction)
            if kind is End and self._front_end.position <= dispatched.position:
                handed = None
                if looped:
                    break
                looped = self.looped = True
            elif kind is Fence or kind is Halt:
                handed = "fence" if kind is Fence else "halt"
                break
        self.executed += cycles
        return cycles, handed

    def state(self) -> Hashable:
        """Position, loops, and pointers as far as times depend on them."""
        front_end = self._front_end
        bodies = tuple(loop.body for loop in front_end.loops)
        return front_end.position, bodies, self._alignment.pointers(front_end.pointers)

    def counters(self) -> tuple[int, ...]:
        """Iterations left."""
        return tuple(loop.remaining for loop in self._front_end.loops)

    def skip(self, level: int, iterations: int) -> None:
        """Leave out iterations. Pointers stay: over whole periods they move by what makes no difference in time."""
        self._front_end.loops[level].remaining -= iterations

    def _job(self, dispatched: Dispatched, is_lmma: bool) -> Job:
        position, addresses = dispatched.position, dispatched.addresses
        relevant = self._alignment.relevant(position)
        key = (position, *(addresses[name] % modulus if modulus else addresses[name] for name, modulus in relevant))
        job = self._jobs.get(key)
        if job is None:
            at = self._alignment.representative(position, addresses)
            task = self._costs.task(Dispatched(position, dispatched.instruction, at))
            job = self._jobs[key] = job_of(position, task, self._memory)
        if is_lmma and self._lmma_cycles is not None:
            return Job(position, job.task, next(self._lmma_cycles), job.channel_cycles, job.ports)
        return job


def job_of(position: int, task: Task, memory: MemoryModel) -> Job:
    """The job of a task, with its time in memory."""
    channel_cycles = memory.service_cycles(task.transfer) * task.passes_over if task.transfer is not None else 0
    ports: dict[Bank, int] = {}
    for space, bank, cycles in task.accesses:
        ports[space, bank] = ports.get((space, bank), 0) + cycles
    return Job(position, task, max(1, task.cycles), channel_cycles, tuple(ports.items()))
