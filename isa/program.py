"""The `Program`: instructions, the buffers that they work on, and the unit that they were made for.

A program is checked when it is made: its loops are closed, it halts at its end and nowhere else, and what it does not
say cannot be meant. How it is written to a file is the subject of `isa.program_file`, how it is executed that of
`isa.front_end` (control) and of the engines of whoever runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isa.instructions import DEEPEST_LOOP, End, EngineInstruction, Halt, Instruction, Loop
from isa.instructions.types import Space

__all__ = ["LARGEST_MEMORY_BYTES", "MOST_INSTRUCTIONS", "Buffer", "Program", "Unit", "UnitKind"]

UnitKind = Literal["lut", "mac", "bit-serial", "vector"]
Role = Literal["input", "weights", "scales", "tables", "output"]

MOST_INSTRUCTIONS = 1 << 16
LARGEST_MEMORY_BYTES = 1 << 40


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
    role : {"input", "weights", "scales", "tables", "output"}
        An input, weights or scales are there before the program runs; tables and outputs it makes.
    space : str
        Memory, or the scratchpad that it stays in.
    address, size_bytes : int
    layout : str
        What lies there, in words and sizes.
    """

    name: str
    role: Role
    space: Space
    address: int
    size_bytes: int
    layout: str = ""


@dataclass(frozen=True)
class Program:
    """Instructions with their buffers.

    Raises
    ------
    ValueError
        If loops are not closed or nested too deep, the last instruction is not the only `halt`, there are too many
        instructions, two buffers share a name, or a buffer lies outside its space.
    """

    instructions: tuple[Instruction, ...]
    buffers: tuple[Buffer, ...]
    unit: Unit

    def __post_init__(self) -> None:
        if not 0 < len(self.instructions) <= MOST_INSTRUCTIONS:
            raise ValueError(f"a program has 1 to {MOST_INSTRUCTIONS} instructions, found {len(self.instructions)}")
        self._check_control()
        names = [buffer.name for buffer in self.buffers]
        if len(set(names)) < len(names):
            raise ValueError("two buffers share a name")
        for buffer in self.buffers:
            limit = LARGEST_MEMORY_BYTES if buffer.space == "memory" else self.unit.size_bytes(buffer.space)
            if not 0 <= buffer.address <= buffer.address + buffer.size_bytes <= limit:
                raise ValueError(f"buffer {buffer.name} lies outside of {buffer.space}")

    def _check_control(self) -> None:
        depth = 0
        for position, instruction in enumerate(self.instructions):
            depth += isinstance(instruction, Loop) - isinstance(instruction, End)
            if not 0 <= depth <= DEEPEST_LOOP:
                raise ValueError(f"instruction {position}: loops are closed, and at most {DEEPEST_LOOP} deep")
            if isinstance(instruction, Halt) != (position == len(self.instructions) - 1):
                raise ValueError(f"instruction {position}: the last instruction, and no other, is halt")
        if depth:
            raise ValueError("a loop without end")

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
