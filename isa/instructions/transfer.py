"""Instructions that move data: memory to a scratchpad, and results to memory or to the activation scratchpad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isa.instructions.base import Addresses, EngineInstruction, Region, Storage
from isa.instructions.operands import choice, flag, number, pointer
from isa.instructions.types import ELEMENT_DTYPES, ELEMENT_TYPES, SCRATCHPADS, Space

__all__ = ["Load", "Store"]

SIZE_BITS = 24
PITCH_BITS = 32


@dataclass(frozen=True, kw_only=True)
class Load(EngineInstruction):
    """Copies rows of bytes from memory into a scratchpad, where they lie without gaps."""

    OPCODE: ClassVar[int] = 0x10
    MNEMONIC: ClassVar[str] = "load"
    ENGINE = "load"

    space: Space = choice(3, SCRATCHPADS, "the scratchpad")
    source: int = pointer("where the first row lies in memory")
    target: int = pointer("where it goes in the scratchpad")
    rows: int = number(SIZE_BITS, "rows", least=1)
    row_bytes: int = number(SIZE_BITS, "bytes of a row", least=1)
    pitch_bytes: int = number(PITCH_BITS, "from one row in memory to the next, in bytes")

    def reads(self, at: Addresses) -> tuple[Region, ...]:
        """The rows in memory."""
        return (Region("memory", at["source"], self.rows, self.row_bytes, self.pitch_bytes),)

    def writes(self, at: Addresses) -> tuple[Region, ...]:
        """The rows in the scratchpad."""
        return (Region(self.space, at["target"], self.rows, self.row_bytes, self.row_bytes),)

    def execute(self, storage: Storage, at: Addresses) -> None:
        """Copy."""
        (source,), (target,) = self.reads(at), self.writes(at)
        storage.write(target, storage.read(source))


@dataclass(frozen=True, kw_only=True)
class Store(EngineInstruction):
    """Takes rows of elements without gaps from a scratchpad, converts them, and writes them to memory or to the
    activation scratchpad, where they replace what is there or are added to it.

    Elements are added in the type that is written, after conversion to it: integers wrap around in its bits, floats
    round to even. Integers may become floats, floats never integers.
    """

    OPCODE: ClassVar[int] = 0x11
    MNEMONIC: ClassVar[str] = "store"
    ENGINE = "store"

    space: Space = choice(1, ("memory", "activation"), "where to")
    mode: str = flag("overwrite", "accumulate", "whether to add to what is there")
    origin: Space = choice(1, ("accumulator", "table"), "the scratchpad that it comes from")
    element: str = choice(3, ELEMENT_TYPES, "type of the elements there")
    result: str = choice(3, ELEMENT_TYPES, "type that is written")
    source: int = pointer("where the first row lies in the scratchpad")
    target: int = pointer("where it goes")
    rows: int = number(SIZE_BITS, "rows", least=1)
    columns: int = number(SIZE_BITS, "elements of a row", least=1)
    pitch_bytes: int = number(PITCH_BITS, "from one row to the next where they are written, in bytes")

    def __post_init__(self) -> None:
        super().__post_init__()
        # What becomes of a float that an integer cannot hold differs from machine to machine.
        if self.element.startswith("fp") and self.result.startswith("int"):
            raise ValueError(f"store: floats are not written as integers, found {self.element} to {self.result}")

    def reads(self, at: Addresses) -> tuple[Region, ...]:
        """The elements; where they are added, also what is there."""
        row_bytes = self.columns * ELEMENT_DTYPES[self.element].itemsize
        source = Region(self.origin, at["source"], self.rows, row_bytes, row_bytes)
        return (source, *self.writes(at)) if self.mode == "accumulate" else (source,)

    def writes(self, at: Addresses) -> tuple[Region, ...]:
        """The rows that are written."""
        row_bytes = self.columns * ELEMENT_DTYPES[self.result].itemsize
        return (Region(self.space, at["target"], self.rows, row_bytes, self.pitch_bytes),)

    def execute(self, storage: Storage, at: Addresses) -> None:
        """Convert, add and write."""
        source, *present = self.reads(at)
        result = ELEMENT_DTYPES[self.result]
        with np.errstate(over="ignore", invalid="ignore"):
            values = storage.read(source).view(ELEMENT_DTYPES[self.element]).astype(result)
            for region in present:
                values = storage.read(region).view(result) + values
        (target,) = self.writes(at)
        storage.write(target, np.ascontiguousarray(values).view(np.uint8))
