"""The reference manual of the instruction set, in Markdown, made of what the instructions declare of themselves.

`isa/MANUAL.md` is what `manual` gives; its words are docstrings of the classes and texts of their fields.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import fields
from textwrap import TextWrapper

from isa import program_file
from isa.assembler import assemble_program
from isa.decoder import DECODER, Word, WordField, word_of
from isa.disassembler import instruction_text, mnemonic_parts
from isa.instructions import INSTRUCTIONS, EngineInstruction, Instruction
from isa.instructions.operands import Operand
from isa.instructions.types import ACCUMULATOR_TYPES, ACTIVATION_TYPES, ELEMENT_DTYPES, SCALE_TYPES, WEIGHT_TYPES
from isa.manual_example import EXAMPLE
from isa.program import MOST_INSTRUCTIONS, Buffer, Unit

__all__ = ["manual", "summary", "syntax"]

_WIDTH = 120

_INTRODUCTION = f"""\
# The mpGEMM instruction set

This file is what `bitloom isa doc` prints.

## The machine

A front end executes the program in order. `set`, `step`, `loop`, `end`, `fence` and `halt` it executes itself; every
other instruction it hands to one of {len(DECODER.engines)} engines, {{engines}}, with the addresses that its pointers
hold at that moment. Each engine has a queue and executes it in order, one instruction after the other; the front end
waits while a queue is full. Engines are not ordered among each other but by tokens and fences.

**Tokens.** There are {DECODER.tokens} counters, of up to {DECODER.most_tokens} tokens each; all are empty at first. An
instruction starts when each counter in its `wait` has a token, takes one from each, and adds one to each counter in its
`signal` when it has finished. One more token than a counter holds is an error of the program. `sync` does nothing else;
with it a program gives the tokens of buffers that are free at first. `fence` waits until all engines are idle and
empties all counters.

**Pointers.** There are {DECODER.pointers} address registers, `p0` to `p{DECODER.pointers - 1}`, each with a base, an
offset and a ring, all 0 at first. `set` gives base and ring and puts the offset to 0, `step` adds to the offset. With a
ring of r bytes, r above 0, the offset is taken modulo r and is never negative: the parts of a double-buffered
scratchpad follow each other so. Loops do not restore pointers. Addresses are bytes.

**Loops** are up to {DECODER.deepest_loop} deep. The last instruction of a program, and no other, is `halt`; a program
has at most {MOST_INSTRUCTIONS} instructions.

**Spaces.** Memory, and the scratchpads {{scratchpads}}. Every space has addresses of its own from 0. Numbers in them
are little-endian.
"""

_WORDS = f"""\
## Words

An instruction is a word of {DECODER.word_bits} bits, {DECODER.word_bits // 8} bytes, the lowest first. The opcode
stands in the lowest {DECODER.opcode_bits} bits, the fields follow without gaps; the bits behind the last one are zero.
A number that is at least v is stored less v, a signed one in two's complement, a choice as the number before its name,
a set of tokens as one bit a counter.
"""

_LAYOUTS = """\
## Layouts

    activations   row after row, b bits each, a row begins at a byte
    tables        [row][group of K inputs][2^(K-1) entries], int16
    weights       [block of N columns][group of K inputs][N x K weights, whole bytes a group]
    accumulators  [row][column], 32 bits each

Entry i of a table is the sum of the K inputs of its group, the last taken negative, input j below it positive where bit
j of i is set and negative elsewhere. Fields are packed from the lowest bit of the first byte on.

A group of weights is N times K fields of b bits where activations are multiplied. Where tables are looked up, it is b
planes, the least significant first, of N fields of K bits: the highest says whether the entry is taken negative, the
others which entry it is. Write a code as an unsigned number of b bits, code + 2^(b-1), or (code + 2^b - 1) / 2 of odd
codes; bit p of the K numbers of a group is the field of plane p, with the bits below the highest inverted where that
is set (LUT Tensor Core, arXiv 2408.06003, eq. 2 to 6). A lookup in plane p counts 2^p times; the sum of all is that of
the inputs times 2 code + 1, or times the code itself where codes are odd.
"""

_TEXT = """\
## Text

A line holds `mnemonic.suffix name=value, name=value`. Operands stand in any order; `wait` and `signal` are left out
where they are empty. Numbers are decimal or `0x` hexadecimal, pointers `p0`, token counters `{{0,3}}`; `#` begins a
comment. A program begins with one `.unit`, what it was made for, of {unit}, and a `.buffer` for each piece of data that
it works on, of {buffer}; their values are separated by blanks. `bitloom isa asm` makes the binary of a text,
`bitloom isa disasm` the text of a binary.
"""


def manual() -> str:
    """The manual in Markdown."""
    engines, scratchpads = _names(DECODER.engines), _names(DECODER.scratchpads)
    unit, buffer = (_names(item.name for item in fields(record)) for record in (Unit, Buffer))
    sections = (
        _wrapped(_INTRODUCTION.format(engines=engines, scratchpads=scratchpads)),
        _wrapped(_WORDS),
        _words(),
        _types(),
        _LAYOUTS,
        _wrapped(_TEXT.format(unit=unit, buffer=buffer)),
        "## Files\n\n" + _file_layout(),
        "## A program\n\n```\n" + EXAMPLE + "```\n",
        "## Instructions\n",
        *map(_section, INSTRUCTIONS),
    )
    return "\n".join(sections)


def summary(instruction: type[Instruction]) -> str:
    """What an instruction does: its docstring."""
    return inspect.cleandoc(instruction.__doc__ or "")


def syntax(instruction: type[Instruction]) -> str:
    """The mnemonic with its suffixes, as `lutgen.k{k}.{activation}`."""
    parts = ("".join(f"{operand.suffix}{{{name}}}" for name, operand in part) for part in mnemonic_parts(instruction))
    return ".".join((instruction.MNEMONIC, *parts))


def _words() -> str:
    rows = (
        (f"`{word.mnemonic}`", f"0x{word.opcode:02x}", _engine(word), str(word.used_bits)) for word in DECODER.words
    )
    return _table(("instruction", "opcode", "executed by", "used bits"), rows)


def _types() -> str:
    activations = (
        (f"`{item.name}`", str(item.bits), "IEEE 754" if item.floating else "two's complement")
        for item in ACTIVATION_TYPES.values()
    )
    codings = {
        "twos_complement": "two's complement",
        "odd": "field f of b bits is the odd integer 2f - (2^b - 1)",
        "float": "IEEE 754",
    }
    weights = ((f"`{item.name}`", str(item.bits), codings[item.coding]) for item in WEIGHT_TYPES.values())
    elements = ((f"`{name}`", str(8 * dtype.itemsize)) for name, dtype in ELEMENT_DTYPES.items())
    accumulators, scales = _names(ACCUMULATOR_TYPES), _names(SCALE_TYPES)
    return (
        "## Types\n\nActivations:\n\n"
        + _table(("activation", "bits", "coding"), activations)
        + "\nWeights; `ternary` is stored as `int2`, its codes are -1, 0 and 1:\n\n"
        + _table(("weight", "bits", "coding"), weights)
        + f"\nAccumulators are {accumulators}, scales of columns {scales}, scales of rows `fp32`. Stored elements:\n\n"
        + _table(("element", "bits"), elements)
    )


def _file_layout() -> str:
    """The picture in the module that reads and writes files."""
    return inspect.cleandoc(program_file.__doc__ or "").split("\n\n")[1] + "\n"


def _section(instruction: type[Instruction]) -> str:
    word = word_of(instruction)
    opcode = (_bits(0, DECODER.opcode_bits), "opcode", f"0x{word.opcode:02x}", "")
    suffixes = {name for part in mnemonic_parts(instruction) for name, _ in part}
    rows = [opcode, *(_field_row(field, field.name in suffixes) for field in word.fields)]
    return (
        f"### `{syntax(instruction)}`\n\n"
        f"{_wrapped(summary(instruction))}\n\n"
        f"Executed by: {_engine(word)}.\n\n"
        f"```\n{_example_line(instruction)}\n```\n\n" + _table(("bits", "field", "values", "meaning"), rows)
    )


def _field_row(field: WordField, in_mnemonic: bool) -> tuple[str, str, str, str]:
    name = f"`{field.name}`" + (", in the mnemonic" if in_mnemonic else "")
    return _bits(field.offset, field.width), name, _values(field), field.meaning


def _values(field: WordField) -> str:
    if field.kind == "choice":
        return ", ".join(f"{code} `{name}`" for code, name in enumerate(field.choices))
    if field.kind == "pointer":
        return f"`p0` to `p{(1 << field.width) - 1}`"
    if field.kind == "tokens":
        return f"counters 0 to {field.width - 1}, one bit each"
    values = Operand(field.width, field.meaning, field.least, field.signed).values
    return f"{values[0]} to {values[-1]}" + (f", stored less {field.least}" if field.least else "")


def _engine(word: Word) -> str:
    if word.on_front_end:
        return "the front end"
    return f"`{word.engine}`" if word.engine else "the engine that is named"


def _example_line(instruction: type[Instruction]) -> str:
    uses = [item for item in assemble_program(EXAMPLE).instructions if isinstance(item, instruction)]
    # Of engine instructions rather one that waits and signals.
    uses.sort(key=lambda item: isinstance(item, EngineInstruction) and -bool(item.wait) - bool(item.signal))
    return instruction_text(uses[0])


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _wrapped(text: str) -> str:
    """Paragraphs with their lines filled anew."""
    wrapper = TextWrapper(width=_WIDTH, break_long_words=False, break_on_hyphens=False)
    filled = "\n\n".join(map(wrapper.fill, text.rstrip().split("\n\n")))
    return filled + "\n" * text.endswith("\n")


def _bits(offset: int, width: int) -> str:
    return f"{offset}" if width == 1 else f"{offset} to {offset + width - 1}"


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"{line}\n" for line in _table_lines(headings, rows))


def _table_lines(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield f"| {' | '.join(row)} |"
