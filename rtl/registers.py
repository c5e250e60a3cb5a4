"""The registers of the control port as one table, which the hardware, the driver and the description are made of.

A host writes where a program lies and starts it, polls `status`, and reads counters. The hardware that answers is
`rtl.control`; the names of the signals of the port are those of `rtl.axi`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from textwrap import wrap
from typing import Any, Literal, get_args

from isa.decoder import DECODER
from isa.instructions.types import ENGINES, SCRATCHPADS
from isa.program import UnitKind
from rtl.configuration import Configuration
from rtl.errors import ErrorCode

__all__ = [
    "ADDRESS_BITS",
    "COUNTERS",
    "MAGIC",
    "REGISTERS",
    "SOURCES",
    "VERSION",
    "WORD_BYTES",
    "Access",
    "Counters",
    "Register",
    "RegisterField",
    "description",
    "register",
]

Access = Literal["constant", "command", "setting", "state", "counter"]

MAGIC = int.from_bytes(b"bitl", "little")
VERSION = 1
"""Of this table."""
WORD_BYTES = 4

SOURCES = (*ENGINES, "front end")
"""Who can raise an error; the code in `status` is the place here."""

_RULES = f"""\
Words of {8 * WORD_BYTES} bits over AXI4-Lite; the lowest two bits of an address are not looked at. A register of two
words has its low word first. Counters stand still while nothing is running. What is refused answers SLVERR and changes
nothing: an address without a register, a write to what can only be read, and while a program is running a write to a
setting, or of `start`.
"""

_ACCESS: dict[Access, str] = {
    "constant": "read",
    "command": "write one, reads 0",
    "setting": "read, write while not running",
    "state": "read",
    "counter": "read; since the last start",
}


@dataclass(frozen=True)
class RegisterField:
    """Bits of a register.

    Parameters
    ----------
    name : str
    lowest, width : int
    meaning : str
    constant : callable, optional
        Of a constant: its value for a configuration.
    """

    name: str
    lowest: int
    width: int
    meaning: str
    constant: Callable[[Configuration], int] | None = None


@dataclass(frozen=True)
class Register:
    """A register of one or two words.

    Parameters
    ----------
    name : str
    offset : int
        Byte address of its low word; the high one follows.
    access : {"constant", "command", "setting", "state", "counter"}
        Of a "command" ones are written and zeros read; a "setting" can be written while nothing runs; the others are
        read alone.
    words : int
    fields : tuple of RegisterField
        From the lowest bit on; bits between and behind them are read as zeros.
    meaning : str
    """

    name: str
    offset: int
    access: Access
    words: int
    fields: tuple[RegisterField, ...]
    meaning: str

    def field(self, name: str) -> RegisterField:
        """The field of that name; KeyError if there is none."""
        for item in self.fields:
            if item.name == name:
                return item
        raise KeyError(name)

    def extract(self, name: str, value: int) -> int:
        """A field's number, of the register's value."""
        item = self.field(name)
        return value >> item.lowest & (1 << item.width) - 1

    def mask(self, *names: str) -> int:
        """The bits of some fields."""
        return sum((1 << item.width) - 1 << item.lowest for item in self.fields if item.name in names)

    def value(self, configuration: Configuration) -> int:
        """What is read after reset: of a constant its value, of others zero."""
        return sum(item.constant(configuration) << item.lowest for item in self.fields if item.constant)


def _counts(meaning: str) -> Any:
    return field(metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What was counted of a run, by the names of the registers.

    A load, store or other engine works in a cycle also when it is waiting for what its command needs; waiting for
    tokens is none of its work.
    """

    cycles: int = _counts("from the first instruction executed to the end")
    fetch_cycles: int = _counts("cycles in which the program is fetched")
    load_cycles: int = _counts("cycles in which the load engine works")
    table_cycles: int = _counts("cycles in which the table engine works")
    array_cycles: int = _counts("cycles in which the array engine works")
    scale_cycles: int = _counts("cycles in which the scale engine works")
    store_cycles: int = _counts("cycles in which the store engine works")
    load_commands: int = _counts("commands that the load engine has executed")
    table_commands: int = _counts("commands that the table engine has executed")
    array_commands: int = _counts("commands that the array engine has executed")
    scale_commands: int = _counts("commands that the scale engine has executed")
    store_commands: int = _counts("commands that the store engine has executed")
    array_steps: int = _counts("cycles in which the array takes operands")
    read_beats: int = _counts("beats read over the memory port, those of the program included")
    written_beats: int = _counts("beats written over the memory port")


COUNTERS: tuple[str, ...] = tuple(item.name for item in fields(Counters))
"""Names of the counters, in the order of their registers."""


def _exponent(name: str, lowest: int, meaning: str, value: Callable[[Configuration], int]) -> RegisterField:
    return RegisterField(
        f"{name}_exponent", lowest, 8, f"{meaning}: 2 to this", lambda item: value(item).bit_length() - 1
    )


def _constants() -> Iterator[tuple[str, str, tuple[RegisterField, ...]]]:
    """Name, meaning and fields of the registers that say what this is."""
    kinds = get_args(UnitKind)
    yield "magic", "the letters `bitl`", (RegisterField("magic", 0, 32, "", lambda _: MAGIC),)
    yield "version", "of this table", (RegisterField("version", 0, 32, "", lambda _: VERSION),)
    yield (
        *("shape", "the array"),
        (
            RegisterField("kind", 0, 8, _codes(kinds), lambda item: kinds.index(item.unit.kind)),
            _exponent("m", 8, "rows", lambda item: item.unit.m),
            _exponent("n", 16, "columns", lambda item: item.unit.n),
            _exponent("k", 24, "inputs", lambda item: item.unit.k),
        ),
    )
    yield (
        *("datapath", "what is done in a cycle"),
        (
            RegisterField("weight_bits", 0, 8, "bits of a weight", lambda item: item.weight_bits),
            RegisterField("tables_per_cycle", 8, 8, "tables that are made", lambda item: item.tables_per_cycle),
            _exponent("scale_lanes", 16, "accumulators that are scaled", lambda item: item.scale_lanes),
            RegisterField("skips_zero_terms", 24, 1, "1: zero terms cost nothing", lambda item: item.skips_zero_terms),
        ),
    )
    yield (
        *("memory_port", "the memory port and who uses it"),
        (
            _exponent("bus_bytes", 0, "bytes of a beat", lambda item: item.bus_bytes),
            _exponent("outstanding_reads", 8, "read bursts on their way", lambda item: item.outstanding_reads),
            _exponent("instruction_words", 16, "instructions of the longest program", lambda c: c.instruction_words),
        ),
    )
    yield (
        *("pipeline", "cycles from the last operands to the tokens of the result"),
        (
            RegisterField("array_cycles", 0, 16, "of the array", lambda item: item.array_pipeline_cycles),
            RegisterField("scale_cycles", 16, 16, "of scaling", lambda item: item.scale_pipeline_cycles),
        ),
    )
    depth = RegisterField("depth", 0, 16, "instructions", lambda item: item.unit.queue_depth)
    yield "queue", "what the queue of an engine holds", (depth,)
    for name in SCRATCHPADS:
        size = RegisterField("bytes", 0, 32, "", lambda item, name=name: item.unit.size_bytes(name))  # type: ignore[misc]
        yield f"{name}_bytes", f"size of the {name} scratchpad", (size,)


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(f"{code} {name}" for code, name in enumerate(names))


def _table() -> Iterator[Register]:
    offset = 0

    def place(name: str, access: Access, meaning: str, *items: RegisterField, words: int = 1) -> Register:
        nonlocal offset
        placed = Register(name, offset, access, words, items, meaning)
        offset += words * WORD_BYTES
        return placed

    for name, meaning, items in _constants():
        yield place(name, "constant", meaning, *items)
    yield place(
        *("control", "command", "what is to be done"),
        RegisterField("start", 0, 1, "execute the program; refused while one is running"),
        RegisterField("stop", 1, 1, "end the program that is running, with the error `ABORTED`; else nothing"),
    )
    errors = ", ".join(f"{code.value} {code.name}" for code in ErrorCode)
    yield place(
        *("status", "state", "what has become of it, since the last start"),
        RegisterField("running", 0, 1, "a program is running"),
        RegisterField("finished", 1, 1, "it came to its end"),
        RegisterField("failed", 2, 1, "it was stopped by an error"),
        RegisterField("error", 8, 8, errors),
        RegisterField("source", 16, 8, f"who raised it: {_codes(SOURCES)}"),
    )
    address = RegisterField("address", 0, DECODER.address_bits, "bytes; higher bits are ignored")
    yield place("program_address", "setting", "where the program begins in memory", address, words=2)
    yield place("program_words", "setting", "its length", RegisterField("words", 0, 32, "instructions"))
    position = RegisterField("position", 0, 32, "an index of the program's instructions")
    yield place("position", "state", "where the front end is, or was when it stopped", position)
    for counter in fields(Counters):
        count = RegisterField("count", 0, 64, "")
        yield place(counter.name, "counter", counter.metadata["meaning"], count, words=2)


REGISTERS: tuple[Register, ...] = tuple(_table())
"""The table, by address and without gaps."""

ADDRESS_BITS = (REGISTERS[-1].offset + WORD_BYTES * REGISTERS[-1].words - 1).bit_length()
"""Width of the control port's addresses."""

_BY_NAME = {item.name: item for item in REGISTERS}


def register(name: str) -> Register:
    """The register of that name; KeyError if there is none."""
    return _BY_NAME[name]


def description(configuration: Configuration) -> str:
    """The registers of a unit in Markdown."""
    lines = [
        "# Control registers",
        "",
        *wrap(_RULES, 120),
        "",
        "| address | register | access | after reset | bits | meaning |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for item in REGISTERS:
        after_reset = f"{item.value(configuration):#x}"
        lines.append(
            f"| {item.offset:#05x} | `{item.name}` | {_ACCESS[item.access]} | {after_reset} | | {item.meaning} |"
        )
        for part in item.fields:
            bits = f"{part.lowest + part.width - 1}:{part.lowest}" if part.width > 1 else f"{part.lowest}"
            if len(item.fields) > 1 or part.meaning:
                lines.append(f"| | `.{part.name}` | | | {bits} | {part.meaning} |")
    return "\n".join([*lines, ""])
