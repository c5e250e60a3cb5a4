"""Program files: what is written is read back, and nothing else is read."""

import hashlib
import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_examples import UNIT, programs

from isa import Buffer, InputError, Program, assemble_program, program_bytes, program_of, read_program
from isa.encoding import encode
from isa.instructions import INSTRUCTIONS, Halt, Lmma
from isa.manual_example import EXAMPLE
from isa.program import LONGEST_TEXT, MOST_BUFFERS
from isa.program_file import LARGEST_PROGRAM_BYTES

PROGRAM = assemble_program(EXAMPLE)
FILE = program_bytes(PROGRAM)
HEADER_SIZE = int.from_bytes(FILE[12:16], "little")
HEADER, WORDS = FILE[16 : 16 + HEADER_SIZE], FILE[16 + HEADER_SIZE : -32]


def file_of(header=HEADER, words=WORDS, prefix=b"bitloomP\1\0\0\0"):
    """A file whose checksum is right."""
    content = prefix + len(header).to_bytes(4, "little") + header + words
    return content + hashlib.sha256(content).digest()


def header_with(**changes):
    return json.dumps(json.loads(HEADER) | changes, ensure_ascii=False, separators=(",", ":")).encode()


def read_or_refused(data):
    """The program, which is written as the same bytes; None if it is refused."""
    try:
        program = program_of(data, "file")
    except InputError:
        return None
    assert program_bytes(program) == data
    return program


@given(programs())
@settings(max_examples=50)
def test_a_program_is_read_back_from_its_file(program):
    data = program_bytes(program)
    assert program_of(data, "file") == program
    assert program_bytes(program_of(data, "file")) == data


def test_a_file_lies_as_documented():
    assert file_of() == FILE
    assert json.loads(HEADER)["unit"] == asdict(PROGRAM.unit)
    assert json.loads(HEADER)["instructions"] == len(PROGRAM.instructions)
    assert b"".join(encode(item) for item in PROGRAM.instructions) == WORDS


def test_a_file_of_another_bitloom_is_read():
    assert program_of(file_of(header_with(bitloom="0.0.9")), "file") == PROGRAM


def test_a_file_is_read_from_its_path(tmp_path):
    path = tmp_path / "tile.bin"
    path.write_bytes(FILE)
    assert read_program(path) == PROGRAM
    for bad in (tmp_path, tmp_path / "none.bin"):
        with pytest.raises(InputError, match="no file"):
            read_program(bad)
    with path.open("wb") as stream:
        stream.write(FILE[:16])
        stream.truncate(1 << 40)  # sparse
    with pytest.raises(InputError, match="size: found more than"):
        read_program(path)


def test_the_largest_program_has_a_file():
    text = "\U00010330" * (LONGEST_TEXT - 4)  # four bytes each
    buffers = tuple(
        Buffer(f"{item:04}{text}", "weights", "accumulator", 0, 0, f"{item:04}{text}") for item in range(MOST_BUFFERS)
    )
    program = Program((Halt(),), buffers, UNIT)
    data = program_bytes(program)
    assert len(data) <= LARGEST_PROGRAM_BYTES
    assert program_of(data, "file") == program


def changed(**changes):
    return file_of(header_with(**changes))


UNIT_FIELDS, BUFFER = asdict(PROGRAM.unit), asdict(PROGRAM.buffers[0])


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        (b"", "magic", "bitloomP"),
        (b"GGUF" + FILE[4:], "magic", "bitloomP"),
        (FILE[:9], "size", "truncated"),
        (FILE[:40], "size", "truncated"),
        (FILE[:-1], "checksum", "damaged"),
        (FILE[:200] + b"\0" + FILE[201:], "checksum", "damaged"),
        (file_of(prefix=b"bitloomP\2\0\0\0"), "version", "1, the one"),
        (file_of(prefix=b"bitloomP\0\0\0\0"), "version", "1, the one"),
        (file_of(words=WORDS[:-32]), "header.instructions", "times 32"),
        (file_of(words=WORDS + b"\0"), "header.instructions", "times 32"),
        (file_of(words=WORDS[:32] + b"\xff" * 32 + WORDS[64:]), "instructions[1]", "opcode is one of"),
        (file_of(words=WORDS[:32] + encode(Halt()) + WORDS[64:]), "instructions[1]", "halt as the last"),
        (file_of(b"\xff"), "header", "JSON in UTF-8"),
        (file_of(b"{"), "header", "JSON in UTF-8"),
        (file_of(b"[" * 100_000), "header", "JSON in UTF-8"),
        (file_of(b"9" * 10_000), "header", "JSON in UTF-8"),
        (file_of(b" " * 4_722_689), "header", "at most 4722688"),
        (file_of(b"[]"), "header", "a JSON object of bitloom"),
        (file_of(b"{}"), "header", "a JSON object of bitloom"),
        (file_of(HEADER + b" "), "header", "JSON as"),
        (file_of(HEADER[:-1] + b',"bitloom":"0"}'), "header", "JSON as"),
        (file_of(HEADER.replace(b'"m":2', b'"m":NaN')), "unit.m", "an integer of 1"),
        (file_of(HEADER.replace(b'"m":2', b'"m":2.0')), "unit.m", "an integer of 1"),
        (file_of(HEADER.replace(b'"m":2', b'"m":true')), "unit.m", "an integer of 1"),
        (file_of(HEADER.replace(b'"m":2', b'"m":1e999')), "unit.m", "an integer of 1"),
        (changed(age=3), "header", "a JSON object of bitloom"),
        (changed(bitloom=3), "header.bitloom", "the version"),
        (changed(bitloom="\n"), "header.bitloom", "the version"),
        (changed(instructions=-1), "header.instructions", "-1 times"),
        (changed(instructions=True), "header.instructions", "their number"),
        (changed(buffers={}), "header.buffers", "a list"),
        (changed(unit=[]), "unit", "a JSON object of kind"),
        (changed(unit=UNIT_FIELDS | {"kind": "tpu"}), "unit.kind", "one of lut"),
        (changed(unit=UNIT_FIELDS | {"kind": ["lut"]}), "unit.kind", "one of lut"),
        (changed(unit=UNIT_FIELDS | {"weight_bytes": (1 << 31) + 1}), "unit.weight_bytes", "0 to 2147483648"),
        (changed(unit=UNIT_FIELDS | {"weight_bytes": 8}), None, ""),
        (changed(unit=UNIT_FIELDS | {"queue_depth": 0}), "unit.queue_depth", "1 to"),
        (changed(unit={"kind": "lut"}), "unit", "a JSON object of kind"),
        (changed(buffers=[3]), "buffers[0]", "a JSON object of name"),
        (changed(buffers=[BUFFER, BUFFER]), "buffers[1]", "a name of its own"),
        (changed(buffers=[BUFFER | {"role": "bias"}]), "buffers[0].role", "one of input"),
        (changed(buffers=[BUFFER | {"space": "weight"}]), None, ""),
        (changed(buffers=[BUFFER | {"space": "weight", "address": 1}]), "buffers[0]", "within the 32 of weight"),
        (changed(buffers=[BUFFER | {"size_bytes": -1}]), "buffers[0].size_bytes", "0 to"),
        (changed(buffers=[BUFFER | {"name": ""}]),
         "buffers[0].name", "1 to 256"),
        (file_of(HEADER.replace(b'"name":"weights"', b'"name":"\\ud800"')), "buffers[1].name", "printable"),
        (changed(buffers=[BUFFER | {"name": str(item)} for item in range(2049)]), "buffers[2048]", "at most 2048"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_named(data, field, expected):
    if field is None:
        assert read_or_refused(data) is not None
        return
    with pytest.raises(InputError) as caught:
        program_of(data, "file")
    assert (caught.value.source, caught.value.field) == ("file", field)
    assert expected in str(caught.value)


def test_more_than_the_largest_program_is_refused():
    with pytest.raises(InputError, match="size"):
        program_of(FILE + bytes(LARGEST_PROGRAM_BYTES), "file")
    fence = (5).to_bytes(32, "little")
    header = header_with(instructions=65537)
    with pytest.raises(InputError, match=r"size: found more than|at most 65536"):
        program_of(file_of(header, fence * 65536 + encode(Halt())), "file")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    assert read_or_refused(data) is None
    assert read_or_refused(b"bitloomP\1\0\0\0" + data) is None


@given(st.integers(0, len(FILE) - 1), st.integers(0, 255), st.integers(0, len(FILE)))
def test_damaged_files_are_refused(position, value, size):
    data = FILE[:position] + bytes([value]) + FILE[position + 1 :]
    assert (read_or_refused(data) is not None) == (data == FILE)
    assert (read_or_refused(FILE[:size]) is not None) == (size == len(FILE))


# Behind the version of the bitloom that wrote it, which another one replaces by its own.
@given(st.integers(HEADER.index(b'"unit"'), HEADER_SIZE - 1), st.integers(0, 3), st.binary(max_size=3))
@settings(max_examples=200)
def test_random_changes_of_the_header_are_refused_or_change_the_program(position, size, data):
    read_or_refused(file_of(HEADER[:position] + data + HEADER[position + size :]))


_WORDS = st.builds(
    lambda instruction, rest: bytes([instruction.OPCODE]) + rest,
    st.sampled_from(INSTRUCTIONS),
    st.binary(min_size=31, max_size=31) | st.binary(max_size=26).map(lambda rest: rest.ljust(31, b"\0")),
)


@given(st.lists(_WORDS | st.binary(min_size=32, max_size=32), max_size=3))
@settings(max_examples=200)
def test_random_words_are_refused_or_are_a_program(words):
    words = [*words, encode(Halt())]
    read_or_refused(file_of(header_with(instructions=len(words)), b"".join(words)))


@given(st.integers(0, len(WORDS) - 1), st.integers(0, 7))
@settings(max_examples=200)
def test_a_flipped_bit_of_an_instruction_is_refused_or_is_another_program(position, bit):
    words = bytearray(WORDS)
    words[position] ^= 1 << bit
    program = read_or_refused(file_of(words=bytes(words)))
    assert program != PROGRAM


def test_some_flipped_bits_are_other_programs():
    """Of the tile multiplication: another pointer, another size."""
    start = 32 * next(index for index, item in enumerate(PROGRAM.instructions) if isinstance(item, Lmma))
    words = int.from_bytes(WORDS, "little") ^ 1 << 8 * start + 218
    program = read_or_refused(file_of(words=words.to_bytes(len(WORDS), "little")))
    assert program is not None
    assert sum(one != other for one, other in zip(program.instructions, PROGRAM.instructions, strict=True)) == 1
