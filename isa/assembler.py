"""The assembler: text to instructions and programs, with errors that name line and column.

A line is `mnemonic.suffix name=value, name=value`; the grammar of mnemonics and operands is that of the declarations in
`isa.instructions`. Numbers are decimal or `0x` hexadecimal, address registers `p0` to `p31`, token counters
`wait={0,3}`; operands stand in any order, `#` begins a comment. A program begins with the directives `.unit` and
`.buffer`, whose fields are those of `isa.program.Unit` and `Buffer`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from isa.assembly_lines import Line, Pair, Token, lines_of
from isa.disassembler import mnemonic_parts, written_operands
from isa.errors import InputError
from isa.instructions import INSTRUCTIONS, Instruction
from isa.instructions.operands import Operand
from isa.program import MOST_BUFFERS, MOST_INSTRUCTIONS, Buffer, MalformedField, MalformedProgram, Program, Unit

__all__ = ["LONGEST_ASSEMBLY", "assemble", "assemble_program"]

LONGEST_ASSEMBLY = 1 << 25
"""Characters of a text that is assembled: more than the longest program takes."""

Record = TypeVar("Record", Unit, Buffer)

_BY_MNEMONIC = {instruction.MNEMONIC: instruction for instruction in INSTRUCTIONS}
_NUMBER = re.compile(r"-?(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})")
_DIGITS = re.compile(r"[0-9]{1,20}")


def assemble(text: str, source: str = "assembly") -> tuple[Instruction, ...]:
    """The instructions of a text without directives.

    Raises
    ------
    InputError
        If it cannot be assembled; the field is `line L, column C`.
    """
    return tuple(_instruction(line) for line in _lines(text, source))


def assemble_program(text: str, source: str = "assembly") -> Program:
    """The program of a text with its directives.

    Raises
    ------
    InputError
        If it cannot be assembled or is no program; the field is `line L, column C`.
    """
    units: list[tuple[Line, Unit]] = []
    buffers: list[tuple[Line, Buffer]] = []
    instructions: list[tuple[Line, Instruction]] = []
    for line in _lines(text, source):
        first = line.tokens[0]
        if not first.text.startswith("."):
            _room(line, instructions, MOST_INSTRUCTIONS, "instructions")
            instructions.append((line, _instruction(line)))
        elif first.text == ".buffer":
            _room(line, buffers, MOST_BUFFERS, "buffers")
            buffers.append((line, _record(line, Buffer)))
        elif first.text == ".unit" and not units:
            units.append((line, _record(line, Unit)))
        else:
            raise line.error(first.column, first.text, "one .unit, or .buffer" if units else ".unit or .buffer")
    if not units:
        raise InputError(source, "line 1, column 1", "no .unit", "a line `.unit kind=... m=... n=... k=...`")
    try:
        return Program(tuple(item for _, item in instructions), tuple(item for _, item in buffers), unit=units[0][1])
    except MalformedProgram as error:
        lines = [line for line, _ in (buffers if error.part == "buffers" else instructions)]
        if not lines:
            raise InputError(source, "line 1, column 1", error.found, error.expected) from error
        line = lines[error.position]
        raise line.error(line.tokens[0].column, error.found, error.expected) from error


def _lines(text: str, source: str) -> Iterator[Line]:
    if len(text) > LONGEST_ASSEMBLY:
        raise InputError(source, "size", f"{len(text)} characters", f"at most {LONGEST_ASSEMBLY}")
    return lines_of(text, source)


def _room(line: Line, items: list[Any], most: int, what: str) -> None:
    if len(items) == most:
        raise line.error(line.tokens[0].column, f"more than {most} {what}", f"at most {most}")


def _instruction(line: Line) -> Instruction:
    word = line.tokens[0]
    mnemonic = word.text.partition(".")[0]
    instruction = _BY_MNEMONIC.get(mnemonic) if word.kind == "word" else None
    if instruction is None:
        raise line.error(word.column, mnemonic or word.text, f"one of {', '.join(_BY_MNEMONIC)}")
    values = _suffixes(line, instruction)
    operands = written_operands(instruction)
    for name, pair in line.pairs(",").items():
        if name not in operands:
            expected = f"one of {', '.join(operands)}" if operands else f"no operands of {mnemonic}"
            raise line.error(pair.name.column, name, expected)
        values[name] = _value(line, pair, operands[name])
    missing = [name for name, operand in operands.items() if operand.kind != "tokens" and name not in values]
    if missing:
        raise line.error(line.end, "the end of the line", f"{', '.join(f'{name}=' for name in missing)}")
    try:
        return instruction(**values)
    except ValueError as error:
        raise line.error(word.column, word.text, str(error)) from error


def _suffixes(line: Line, instruction: type[Instruction]) -> dict[str, Any]:
    """The values of the operands that are part of the mnemonic."""
    word = line.tokens[0]
    values: dict[str, Any] = {}
    position = len(instruction.MNEMONIC)
    for part in mnemonic_parts(instruction):
        _expect(line, position, ".", f"a dot and {part[0][1].text}")
        position += 1
        for name, operand in part:
            assert operand.suffix is not None  # noqa: S101
            column = word.column + position
            if operand.choices:
                found = word.text[position:].partition(".")[0]
                values[name] = _choice(line, found, column, operand)
            else:
                _expect(line, position, operand.suffix, f"{operand.suffix} and a number: {operand.text}")
                position += len(operand.suffix)
                digits = _DIGITS.match(word.text, position)
                found = digits.group() if digits else ""
                shown = found or word.text[position:] or "the end of the mnemonic"
                values[name] = _number(line, Token("word", shown, word.column + position), operand)
            position += len(found)
    if position < len(word.text):
        raise line.error(word.column + position, word.text[position:], f"the end of {word.text[:position]}")
    return values


def _expect(line: Line, position: int, sign: str, expected: str) -> None:
    word = line.tokens[0]
    if not word.text.startswith(sign, position):
        found = word.text[position:] or "the end of the mnemonic"
        raise line.error(word.column + position, found, expected)


def _value(line: Line, pair: Pair, operand: Operand) -> Any:
    value = pair.value
    if operand.kind == "tokens":
        return _counters(line, value, operand)
    if operand.kind == "pointer":
        digits = value.text.removeprefix("p")
        if digits == value.text or not _DIGITS.fullmatch(digits) or int(digits) not in operand.values:
            raise line.error(value.column, value.text, f"p0 to p{operand.values[-1]}")
        return int(digits)
    if operand.kind == "choice":
        return _choice(line, value.text, value.column, operand)
    return _number(line, value, operand)


def _choice(line: Line, found: str, column: int, operand: Operand) -> str:
    if found not in operand.choices:
        shown = found or "nothing"
        raise line.error(column, shown, f"{operand.text}: one of {', '.join(operand.choices)}")
    return found


def _number(line: Line, token: Token, operand: Operand) -> int:
    number = _integer(token.text) if _NUMBER.fullmatch(token.text) else None
    if number is None or number not in operand.values:
        limits = f"an integer of {operand.values[0]} to {operand.values[-1]}"
        raise line.error(token.column, token.text, f"{operand.text}: {limits}")
    return number


def _counters(line: Line, token: Token, operand: Operand) -> frozenset[int]:
    expected = f"{{}} or counters of 0 to {operand.bits - 1} in braces, as {{0,3}}"
    if token.kind != "set":
        raise line.error(token.column, token.text, expected)
    counters = set[int]()
    column = token.column + 1
    inside = token.text[1:-1]
    for item in inside.split(",") if inside.strip(" \t") else ():
        blanks = len(item) - len(item.lstrip(" \t"))
        digits = item.strip(" \t")
        if not _DIGITS.fullmatch(digits) or int(digits) >= operand.bits:
            raise line.error(column + blanks, digits or "nothing", expected)
        if int(digits) in counters:
            raise line.error(column + blanks, f"{digits} again", "every counter once")
        counters.add(int(digits))
        column += len(item) + 1
    return frozenset(counters)


def _record(line: Line, record: type[Record]) -> Record:
    """The unit or buffer of a directive."""
    hints, pairs, values = get_type_hints(record), line.pairs(""), dict[str, Any]()
    for name, pair in pairs.items():
        if name not in hints:
            raise line.error(pair.name.column, name, f"one of {', '.join(hints)}")
        values[name] = _record_value(line, pair.value, hints[name] is int)
    missing = [item.name for item in fields(record) if item.default is MISSING and item.name not in values]
    if missing:
        raise line.error(line.end, "the end of the line", f"{', '.join(f'{name}=' for name in missing)}")
    try:
        return record(**values)
    except MalformedField as error:
        raise line.error(pairs[error.field].value.column, error.found, error.expected) from error


def _record_value(line: Line, token: Token, is_integer: bool) -> int | str:
    if is_integer:
        if not _NUMBER.fullmatch(token.text):
            raise line.error(token.column, token.text, "an integer")
        return _integer(token.text)
    if token.kind == "set":
        raise line.error(token.column, token.text, "a name, or a text in double quotes")
    try:
        return str(json.loads(token.text)) if token.kind == "string" else token.text
    except ValueError as error:
        raise line.error(token.column, token.text, "a text in double quotes, with the escapes of JSON") from error


def _integer(text: str) -> int:
    return int(text, 16 if "x" in text else 10)
