"""The `Program`: instructions, the buffers that they work on, and the unit that they were made for.

A program is checked when it is made: its loops are closed, it halts at its end and nowhere else, and what it does not
say cannot be meant. How it is written to a file is the subject of `isa.program_file`, how it is executed that of
`isa.front_end` (control) and of the engines of whoever runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from isa.instructions import DEEPEST_LOOP, End, EngineInstruction, Halt, Instruction, Loop
from isa.instructions.compute import SHAPE_BITS
from isa.instructions.types import SCRATCHPADS, Space

__all__ = [
    "LARGEST_MEMORY_BYTES",
    "LARGEST_SCRATCHPAD_BYTES",
    "LONGEST_TEXT",
    "MOST_BUFFERS",
    "MOST_INSTRUCTIONS",
    "Buffer",
    "MalformedField",
    "MalformedProgram",
    "Program",
    "Role",
    "Unit",
    "UnitKind",
]

UnitKind = Literal["lut", "mac", "bit-serial", "vector"]
Role = Literal["input", "weights", "scales", "row_scales", "tables", "output"]

MOST_INSTRUCTIONS = 1 << 16
MOST_BUFFERS = 1 << 11
LONGEST_TEXT = 256
"""Characters of a buffer's name, and of its layout."""
LARGEST_MEMORY_BYTES = 1 << 40
LARGEST_SCRATCHPAD_BYTES = 1 << 31
DEEPEST_QUEUE = 1 << 10


class MalformedField(ValueError):  # noqa: N818
    """A value that no unit or buffer has: of `part` "unit" or "buffer", in the field of that name."""

    def __init__(self, part: str, field: str, found: object, expected: object) -> None:
        self.part, self.field, self.found, self.expected = part, field, found, expected
        super().__init__(f"{part}.{field}: found {found}, expected {expected}")


class MalformedProgram(ValueError):  # noqa: N818
    """Instructions or buffers that do not go together: `part` "instructions" or "buffers", and the position there."""

    def __init__(self, part: str, position: int, found: object, expected: object) -> None:
        self.part, self.position, self.found, self.expected = part, position, found, expected
        super().__init__(f"{part}[{position}]: found {found}, expected {expected}")


@dataclass(frozen=True)
class Unit:
    """What a program was made for.

    Parameters
    ----------
    kind : {"lut", "mac", "bit-serial", "vector"}
    m, n, k : int
        Rows, columns and inputs of the array.
    activation_bytes, weight_bytes, table_bytes, accumulator_bytes, scale_bytes : int
        Sizes of the scratchpads; 0 where there is none.
    queue_depth : int
        Instructions that wait in the queue of an engine.

    Raises
    ------
    MalformedField
        If a value is outside of its range.
    """

    kind: UnitKind
    m: int
    n: int
    k: int
    activation_bytes: int
    weight_bytes: int
    table_bytes: int
    accumulator_bytes: int
    scale_bytes: int
    queue_depth: int = 8

    def __post_init__(self) -> None:
        _check_choice("unit", "kind", self.kind, get_args(UnitKind))
        for name in ("m", "n", "k"):
            _check_integer("unit", name, getattr(self, name), 1, 1 << SHAPE_BITS)
        for scratchpad in SCRATCHPADS:
            name = f"{scratchpad}_bytes"
            _check_integer("unit", name, getattr(self, name), 0, LARGEST_SCRATCHPAD_BYTES)
        _check_integer("unit", "queue_depth", self.queue_depth, 1, DEEPEST_QUEUE)

    def size_bytes(self, scratchpad: Space) -> int:
        """Size of a scratchpad."""
        size = getattr(self, f"{scratchpad}_bytes")
        assert isinstance(size, int)  # noqa: S101
        return size


@dataclass(frozen=True)
class Buffer:
    """Bytes with a name.

    Parameters
    ----------
    name : str
    role : {"input", "weights", "scales", "row_scales", "tables", "output"}
        Inputs, weights and scales are there before the program runs; tables and outputs it makes.
    space : str
        Memory, or the scratchpad that it stays in.
    address, size_bytes : int
    layout : str
        What lies there, in words and sizes.

    Raises
    ------
    MalformedField
        If a value is outside of its range, or a text is too long or not printable.
    """

    name: str
    role: Role
    space: Space
    address: int
    size_bytes: int
    layout: str = ""

    def __post_init__(self) -> None:
        _check_text("name", self.name, 1)
        _check_choice("buffer", "role", self.role, get_args(Role))
        _check_choice("buffer", "space", self.space, get_args(Space))
        _check_integer("buffer", "address", self.address, 0, LARGEST_MEMORY_BYTES)
        _check_integer("buffer", "size_bytes", self.size_bytes, 0, LARGEST_MEMORY_BYTES)
        _check_text("layout", self.layout, 0)


@dataclass(frozen=True)
class Program:
    """Instructions with their buffers.

    Raises
    ------
    MalformedProgram
        If loops are not closed or nested too deep, the last instruction is not the only `halt`, there are too many
        instructions or buffers, two buffers share a name, or a buffer lies outside its space.
    """

    instructions: tuple[Instruction, ...]
    buffers: tuple[Buffer, ...]
    unit: Unit

    def __post_init__(self) -> None:
        self._check_control()
        if len(self.buffers) > MOST_BUFFERS:
            raise MalformedProgram("buffers", MOST_BUFFERS, f"{len(self.buffers)} buffers", f"at most {MOST_BUFFERS}")
        names = set[str]()
        for position, buffer in enumerate(self.buffers):
            if buffer.name in names:
                raise MalformedProgram("buffers", position, f"{buffer.name!r} again", "a name of its own")
            names.add(buffer.name)
            limit = LARGEST_MEMORY_BYTES if buffer.space == "memory" else self.unit.size_bytes(buffer.space)
            end = buffer.address + buffer.size_bytes
            if end > limit:
                raise MalformedProgram(
                    "buffers", position, f"{buffer.name} to byte {end}", f"an end within the {limit} of {buffer.space}"
                )

    def _check_control(self) -> None:
        count, open_loops = len(self.instructions), list[int]()
        if count > MOST_INSTRUCTIONS:
            raise MalformedProgram(
                "instructions", MOST_INSTRUCTIONS, f"{count} of them", f"at most {MOST_INSTRUCTIONS}"
            )
        for position, instruction in enumerate(self.instructions):
            if isinstance(instruction, Loop):
                open_loops.append(position)
                if len(open_loops) > DEEPEST_LOOP:
                    found = f"{len(open_loops)} loops inside each other"
                    raise MalformedProgram("instructions", position, found, f"at most {DEEPEST_LOOP}")
            elif isinstance(instruction, End):
                if not open_loops:
                    raise MalformedProgram("instructions", position, "end", "a loop that it ends")
                open_loops.pop()
            elif isinstance(instruction, Halt) and position < count - 1:
                raise MalformedProgram("instructions", position, "halt", "halt as the last instruction alone")
        if open_loops:
            raise MalformedProgram("instructions", open_loops[-1], "a loop without end", "an end for every loop")
        if not count or not isinstance(self.instructions[-1], Halt):
            raise MalformedProgram("instructions", max(count - 1, 0), "no halt", "halt as the last instruction")

    @property
    def memory_bytes(self) -> int:
        """Size of the memory image that holds all buffers."""
        ends = [buffer.address + buffer.size_bytes for buffer in self.buffers if buffer.space == "memory"]
        return max(ends, default=0)

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name; KeyError if there is none."""
        for buffer in self.buffers:
            if buffer.name == name:
                return buffer
        raise KeyError(name)

    def repetitions(self) -> list[int]:
        """How often each instruction is executed, loops multiplied out."""
        counts: list[int] = []
        product, open_loops = 1, list[int]()
        for instruction in self.instructions:
            if isinstance(instruction, End):
                counts.append(product)
                product //= open_loops.pop()
                continue
            counts.append(product)
            if isinstance(instruction, Loop):
                open_loops.append(instruction.count)
                product *= instruction.count
        return counts

    @property
    def executed_instructions(self) -> int:
        """Instructions that the engines execute in all."""
        return sum(
            count
            for count, instruction in zip(self.repetitions(), self.instructions, strict=True)
            if isinstance(instruction, EngineInstruction)
        )


def _check_integer(part: str, field: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise MalformedField(part, field, repr(value), f"an integer of {least} to {most}")


def _check_choice(part: str, field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise MalformedField(part, field, repr(value), f"one of {', '.join(choices)}")


def _check_text(field: str, value: object, least: int) -> None:
    if not isinstance(value, str) or not least <= len(value) <= LONGEST_TEXT or not value.isprintable():
        raise MalformedField("buffer", field, repr(value), f"{least} to {LONGEST_TEXT} printable characters")
