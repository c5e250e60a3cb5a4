"""Makes straight programs right: whichever command has to wait for another engine's gets a token from it.

Commands are given one after the other, as they would be executed if there were one engine. What another engine must
have finished before a command starts follows from the bytes that both touch; a token in a counter of that pair of
engines says so, or a chain of two over a third engine, or a fence.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from isa.instructions import Addresses, EngineInstruction, Fence, Instruction, Region, SetPointer, Step, Sync
from isa.instructions.operands import POINTERS, TOKENS
from isa.instructions.types import ENGINES, Engine, Space

__all__ = ["OrderedWriter", "distinct_pointers", "pointer_to"]

_CHAINS = 0.2
"""How often an order is brought about by a chain of tokens over a third engine."""


@dataclass
class _Command:
    """A command whose tokens are not all known yet; `clock`: of each engine, the commands finished before it starts."""

    instruction: EngineInstruction
    clock: dict[Engine, int]
    wait: set[int] = field(default_factory=set)
    signal: set[int] = field(default_factory=set)

    def complete(self) -> EngineInstruction:
        return replace(self.instruction, wait=frozenset(self.wait), signal=frozenset(self.signal))


class OrderedWriter:
    """Instructions of a program that grows.

    Parameters
    ----------
    rng : random.Random
    size_bytes : mapping of Space to int
    """

    def __init__(self, rng: random.Random, size_bytes: Mapping[Space, int]) -> None:
        self._rng, self._sizes = rng, size_bytes
        self._parts: list[Instruction | _Command] = []
        self._forget()

    def _forget(self) -> None:
        """After a fence nothing is to be waited for, and all counters are free."""
        self._commands: dict[Engine, list[_Command]] = {engine: [] for engine in ENGINES}
        # Of each byte, for each engine that was there, the last command that read and that wrote it, counted from 1.
        self._last: dict[tuple[str, Space, Engine], np.ndarray] = {}
        self._counters: dict[tuple[Engine, Engine], int] = {}

    def instructions(self) -> list[Instruction]:
        """The program so far."""
        return [part.complete() if isinstance(part, _Command) else part for part in self._parts]

    def __len__(self) -> int:
        return len(self._parts)

    def control(self, *instructions: Instruction) -> None:
        """Add instructions of the front end."""
        for instruction in instructions:
            self._parts.append(instruction)
            if isinstance(instruction, Fence):
                self._forget()

    def command(self, instruction: EngineInstruction, at: Addresses) -> None:
        """Add a command, and what makes it wait for others."""
        needed = self._needed(instruction, at)
        if len(self._counters) + 2 * len(needed) > TOKENS:
            self.control(Fence())
            needed = {}
        command = self._append(instruction, dict.fromkeys(ENGINES, 0))
        for engine, number in needed.items():
            if number > command.clock[engine]:
                self._wait(command, engine, number)
        self._parts.append(command)
        for kind, regions in (("read", instruction.reads(at)), ("write", instruction.writes(at))):
            for region in regions:
                key = kind, region.space, instruction.engine
                if key not in self._last:
                    self._last[key] = np.zeros(self._sizes[region.space], np.int32)
                self._last[key][_bytes_of(region)] = len(self._commands[instruction.engine])

    def _append(self, instruction: EngineInstruction, clock: dict[Engine, int]) -> _Command:
        """The next command of its engine, which starts after the one before."""
        own = self._commands[instruction.engine]
        for engine, number in (own[-1].clock if own else {}).items():
            clock[engine] = max(clock[engine], number)
        clock[instruction.engine] = len(own)
        own.append(command := _Command(instruction, clock))
        return command

    def _needed(self, instruction: EngineInstruction, at: Addresses) -> dict[Engine, int]:
        """Of other engines, the last command that has to be finished."""
        reads, writes = instruction.reads(at), instruction.writes(at)
        conflicts = [("write", region) for region in (*reads, *writes)] + [("read", region) for region in writes]
        own, needed = self._commands[instruction.engine], dict[Engine, int]()
        known = own[-1].clock if own else {}
        for kind, region in conflicts:
            for engine in ENGINES:
                last = self._last.get((kind, region.space, engine))
                if engine != instruction.engine and last is not None:
                    number = int(last[_bytes_of(region)].max())
                    if number > known.get(engine, 0):
                        needed[engine] = max(needed.get(engine, 0), number)
        return needed

    def _wait(self, command: _Command, engine: Engine, number: int) -> None:
        """Take a token of the engine's command of that number, or of a later one."""
        mine = command.instruction.engine
        taken = [
            giver for (giver, taker), counter in self._counters.items() if taker == mine and counter in command.wait
        ]
        others = [item for item in ENGINES if item not in (mine, engine, *taken)]
        if others and self._rng.random() < _CHAINS:
            over = self._append(Sync(unit=self._rng.choice(others)), dict.fromkeys(ENGINES, 0))
            if over.clock[engine] < number:
                self._hand(over, engine, number)
            self._parts.append(over)
            engine, number = over.instruction.engine, len(self._commands[over.instruction.engine])
        self._hand(command, engine, number)

    def _hand(self, command: _Command, engine: Engine, number: int) -> None:
        pair = engine, command.instruction.engine
        counter = self._counters.setdefault(pair, len(self._counters))
        giver = self._rng.randint(number, len(self._commands[engine]))
        self._commands[engine][giver - 1].signal.add(counter)
        command.wait.add(counter)
        for other, known in (self._commands[engine][giver - 1].clock | {engine: giver}).items():
            command.clock[other] = max(command.clock[other], known)


def _bytes_of(region: Region) -> np.ndarray:
    rows = region.address + region.pitch_bytes * np.arange(region.rows)
    return (rows[:, None] + np.arange(region.row_bytes)).reshape(-1)


def pointer_to(rng: random.Random, pointer: int, address: int) -> Iterator[Instruction]:
    """Instructions after which a pointer holds an address: at once, by steps, or around a ring."""
    way = rng.choice(["set", "step", "ring"])
    if way == "set" or address < 64:
        yield SetPointer(target=pointer, base=address, ring_bytes=rng.choice([0, 0, 1 << 20]))
    elif way == "step":
        first = rng.randint(-address, 1 << 20)
        yield SetPointer(target=pointer, base=address + first, ring_bytes=0)
        yield Step(target=pointer, stride_bytes=-first)
    else:
        ring = rng.randint(2, 64)
        offset = rng.randrange(ring)
        turns = [rng.randint(-ring, ring) for _ in range(3)]
        yield SetPointer(target=pointer, base=address - offset, ring_bytes=ring)
        for stride in turns:
            yield Step(target=pointer, stride_bytes=stride)
        rest = (offset - sum(turns)) % ring
        yield Step(target=pointer, stride_bytes=rng.choice([rest, rest - ring]))


def distinct_pointers(rng: random.Random, count: int) -> list[int]:
    """Some of the front end's pointers."""
    return rng.sample(range(POINTERS), count)
