"""Random programs of every instruction in every form, beyond what lowering writes, and right all the same.

    loads that fill every scratchpad ─► commands in any order, loops ─► stores of every scratchpad that can be stored

What is made is followed on a golden memory, so that no NaN comes up, whose bits are nobody's promise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from top_commands import CommandMaker, Made
from top_orders import OrderedWriter, distinct_pointers, pointer_to

from isa.instructions import (
    Addresses,
    End,
    EngineInstruction,
    Fence,
    Halt,
    Instruction,
    Load,
    Loop,
    LutGen,
    Region,
    Scale,
    SetPointer,
    Step,
    Store,
    operands_of,
)
from isa.instructions.control import DEEPEST_LOOP
from isa.instructions.operands import POINTERS
from isa.instructions.types import ELEMENT_DTYPES, SCRATCHPADS, Space
from isa.program import Buffer, Program
from rtl.configuration import Configuration
from sim.functional.interpreter.spaces import Spaces
from sim.lowering.images import MemoryImage

__all__ = ["DATA_BYTES", "RandomProgram", "random_program", "random_programs"]

DATA_BYTES = 20 * 1024
_LONGEST_PROGRAM = 700
_MOST_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class RandomProgram:
    """A program and the memory that it begins with."""

    program: Program
    image: MemoryImage


def random_programs(configuration: Configuration, samples: int, seed: int) -> Iterator[RandomProgram]:
    """Programs that differ; the same seed gives the same ones."""
    for number in range(samples):
        yield random_program(configuration, f"{seed} {number}")


def random_program(configuration: Configuration, seed: str) -> RandomProgram:
    """A program of a few hundred words for a unit."""
    return _Maker(configuration, random.Random(seed)).make()


class _Maker:
    def __init__(self, configuration: Configuration, rng: random.Random) -> None:
        self._configuration, self._rng = configuration, rng
        unit = configuration.unit
        self._dumps = [("accumulator", "int32"), *([("table", "int16")] if configuration.looks_up_tables else [])]
        dumped = sum(unit.size_bytes(space) for space, _ in self._dumps)  # type: ignore[arg-type]
        dumped += 4 * unit.activation_bytes if configuration.looks_up_tables else 0
        self._sizes: dict[Space, int] = {space: unit.size_bytes(space) for space in SCRATCHPADS}
        self._sizes["memory"] = DATA_BYTES + dumped
        data = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, self._sizes["memory"], np.uint8)
        # Whatever bytes are read as a float, it is a finite one.
        data[data & 0x7C == 0x7C] ^= 0x40
        self._image = MemoryImage(data, {})
        spaces = {space: np.zeros(size, np.uint8) for space, size in self._sizes.items()} | {"memory": data.copy()}
        self._golden = Spaces(spaces)
        self._writer = OrderedWriter(rng, self._sizes)
        self._commands = CommandMaker(configuration, rng, DATA_BYTES)

    def make(self) -> RandomProgram:
        for space, size in self._sizes.items():
            if space != "memory" and size:
                source = self._rng.randint(0, DATA_BYTES - size)
                load = Load(space=space, source=0, target=1, rows=1, row_bytes=size, pitch_bytes=0)
                self._add(Made(load, {"source": source, "target": 0}))
        while len(self._writer) < _LONGEST_PROGRAM:
            chance = self._rng.random()
            if chance < 0.04:
                self._nest()
            elif chance < 0.07:
                self._writer.control(Fence())
            else:
                self._add(self._commands.any())
        self._dump()
        self._writer.control(Halt())
        buffers = (Buffer("all", "input", "memory", 0, self._sizes["memory"]),)
        program = Program(tuple(self._writer.instructions()), buffers, self._configuration.unit)
        return RandomProgram(program, self._image)

    def _add(self, made: Made) -> None:
        """Add a command if it makes no NaN."""
        if not self._follow(made.instruction, made.at):
            return
        instruction, places = _with_pointers(made, distinct_pointers(self._rng, len(made.at)))
        for pointer, address in places.items():
            self._writer.control(*pointer_to(self._rng, pointer, address))
        self._writer.command(instruction, made.at)

    def _follow(self, instruction: EngineInstruction, at: Addresses) -> bool:
        """Execute a command on the golden memory, unless it makes a NaN."""
        (written,) = instruction.writes(at)
        for region in (*instruction.reads(at), written):
            self._golden.check(region)
        before = self._golden.read(written).copy()
        with np.errstate(all="ignore"):
            instruction.execute(self._golden, at)
        dtype = _float_type(instruction)
        if dtype is None or not np.isnan(self._golden.read(written).view(dtype)).any():
            return True
        self._golden.write(written, before)
        return False

    def _nest(self) -> None:
        """Loops inside each other around commands whose pointers move on in each of them."""
        counts = [self._rng.randint(1, 3) for _ in range(self._rng.randint(1, DEEPEST_LOOP))]
        while np.prod(counts) > _MOST_ITERATIONS:
            counts[counts.index(max(counts))] -= 1
        pointers = distinct_pointers(self._rng, POINTERS)
        body = [self._moving(counts, pointers[8 * number :]) for number in range(self._rng.randint(1, 2))]
        self._writer.control(Fence())
        for item in body:
            begins = (SetPointer(target=pointer, base=base, ring_bytes=0) for pointer, base in item.begin.items())
            self._writer.control(*begins)
        for iteration in range(int(np.prod(counts))):
            for item in body:
                self._follow(item.instruction, item.at(iteration))
        self._writer.control(*(Loop(count=count) for count in counts))
        for item in body:
            self._writer.control(item.instruction)
            if len(body) > 1:
                self._writer.control(Fence())
        for level in reversed(range(len(counts))):
            self._writer.control(*(step for item in body for step in item.steps[level]), End())
        self._writer.control(Fence())

    def _moving(self, counts: list[int], pointers: list[int]) -> _Moving:
        """A command without floats, and where it goes in every iteration."""
        while True:
            made = self._commands.of_integers()
            strides = {name: [self._rng.choice([0, 0, 1, -1, 2]) for _ in counts] for name in made.at}
            at = {name: made.at[name] + made.grain(name) * _moves(counts, strides[name]) for name in made.at}
            regions = list[Region]()
            for extreme in (np.min, np.max):
                moved = {name: int(extreme(places)) for name, places in at.items()}
                regions += [*made.instruction.reads(moved), *made.instruction.writes(moved)]
            if all(item.address >= 0 and item.end <= self._limit(item.space) for item in regions):
                break
        instruction, begin = _with_pointers(made, pointers)
        steps = [
            [
                Step(target=pointer, stride_bytes=made.grain(name) * strides[name][level])
                for pointer, name in zip(begin, made.at, strict=True)
                if strides[name][level]
            ]
            for level in range(len(counts))
        ]
        return _Moving(instruction, begin, steps, at)

    def _limit(self, space: Space) -> int:
        return DATA_BYTES if space == "memory" else self._sizes[space]

    def _dump(self) -> None:
        """Store what is in the scratchpads; activations by way of their tables."""
        unit, target = self._configuration.unit, DATA_BYTES
        self._writer.control(Fence())
        for space, element in self._dumps:
            target = self._store_all(space, element, target)
        if not self._configuration.looks_up_tables:
            return
        depth = unit.table_bytes // self._configuration.table_bytes * unit.k
        for source in range(0, unit.activation_bytes, depth):
            self._writer.control(Fence(), SetPointer(target=0, base=source, ring_bytes=0))
            made = LutGen(
                k=unit.k,
                activation="int8",
                source=0,
                target=1,
                rows=1,
                depth=depth,
                pitch_bytes=0,
                signal=frozenset({0}),
            )
            self._writer.control(SetPointer(target=1, base=0, ring_bytes=0), made)
            target = self._store_all("table", "int16", target, frozenset({0}))

    def _store_all(self, space: str, element: str, target: int, wait: frozenset[int] = frozenset()) -> int:
        size = self._configuration.unit.size_bytes(space)  # type: ignore[arg-type]
        store = Store(
            space="memory", mode="overwrite", origin=space, element=element, result=element,  # type: ignore[arg-type]
            source=0, target=1, rows=1, columns=size // ELEMENT_DTYPES[element].itemsize, pitch_bytes=0, wait=wait,
        )  # fmt: skip
        self._writer.control(
            SetPointer(target=0, base=0, ring_bytes=0), SetPointer(target=1, base=target, ring_bytes=0)
        )
        self._writer.control(store)
        return target + size


@dataclass(frozen=True)
class _Moving:
    """A command in loops: its pointers at first, what moves them at the end of each loop, where it goes each time."""

    instruction: EngineInstruction
    begin: dict[int, int]
    steps: list[list[Instruction]]
    places: dict[str, NDArray[np.int64]]

    def at(self, iteration: int) -> Addresses:
        return {name: int(places[iteration]) for name, places in self.places.items()}


def _with_pointers(made: Made, pointers: Sequence[int]) -> tuple[EngineInstruction, dict[int, int]]:
    """The command with the first of these pointers, and what they hold."""
    values = {name: getattr(made.instruction, name) for name in operands_of(type(made.instruction))}
    values |= dict(zip(made.at, pointers, strict=False))
    return type(made.instruction)(**values), dict(zip(pointers, made.at.values(), strict=False))


def _moves(counts: list[int], strides: list[int]) -> NDArray[np.int64]:
    """How far a pointer is from its begin in every iteration: each loop moves it at its end."""
    moves, place = list[int](), 0
    for iteration in range(int(np.prod(counts))):
        moves.append(place)
        rest = iteration + 1
        for count, stride in zip(reversed(counts), reversed(strides), strict=True):
            place += stride
            if rest % count:
                break
            rest //= count
    return np.array(moves, np.int64)


def _float_type(instruction: EngineInstruction) -> np.dtype | None:
    """The type of what a command writes, if it is a float."""
    if isinstance(instruction, Scale):
        return ELEMENT_DTYPES["fp32"]
    if isinstance(instruction, Store) and instruction.result.startswith("fp"):
        return ELEMENT_DTYPES[instruction.result]
    return None
