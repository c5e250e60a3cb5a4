"""What every instruction is: a frozen dataclass whose fields are its operands, with the place that it is executed in.

    front end ── set, step, loop, end, fence, halt: executed at once, in order
        │
        └──► load ─► table ─► array ─► scale ─► store     five engines, each with its own queue, in order within it

The front end replaces pointers by the addresses that they hold and hands an instruction to its engine; engines meet
only through tokens. An engine starts an instruction when each counter that it waits for has a token, takes one from
each, and adds one to each counter that it signals when it has finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from isa.instructions.operands import METADATA_KEY, Operand, tokens
from isa.instructions.types import Engine, Space

__all__ = ["Addresses", "Bytes", "EngineInstruction", "Instruction", "Region", "Storage", "operands_of"]

Bytes = NDArray[np.uint8]
Addresses = Mapping[str, int]
"""The byte address that each pointer operand held when the instruction was handed to its engine."""


@dataclass(frozen=True)
class Region:
    """Rows of bytes in one space: what an instruction reads or writes."""

    space: Space
    address: int
    rows: int
    row_bytes: int
    pitch_bytes: int

    @classmethod
    def contiguous(cls, space: Space, address: int, size_bytes: int) -> Region:
        """Bytes without gaps."""
        return cls(space, address, 1, size_bytes, size_bytes)

    @property
    def size_bytes(self) -> int:
        """Bytes in it, without the gaps."""
        return self.rows * self.row_bytes

    @property
    def end(self) -> int:
        """The address behind its last byte."""
        return self.address + (self.rows - 1) * self.pitch_bytes + self.row_bytes


class Storage(Protocol):
    """Memory and scratchpads, as instructions see them; whoever implements it checks bounds."""

    def read(self, region: Region) -> Bytes:
        """The bytes of a region, uint8 [rows, row_bytes]."""

    def write(self, region: Region, data: Bytes) -> None:
        """Replace the bytes of a region by uint8 [rows, row_bytes]."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction. `operands_of` lists the fields of a class in the order of the binary.

    Raises
    ------
    ValueError
        If a value does not fit its field; the message names both.
    """

    OPCODE: ClassVar[int]
    MNEMONIC: ClassVar[str]

    def __post_init__(self) -> None:
        for name, operand in operands_of(type(self)).items():
            _check(self.MNEMONIC, name, operand, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class EngineInstruction(Instruction):
    """An instruction that an engine executes, in the order of its queue."""

    ENGINE: ClassVar[Engine | None] = None
    """The engine of every instruction of the class; None where a field names it."""

    wait: frozenset[int] = tokens("counters that must have a token, of which it takes one each")
    signal: frozenset[int] = tokens("counters that get a token when it has finished")

    @property
    def engine(self) -> Engine:
        """The engine that executes it."""
        assert self.ENGINE is not None  # noqa: S101
        return self.ENGINE

    def reads(self, at: Addresses) -> tuple[Region, ...]:
        """What it reads."""
        raise NotImplementedError

    def writes(self, at: Addresses) -> tuple[Region, ...]:
        """What it writes."""
        raise NotImplementedError

    def execute(self, storage: Storage, at: Addresses) -> None:
        """What it does: reads its regions, computes, and writes."""
        raise NotImplementedError


_OPERANDS: dict[type[Instruction], dict[str, Operand]] = {}


def operands_of(instruction: type[Instruction]) -> dict[str, Operand]:
    """The operands of an instruction class by name, in the order of the binary (tokens first)."""
    if instruction not in _OPERANDS:
        _OPERANDS[instruction] = dict(_operands(instruction))
    return _OPERANDS[instruction]


def _operands(instruction: type[Instruction]) -> Iterator[tuple[str, Operand]]:
    for item in fields(instruction):
        operand = item.metadata[METADATA_KEY]
        assert isinstance(operand, Operand)  # noqa: S101
        yield item.name, operand


def _check(mnemonic: str, name: str, operand: Operand, value: Any) -> None:
    if operand.kind == "choice":
        if value not in operand.choices:
            raise ValueError(f"{mnemonic}: {name} is one of {', '.join(operand.choices)}, found {value!r}")
    elif operand.kind == "tokens":
        counters = range(operand.bits)
        if not isinstance(value, frozenset) or any(type(item) is not int or item not in counters for item in value):
            raise ValueError(f"{mnemonic}: {name} is a set of counters 0 to {operand.bits - 1}, found {value!r}")
    elif isinstance(value, bool) or not isinstance(value, int) or value not in operand.values:
        limits = f"{operand.values[0]} to {operand.values[-1]}"
        raise ValueError(f"{mnemonic}: {name} is an integer of {limits}, found {value!r}")
