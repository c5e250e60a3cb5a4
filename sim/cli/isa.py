"""`bitloom isa`: the instruction set's manual, its assembler and its disassembler."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isa import InputError, assemble_program, disassemble_program, program_bytes, read_program
from isa.assembler import LONGEST_ASSEMBLY
from isa.manual import manual
from isa.program import Program
from sim.cli.output import JsonOption, print_json, print_text
from workloads.files import whole_file

__all__ = ["app"]

app = typer.Typer(
    name="isa",
    no_args_is_help=True,
    help="""The mpGEMM instruction set: its manual, its assembler, its disassembler.

    bitloom isa doc --out MANUAL.md

    bitloom isa asm tile.s --out tile.bin

    bitloom isa disasm tile.bin""",
)

TextOut = Annotated[Path | None, typer.Option(help="File to write instead of standard output.")]


@app.command("doc")
def doc_command(out: TextOut = None) -> None:
    """Print the reference manual in Markdown: engines, tokens, words, every instruction with its fields and an example.

    Example: `bitloom isa doc --out MANUAL.md`
    """
    _give(manual(), out)


@app.command("asm")
def asm_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Assembly, as `bitloom isa doc` describes it.")],
    out: Annotated[Path, typer.Option(help="Program file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Assemble a program.

    Example: `bitloom isa asm tile.s --out tile.bin`
    """
    _refuse_same(source, out)
    program = assemble_program(_text(source), str(source))
    data = program_bytes(program)
    with whole_file(out) as partial:
        partial.write_bytes(data)
    if as_json:
        print_json(_document(program, out, len(data)))
        return
    print_text(
        f"{out}: {len(program.instructions):,} instructions, {program.executed_instructions:,} executed by engines, "
        f"{len(program.buffers):,} buffers, {len(data):,} bytes"
    )


@app.command("disasm")
def disasm_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Program file.")],
    out: TextOut = None,
) -> None:
    """Print a program file as assembly, which `bitloom isa asm` turns into the same file again.

    Example: `bitloom isa disasm tile.bin --out tile.s`
    """
    _refuse_same(source, out)
    _give(disassemble_program(read_program(source)), out)


def _refuse_same(source: Path, out: Path | None) -> None:
    """A file is not replaced by what was made of it."""
    if out is not None and out.resolve() == source.resolve():
        raise InputError(out, "--out", "the file that is read", "another file")


def _give(text: str, out: Path | None) -> None:
    if out is None:
        print_text(text.removesuffix("\n"))
        return
    with whole_file(out) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise InputError(path, "file", "no file", "a text of assembly")
        with path.open("rb") as stream:
            data = stream.read(LONGEST_ASSEMBLY + 1)
    except OSError as error:
        raise InputError(path, "file", error.strerror or str(error), "a file that can be read") from error
    if len(data) > LONGEST_ASSEMBLY:
        raise InputError(path, "size", f"more than {LONGEST_ASSEMBLY} bytes", f"at most {LONGEST_ASSEMBLY}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(path, f"byte {error.start}", data[error.start : error.end], "UTF-8") from error


def _document(program: Program, out: Path, size_bytes: int) -> dict[str, object]:
    return {
        "out": str(out),
        "size_bytes": size_bytes,
        "instructions": len(program.instructions),
        "executed_instructions": program.executed_instructions,
        "buffers": len(program.buffers),
        "memory_bytes": program.memory_bytes,
    }
