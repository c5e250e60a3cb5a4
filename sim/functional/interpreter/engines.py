"""The machine that executes a program: front end, five queues, five engines, and the order in which they take turns.

Engines work one after the other here, an instruction at a time. Every order that queues and tokens allow is as good as
any other for a right program; `Order` picks one, so that this can be tried.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from isa.front_end import Dispatched, FrontEnd
from isa.instructions import EngineInstruction, Fence, Halt, Loop
from isa.instructions.types import ENGINES, Engine
from isa.program import Program
from sim.functional.interpreter.accesses import Accesses
from sim.functional.interpreter.clocks import Clocks
from sim.functional.interpreter.errors import Place, ProgramError, Violation
from sim.functional.interpreter.spaces import Spaces

__all__ = ["Actor", "Engines", "Order", "producers_first", "random_order"]

Actor = Literal["front end"] | Engine
"""Who can take a turn."""

Order = Callable[[Sequence[Actor]], Actor]
"""Picks who goes next of those that can: the front end before the engines, these in the order of `ENGINES`."""


def producers_first(ready: Sequence[Actor]) -> Actor:
    """The front end while there is room in the queues, then the engine nearest to the loads: tokens and buffers are as
    full as they can become."""
    return ready[0]


def random_order(seed: int) -> Order:
    """Any of them, by chance."""
    return random.Random(seed).choice  # noqa: S311


@dataclass(frozen=True)
class _Queued:
    """An instruction in a queue, how many were queued before it, and the iteration of each loop around it."""

    serial: int
    dispatched: Dispatched
    instruction: EngineInstruction
    iterations: tuple[int, ...]

    @property
    def place(self) -> Place:
        return Place(self.dispatched.position, self.instruction, self.iterations)


class Engines:
    """A program in execution.

    Parameters
    ----------
    program : Program
    source : str
        What errors call the program.
    spaces : Spaces
        Memory and scratchpads, which the program changes.
    accesses : Accesses
        Knows of the bytes that are there before the program runs.

    Attributes
    ----------
    clocks : Clocks
        What the engines have done, and their tokens.
    """

    def __init__(self, program: Program, source: str, spaces: Spaces, accesses: Accesses) -> None:
        self.clocks = Clocks()
        self._program, self._source, self._spaces, self._accesses = program, source, spaces, accesses
        self._front_end = FrontEnd(program)
        self._queues: dict[Engine, deque[_Queued]] = {engine: deque() for engine in ENGINES}
        self._handed_out = 0

    def run(self, order: Order) -> None:
        """Execute until the program halts.

        Raises
        ------
        ProgramError
            If no one can go on, or an instruction breaks a rule.
        """
        while not self._front_end.halted:
            ready = self._ready()
            if not ready:
                self._report_deadlock()
            actor = order(ready)
            if actor == "front end":
                self._advance_front_end()
            else:
                self._execute(ENGINES.index(actor), self._queues[actor].popleft())

    def _ready(self) -> list[Actor]:
        ready: list[Actor] = ["front end"] if self._front_end_can_go() else []
        for engine, queue in self._queues.items():
            if queue and self.clocks.ready(queue[0].instruction.wait):
                ready.append(engine)
        return ready

    def _front_end_can_go(self) -> bool:
        instruction = self._program.instructions[self._front_end.position]
        if isinstance(instruction, EngineInstruction):
            return len(self._queues[instruction.engine]) < self._program.unit.queue_depth
        return not (isinstance(instruction, Fence | Halt) and any(self._queues.values()))

    def _advance_front_end(self) -> None:
        dispatched = self._front_end.execute()
        instruction = dispatched.instruction
        if isinstance(instruction, EngineInstruction):
            queued = _Queued(self._handed_out, dispatched, instruction, self._iterations())
            self._queues[instruction.engine].append(queued)
            self._handed_out += 1
        elif isinstance(instruction, Fence):
            self.clocks.fence()

    def _iterations(self) -> tuple[int, ...]:
        counters = []
        for open_loop in self._front_end.loops:
            loop = self._program.instructions[open_loop.body - 1]
            assert isinstance(loop, Loop)  # noqa: S101
            counters.append(loop.count - open_loop.remaining)
        return tuple(counters)

    def _execute(self, engine: int, queued: _Queued) -> None:
        instruction, at = queued.instruction, queued.dispatched.addresses
        try:
            self.clocks.start(engine, instruction.wait)
            self._accesses.start(engine, queued.dispatched.position)
            reads, writes, now = instruction.reads(at), instruction.writes(at), self.clocks.now[engine]
            for region in (*reads, *writes):
                self._spaces.check(region)
            for region in reads:
                self._accesses.read(engine, region, now)
            for region in writes:
                self._accesses.write(engine, region, now)
            instruction.execute(self._spaces, at)
            self.clocks.finish(engine, instruction.signal)
        except Violation as broken:
            raise ProgramError(self._source, broken.kind, queued.place, broken.found, broken.expected) from None

    def _report_deadlock(self) -> NoReturn:
        heads = [queue[0] for queue in self._queues.values() if queue]
        waiting = [
            f"{head.instruction.engine} at {head.dispatched.position} for {self.clocks.missing(head.instruction.wait)}"
            for head in heads
        ]
        first = min(heads, key=lambda head: head.serial)
        raise ProgramError(
            self._source, "deadlock", first.place, "waiting " + ", ".join(waiting), "tokens in these counters"
        )
