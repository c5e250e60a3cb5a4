"""Instructions and programs as text, which `isa.assembler` reads back to the very same.

.unit kind=lut m=2 n=4 k=4 activation_bytes=64 ...
.buffer name=weights role=weights space=memory address=0x40 size_bytes=32 layout="ternary, planes"
loop count=2
  lmma.m2n4k4.int8.ternary.int32.table.blocks.overwrite wait={2,5}, signal={3,4}, source=p2, ...
end
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields

from isa.instructions import End, Instruction, Loop, operands_of
from isa.instructions.operands import Operand
from isa.program import Buffer, Program, Unit

__all__ = ["disassemble", "disassemble_program", "instruction_text", "mnemonic_parts", "written_operands"]

# What stands in a directive without quotes.
_PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_INDENT = "  "


def disassemble_program(program: Program) -> str:
    """A program as text: its unit, its buffers, its instructions, a line each."""
    lines = [_directive("unit", program.unit), *(_directive("buffer", buffer) for buffer in program.buffers)]
    return "\n".join(lines) + "\n" + disassemble(program.instructions)


def disassemble(instructions: Iterable[Instruction]) -> str:
    """Instructions as text, a line each, bodies of loops indented."""
    return "".join(f"{line}\n" for line in _indented(instructions))


def instruction_text(instruction: Instruction) -> str:
    """One instruction as a line of text."""
    suffixes = (
        "".join(f"{operand.suffix}{getattr(instruction, name)}" for name, operand in part)
        for part in mnemonic_parts(type(instruction))
    )
    mnemonic = ".".join((instruction.MNEMONIC, *suffixes))
    operands = [
        f"{name}={_value_text(getattr(instruction, name), operand)}"
        for name, operand in written_operands(type(instruction)).items()
        if operand.kind != "tokens" or getattr(instruction, name)
    ]
    return f"{mnemonic} {', '.join(operands)}".rstrip()


def mnemonic_parts(instruction: type[Instruction]) -> tuple[tuple[tuple[str, Operand], ...], ...]:
    """The operands that are part of the mnemonic: those between two dots stand together.

    Neighbours that have letters of their own, as `m2n64k4`, share a part; a name is a part by itself.
    """
    parts: list[list[tuple[str, Operand]]] = []
    for name, operand in operands_of(instruction).items():
        if operand.suffix is None:
            continue
        if operand.suffix and parts and parts[-1][-1][1].suffix:
            parts[-1].append((name, operand))
        else:
            parts.append([(name, operand)])
    return tuple(map(tuple, parts))


def written_operands(instruction: type[Instruction]) -> Mapping[str, Operand]:
    """The operands that are written as `name=value`, in their order."""
    return {name: operand for name, operand in operands_of(instruction).items() if operand.suffix is None}


def _indented(instructions: Iterable[Instruction]) -> Iterator[str]:
    depth = 0
    for instruction in instructions:
        depth -= isinstance(instruction, End)
        yield _INDENT * depth + instruction_text(instruction)
        depth += isinstance(instruction, Loop)


def _value_text(value: object, operand: Operand) -> str:
    if operand.kind == "tokens":
        assert isinstance(value, frozenset)  # noqa: S101
        return "{" + ",".join(map(str, sorted(value))) + "}"
    return f"p{value}" if operand.kind == "pointer" else str(value)


def _directive(name: str, record: Unit | Buffer) -> str:
    pairs = (f"{item.name}={_record_text(item.name, getattr(record, item.name))}" for item in fields(record))
    return f".{name} {' '.join(pairs)}"


def _record_text(name: str, value: str | int) -> str:
    if isinstance(value, int):
        return f"0x{value:x}" if name == "address" else str(value)
    return value if _PLAIN_TEXT.fullmatch(value) else json.dumps(value, ensure_ascii=False)
