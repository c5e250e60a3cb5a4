"""What a program amounts to: instructions, products, traffic; and what executing it would take of whoever runs it.

All of it is known before the program runs, because sizes stand in the instructions and only addresses change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isa.instructions import ANYWHERE, EngineInstruction, Lmma, LutGen
from isa.instructions.types import ENGINES, WEIGHT_TYPES, Engine
from isa.program import Program

__all__ = ["Counts", "counts_of", "operations_of", "working_bytes"]


@dataclass(frozen=True)
class Counts:
    """How often a program does each thing.

    Parameters
    ----------
    instructions : mapping of Engine to int
        Instructions that each engine executes.
    tables : int
        Tables that `lutgen` makes.
    passes : int
        How often the array takes M rows, N columns and K inputs.
    macs : int
        Products of an activation and a weight, without padding.
    memory_read_bytes, memory_written_bytes : int
        Traffic between memory and the scratchpads; a store that accumulates does both.
    """

    instructions: Mapping[Engine, int]
    tables: int
    passes: int
    macs: int
    memory_read_bytes: int
    memory_written_bytes: int


def counts_of(program: Program) -> Counts:
    """What the engines do in a whole run of a program, in closed form."""
    instructions: dict[Engine, int] = dict.fromkeys(ENGINES, 0)
    tables = passes = macs = read_bytes = written_bytes = 0
    for times, instruction in zip(program.repetitions(), program.instructions, strict=True):
        if not isinstance(instruction, EngineInstruction):
            continue
        instructions[instruction.engine] += times
        read_bytes += times * sum(item.size_bytes for item in instruction.reads(ANYWHERE) if item.space == "memory")
        written_bytes += times * sum(item.size_bytes for item in instruction.writes(ANYWHERE) if item.space == "memory")
        if isinstance(instruction, LutGen):
            tables += times * instruction.tables
        elif isinstance(instruction, Lmma):
            passes += times * instruction.passes
            macs += times * instruction.rows * instruction.columns * instruction.depth
    return Counts(instructions, tables, passes, macs, read_bytes, written_bytes)


def operations_of(instruction: EngineInstruction) -> int:
    """Bytes that an instruction reads and writes, and products or lookups that it adds up, padding included: what its
    execution takes time for."""
    regions = (*instruction.reads(ANYWHERE), *instruction.writes(ANYWHERE))
    moved = sum(region.size_bytes for region in regions)
    if isinstance(instruction, Lmma):
        columns = -(-instruction.columns // instruction.n) * instruction.n
        terms = WEIGHT_TYPES[instruction.weight].bits if instruction.inputs == "table" else instruction.k
        return moved + instruction.rows * columns * instruction.groups * terms
    return moved


def working_bytes(instruction: EngineInstruction) -> int:
    """An upper bound of what the execution of an instruction allocates, from the arrays that `isa.layouts` makes: bits
    and fields of codes as they are unpacked, products in 64 bits."""
    match instruction:
        case LutGen(rows=rows, depth=depth, k=k):
            return 10 * (instruction.tables << k - 1) + 48 * rows * (depth + k) + _OVERHEAD_BYTES
        case Lmma(rows=rows, k=k, groups=groups, n=n):
            columns = -(-instruction.columns // n) * n
            products = 64 * rows * columns
            if instruction.inputs == "table":
                lookups = columns * groups * WEIGHT_TYPES[instruction.weight].bits
                entries = rows * groups << k - 1
                return 48 * (entries + lookups) + products + _LOOKUP_BYTES
            return 48 * groups * k * (rows + columns) + products + _OVERHEAD_BYTES
    return 0


_OVERHEAD_BYTES = 1 << 16
_LOOKUP_BYTES = 1 << 27
