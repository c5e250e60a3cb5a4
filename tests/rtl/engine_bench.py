"""What tests of engines share: scratchpads in Python at the ports of a unit, commands in and out, and golden storage.

A bench sees a unit through `Pins`, so that the same bench runs in a compiled simulation (cocotb) and in Amaranth's own.
All of it is one coroutine a simulation: ports are driven after the rising edge and looked at before the next one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from amaranth.hdl import Value
from numpy.typing import NDArray

from isa.instructions import EngineInstruction, Region, operands_of
from isa.instructions.types import Space
from rtl.commands import code_of, command_layout
from rtl.errors import ErrorCode

__all__ = ["Command", "EngineBench", "GoldenStorage", "Lanes", "Observed", "Pins", "Port", "ScratchpadModel"]


class Pins(Protocol):
    """Ports of a unit by the name that they have in Verilog."""

    def get(self, name: str) -> int:
        """The bits of an output."""

    def set(self, name: str, value: int) -> None:
        """Drive an input."""

    async def settle(self) -> None:
        """Wait until outputs follow inputs."""

    async def edge(self) -> None:
        """Wait for the next cycle."""


@dataclass
class GoldenStorage:
    """Scratchpads as instructions see them: `isa.instructions.Storage` without memory."""

    spaces: dict[Space, NDArray[np.uint8]]

    def read(self, region: Region) -> NDArray[np.uint8]:
        """The bytes of a region."""
        return self.spaces[region.space][self._places(region)]

    def write(self, region: Region, data: NDArray[np.uint8]) -> None:
        """Replace them."""
        self.spaces[region.space][self._places(region)] = data

    def holds(self, region: Region) -> bool:
        """Whether it lies within its space."""
        return region.address >= 0 and region.end <= len(self.spaces[region.space])

    @staticmethod
    def _places(region: Region) -> NDArray[np.int64]:
        rows = region.address + np.arange(region.rows)[:, None] * region.pitch_bytes
        places: NDArray[np.int64] = rows + np.arange(region.row_bytes)
        return places


@dataclass(frozen=True)
class Port:
    """A read or a write port of `width_bytes` at pins that begin with `name`."""

    name: str
    width_bytes: int

    def first_byte(self, pins: Pins) -> int:
        """Where it reads, or writes, in this cycle."""
        return pins.get(f"{self.name}__address")


@dataclass(frozen=True)
class Lanes(Port):
    """A port of elements of 32 bits."""

    def first_byte(self, pins: Pins) -> int:
        """Of the element that is asked for."""
        return 4 * pins.get(f"{self.name}__index")


@dataclass
class ScratchpadModel:
    """A scratchpad at the ports of a unit. What is read and written in the same cycle is read as noise, as is what lies
    beyond the end; writing there fails the test."""

    content: NDArray[np.uint8]
    reads: tuple[Port, ...] = ()
    writes: tuple[Port, ...] = ()

    def cycle(self, pins: Pins) -> dict[str, int]:
        """What the unit asks for in this cycle: the data that its ports have from the next on."""
        written = [self._write(pins, port) for port in self.writes if pins.get(f"{port.name}__enable")]
        return {
            f"{port.name}__data": self._read(port.first_byte(pins), port.width_bytes, written)
            for port in self.reads
            if pins.get(f"{port.name}__enable")
        }

    def _write(self, pins: Pins, port: Port) -> NDArray[np.int64]:
        if isinstance(port, Lanes):
            start, granule = port.first_byte(pins), 4
        else:
            start, granule = pins.get(f"{port.name}__index") * port.width_bytes, 1
        mask, data = pins.get(f"{port.name}__mask"), pins.get(f"{port.name}__data")
        bits = np.array([mask >> place // granule & 1 for place in range(port.width_bytes)], bool)
        places: NDArray[np.int64] = start + np.flatnonzero(bits)
        assert places.size == 0 or places[-1] < len(self.content), f"{port.name} writes beyond the end"
        self.content[places] = np.frombuffer(data.to_bytes(port.width_bytes, "little"), np.uint8)[bits]
        return places

    def _read(self, address: int, width_bytes: int, written: Iterable[NDArray[np.int64]]) -> int:
        data = np.frombuffer(random.randbytes(width_bytes), np.uint8).copy()
        inside = self.content[address : address + width_bytes]
        known = np.ones(len(inside), bool)
        for places in written:
            here = places[(places >= address) & (places < address + len(inside))]
            known[here - address] = False
        data[: len(inside)][known] = inside[known]
        return int.from_bytes(data.tobytes(), "little")


@dataclass(frozen=True)
class Command:
    """An instruction with its addresses; `raw` replaces bits of fields by others."""

    instruction: EngineInstruction
    at: Mapping[str, int]
    raw: Mapping[str, int] = field(default_factory=dict)

    @property
    def payload(self) -> int:
        """The bits that an engine is given."""
        engine = self.instruction.engine
        values: dict[str, Any] = {}
        for name, operand in operands_of(type(self.instruction)).items():
            value = getattr(self.instruction, name)
            if operand.kind == "pointer":
                values[name] = self.at[name]
            elif operand.kind == "choice":
                values[name] = code_of(engine, name, value)
            elif operand.kind == "number":
                values[name] = value - operand.least
        const = Value.cast(command_layout(engine).const({**values, **self.raw}))
        return int(const.value)


@dataclass
class Observed:
    """What a unit did with some commands, in cycles of the bench."""

    accepted: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    errors: list[ErrorCode] = field(default_factory=list)
    working_cycles: int = 0
    contents: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    """Of the scratchpad that is written, when the command was done, of those after which nothing was in flight."""


@dataclass
class EngineBench:
    """An engine with its scratchpads; `name` is what its pins begin with, `written` the scratchpad that it writes."""

    pins: Pins
    name: str
    scratchpads: dict[Space, ScratchpadModel]
    written: Space

    @property
    def result(self) -> ScratchpadModel:
        """The scratchpad that the engine writes."""
        return self.scratchpads[self.written]

    def storage(self) -> GoldenStorage:
        """A copy of what the scratchpads hold."""
        return GoldenStorage({space: model.content.copy() for space, model in self.scratchpads.items()})

    def fill(self, storage: GoldenStorage) -> None:
        """Give the scratchpads other contents."""
        for space, model in self.scratchpads.items():
            model.content = storage.spaces[space]

    async def run(self, commands: Iterable[Command], rate: float = 1.0, cycles: int | None = None) -> Observed:
        """Offer commands, with a probability of `rate` in each cycle that none is offered, until all are done (and some
        cycles more, in which nothing may happen), or for some cycles."""
        pins, seen, waiting = self.pins, Observed(), deque(command.payload for command in commands)
        count, offered, quiet, cycle = len(waiting), False, 0, 0
        while quiet < 20 if cycles is None else cycle < cycles:
            offered = bool(waiting) and (offered or random.random() < rate)
            pins.set(f"{self.name}command__valid", offered)
            pins.set(f"{self.name}command__payload", waiting[0] if offered else random.getrandbits(64))
            await pins.settle()
            taken = offered and bool(pins.get(f"{self.name}command__ready"))
            self._observe(seen, cycle)
            data = {name: value for model in self.scratchpads.values() for name, value in model.cycle(pins).items()}
            if seen.done and seen.done[-1] == cycle and len(seen.done) == len(seen.accepted):
                seen.contents[len(seen.done) - 1] = self.result.content.copy()
            await pins.edge()
            for name, value in data.items():
                pins.set(name, value)
            if taken:
                seen.accepted.append(cycle)
                waiting.popleft()
                offered = False
            quiet = quiet + 1 if len(seen.done) == count else 0
            cycle += 1
            assert cycle < 100_000, f"{len(seen.done)} of {count} commands were done"
        pins.set(f"{self.name}command__valid", 0)
        return seen

    def _observe(self, seen: Observed, cycle: int) -> None:
        if self.pins.get(f"{self.name}done"):
            seen.done.append(cycle)
            assert len(seen.done) <= len(seen.accepted), "done without a command"
        error = ErrorCode(self.pins.get(f"{self.name}error"))
        if error != ErrorCode.NONE:
            seen.errors.append(error)
        seen.working_cycles += self.pins.get(f"{self.name}working")
