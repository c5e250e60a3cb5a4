"""The binary file of a program.

    8 bytes     `bitloomP`
    4 + 4       version of this layout, size of the header (little-endian)
    header      JSON in UTF-8: the bitloom that wrote it, the unit, the buffers, the number of instructions
    32 each     the instructions (`isa.encoding`)
    32 bytes    SHA-256 of everything before it

A file and a program stand for each other one to one: what `program_of` reads, `program_bytes` of the same bitloom
writes again byte by byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from isa.decoder import WORD_BYTES
from isa.encoding import decode, encode
from isa.errors import InputError
from isa.instructions import Instruction
from isa.program import (
    LONGEST_TEXT,
    MOST_BUFFERS,
    MOST_INSTRUCTIONS,
    Buffer,
    MalformedField,
    MalformedProgram,
    Program,
    Unit,
)

__all__ = ["LARGEST_PROGRAM_BYTES", "program_bytes", "program_of", "read_program"]

_MAGIC = b"bitloomP"
_VERSION = 1
_INTEGER_BYTES = 4
_PREFIX_BYTES = len(_MAGIC) + 2 * _INTEGER_BYTES
_CHECKSUM_BYTES = hashlib.sha256().digest_size
# As many buffers as there may be, with two of the longest texts in UTF-8 and room for the other fields.
_LARGEST_HEADER_BYTES = (1 << 12) + MOST_BUFFERS * (2 * 4 * LONGEST_TEXT + (1 << 8))

LARGEST_PROGRAM_BYTES = _PREFIX_BYTES + _LARGEST_HEADER_BYTES + MOST_INSTRUCTIONS * WORD_BYTES + _CHECKSUM_BYTES
"""No program's file is larger."""

_Header = Mapping[str, Any]


def program_bytes(program: Program) -> bytes:
    """The file of a program."""
    header = _header_bytes(version("bitloom"), program.unit, program.buffers, len(program.instructions))
    prefix = _MAGIC + b"".join(value.to_bytes(_INTEGER_BYTES, "little") for value in (_VERSION, len(header)))
    content = prefix + header + b"".join(map(encode, program.instructions))
    return content + hashlib.sha256(content).digest()


def read_program(path: Path) -> Program:
    """The program of a file.

    Raises
    ------
    InputError
        If it cannot be read or is no program.
    """
    try:
        if not path.is_file():
            raise InputError(path, "file", "no file", "a program that `bitloom isa asm` wrote")
        with path.open("rb") as stream:
            data = stream.read(LARGEST_PROGRAM_BYTES + 1)
    except OSError as error:
        raise InputError(path, "file", error.strerror or str(error), "a file that can be read") from error
    return program_of(data, path)


def program_of(data: bytes, source: str | Path) -> Program:
    """The program of a file's bytes.

    Raises
    ------
    InputError
        If they are truncated, damaged, of a newer version, or no program; the field names the part.
    """
    header_text, words = _parts(data, source)
    header = _header(header_text, source)
    if len(words) != header["instructions"] * WORD_BYTES:
        found = f"{len(words)} bytes of instructions"
        raise InputError(source, "header.instructions", found, f"{header['instructions']} times {WORD_BYTES}")
    unit = _unit(header["unit"], source)
    buffers = tuple(_buffers(header["buffers"], source))
    instructions = tuple(_instructions(words, source))
    try:
        program = Program(instructions, buffers, unit)
    except MalformedProgram as error:
        raise InputError(source, f"{error.part}[{error.position}]", error.found, error.expected) from error
    if _header_bytes(header["bitloom"], unit, buffers, len(instructions)) != header_text:
        raise InputError(
            source, "header", "another order, blanks or a key twice", "JSON as `bitloom isa asm` writes it"
        )
    return program


def _parts(data: bytes, source: str | Path) -> tuple[bytes, bytes]:
    """The header and the words, checksum checked."""
    if not data.startswith(_MAGIC):
        raise InputError(source, "magic", data[: len(_MAGIC)], f"{_MAGIC!r}, with which a program begins")
    if len(data) > LARGEST_PROGRAM_BYTES:
        raise InputError(source, "size", f"more than {LARGEST_PROGRAM_BYTES} bytes", f"at most {LARGEST_PROGRAM_BYTES}")
    found, header_size = (
        int.from_bytes(data[start : start + _INTEGER_BYTES], "little")
        for start in (len(_MAGIC), len(_MAGIC) + _INTEGER_BYTES)
    )
    if len(data) >= _PREFIX_BYTES and found != _VERSION:
        raise InputError(source, "version", found, f"{_VERSION}, the one that this bitloom reads")
    least = _PREFIX_BYTES + header_size + _CHECKSUM_BYTES
    if len(data) < max(least, _PREFIX_BYTES + _CHECKSUM_BYTES):
        raise InputError(source, "size", f"{len(data)} bytes", f"at least {least}: the file is truncated")
    content, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    computed = hashlib.sha256(content).hexdigest()
    if checksum.hex() != computed:
        raise InputError(source, "checksum", checksum.hex(), f"{computed}: the file is damaged")
    return content[_PREFIX_BYTES : _PREFIX_BYTES + header_size], content[_PREFIX_BYTES + header_size :]


def _header_bytes(writer: str, unit: Unit, buffers: tuple[Buffer, ...], instructions: int) -> bytes:
    document = {
        "bitloom": writer,
        "unit": asdict(unit),
        "buffers": [asdict(buffer) for buffer in buffers],
        "instructions": instructions,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _header(text: bytes, source: str | Path) -> _Header:
    """The header with the types of its parts checked, but for the values in them."""
    if len(text) > _LARGEST_HEADER_BYTES:
        raise InputError(source, "header", f"{len(text)} bytes", f"at most {_LARGEST_HEADER_BYTES}")
    try:
        document = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(source, "header", text[:64], "JSON in UTF-8") from error
    header = _mapping(document, ("bitloom", "unit", "buffers", "instructions"), "header", source)
    _mapping(header["unit"], tuple(item.name for item in fields(Unit)), "unit", source)
    for name, kind, expected in (
        ("bitloom", str, "the version that wrote it"),
        ("buffers", list, f"a list of at most {MOST_BUFFERS}"),
        ("instructions", int, "their number"),
    ):
        if type(header[name]) is not kind:
            raise InputError(source, f"header.{name}", header[name], expected)
    if not header["bitloom"].isprintable():
        raise InputError(source, "header.bitloom", header["bitloom"], "the version that wrote it")
    return header


def _unit(values: _Header, source: str | Path) -> Unit:
    try:
        return Unit(**values)
    except MalformedField as error:
        raise InputError(source, f"unit.{error.field}", error.found, error.expected) from error


def _buffers(items: list[Any], source: str | Path) -> Iterator[Buffer]:
    names = tuple(item.name for item in fields(Buffer))
    for position, item in enumerate(items):
        values = _mapping(item, names, f"buffers[{position}]", source)
        try:
            yield Buffer(**values)
        except MalformedField as error:
            raise InputError(source, f"buffers[{position}].{error.field}", error.found, error.expected) from error


def _instructions(words: bytes, source: str | Path) -> Iterator[Instruction]:
    for position, start in enumerate(range(0, len(words), WORD_BYTES)):
        word = words[start : start + WORD_BYTES]
        try:
            yield decode(word)
        except ValueError as error:
            raise InputError(source, f"instructions[{position}]", word.hex(), f"an instruction; {error}") from error


def _mapping(value: object, names: tuple[str, ...], field: str, source: str | Path) -> _Header:
    if not isinstance(value, dict) or set(value) != set(names):
        found = f"keys {', '.join(map(str, value))}" if isinstance(value, dict) else value
        raise InputError(source, field, found, f"a JSON object of {', '.join(names)}")
    return value
