"""Instructions of the front end: address registers, loops, the end; and the engine instruction that does nothing.

A pointer is a base address and an offset that starts at 0. `step` adds to the offset; in a ring of `ring_bytes` the
offset wraps around, which is how the halves of a double-buffered scratchpad follow each other. Nothing is undone at the
end of a loop: a pointer goes on from where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isa.instructions.base import Addresses, EngineInstruction, Instruction, Region, Storage
from isa.instructions.operands import ADDRESS_BITS, choice, number, pointer
from isa.instructions.types import ENGINES, Engine

__all__ = ["DEEPEST_LOOP", "End", "Fence", "Halt", "Loop", "SetPointer", "Step", "Sync"]

DEEPEST_LOOP = 8
"""Loops inside each other."""


@dataclass(frozen=True, kw_only=True)
class SetPointer(Instruction):
    """Gives a pointer a base and puts its offset to 0."""

    OPCODE: ClassVar[int] = 0x01
    MNEMONIC: ClassVar[str] = "set"

    target: int = pointer("the pointer")
    base: int = number(ADDRESS_BITS, "base address, in bytes")
    ring_bytes: int = number(ADDRESS_BITS, "size that the offset wraps at; 0: it does not")


@dataclass(frozen=True, kw_only=True)
class Step(Instruction):
    """Adds to the offset of a pointer, modulo its ring."""

    OPCODE: ClassVar[int] = 0x02
    MNEMONIC: ClassVar[str] = "step"

    target: int = pointer("the pointer")
    stride_bytes: int = number(ADDRESS_BITS, "what is added, in bytes", signed=True)


@dataclass(frozen=True, kw_only=True)
class Loop(Instruction):
    """Repeats what stands between it and its `end`."""

    OPCODE: ClassVar[int] = 0x03
    MNEMONIC: ClassVar[str] = "loop"

    count: int = number(24, "how often", least=1)


@dataclass(frozen=True, kw_only=True)
class End(Instruction):
    """Ends the innermost loop."""

    OPCODE: ClassVar[int] = 0x04
    MNEMONIC: ClassVar[str] = "end"


@dataclass(frozen=True, kw_only=True)
class Fence(Instruction):
    """Waits until every engine is idle, and empties all token counters."""

    OPCODE: ClassVar[int] = 0x05
    MNEMONIC: ClassVar[str] = "fence"


@dataclass(frozen=True, kw_only=True)
class Halt(Instruction):
    """Waits until every engine is idle, and ends the program."""

    OPCODE: ClassVar[int] = 0x06
    MNEMONIC: ClassVar[str] = "halt"


@dataclass(frozen=True, kw_only=True)
class Sync(EngineInstruction):
    """Takes and gives tokens, and does nothing else: the first tokens of a free buffer come from it."""

    OPCODE: ClassVar[int] = 0x07
    MNEMONIC: ClassVar[str] = "sync"

    unit: Engine = choice(3, ENGINES, "the engine that executes it")

    @property
    def engine(self) -> Engine:
        """The engine that is named."""
        return self.unit

    def reads(self, at: Addresses) -> tuple[Region, ...]:  # noqa: ARG002
        """Nothing."""
        return ()

    def writes(self, at: Addresses) -> tuple[Region, ...]:  # noqa: ARG002
        """Nothing."""
        return ()

    def execute(self, storage: Storage, at: Addresses) -> None:
        """Nothing."""
