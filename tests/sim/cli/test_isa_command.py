"""`bitloom isa`, as users and scripts rely on it."""

import json
import subprocess
import sys
from pathlib import Path

from isa import assemble_program, program_bytes
from isa.manual import manual
from isa.manual_example import EXAMPLE


def bitloom(*arguments, code=0):
    command = [Path(sys.executable).parent / "bitloom", "isa", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_a_source_is_not_replaced_by_what_is_made_of_it(tmp_path):
    source = tmp_path / "tile.s"
    source.write_text(EXAMPLE, encoding="utf-8")
    assert "another file" in bitloom("asm", source, "--out", tmp_path / "." / "tile.s", code=2)[1]
    assert source.read_text(encoding="utf-8") == EXAMPLE


def test_doc_prints_or_writes_the_manual(tmp_path):
    assert bitloom("doc")[0] == manual()
    bitloom("doc", "--out", tmp_path / "new" / "manual.md")
    assert (tmp_path / "new" / "manual.md").read_text(encoding="utf-8") == manual()


def test_text_goes_to_a_file_and_back(tmp_path):
    source, binary, text = tmp_path / "tile.s", tmp_path / "tile.bin", tmp_path / "again.s"
    source.write_text(EXAMPLE, encoding="utf-8")
    program = assemble_program(EXAMPLE)
    document = json.loads(bitloom("asm", source, "--out", binary, "--json")[0])
    assert document == {
        "out": str(binary),
        "size_bytes": len(program_bytes(program)),
        "instructions": len(program.instructions),
        "executed_instructions": 17,
        "buffers": 5,
        "memory_bytes": 0x100,
    }
    assert binary.read_bytes() == program_bytes(program)
    printed, _ = bitloom("disasm", binary)
    bitloom("disasm", binary, "--out", text)
    assert text.read_text(encoding="utf-8") == printed
    again = tmp_path / "again.bin"
    assert f"{len(program.instructions)} instructions" in bitloom("asm", text, "--out", again)[0]
    assert again.read_bytes() == binary.read_bytes()


def test_bad_input_is_one_message_and_leaves_nothing_behind(tmp_path):
    source, binary = tmp_path / "tile.s", tmp_path / "tile.bin"
    source.write_text(EXAMPLE.replace("lutgen.k4", "lutgen.k9"), encoding="utf-8")
    out, message = bitloom("asm", source, "--out", binary, code=2)
    assert out == ""
    assert "line 15, column 9: found 9" in message
    assert not binary.exists()
    source.write_bytes(b"halt\xff")
    assert "byte 4" in bitloom("asm", source, "--out", binary, code=2)[1]
    assert "no file" in bitloom("asm", tmp_path, "--out", binary, code=2)[1]
    assert "magic" in bitloom("disasm", source, code=2)[1]
    assert "no file" in bitloom("disasm", tmp_path / "none", code=2)[1]


def test_help_has_examples():
    text, _ = bitloom("--help")
    for command in ("doc", "asm", "disasm"):
        assert f"bitloom isa {command} " in text
    assert "Example: bitloom isa asm" in bitloom("asm", "--help")[0]
