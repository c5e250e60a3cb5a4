"""What the front end hands to engines: the fields of an instruction's word, with addresses in place of pointers.

Names, widths and codes come from `isa.decoder`; here is only how they become Amaranth layouts. A number is handed on as
its word has it, which is `least` below its value: the `rows` of a command are the index of the last row.
"""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Signal, Value, unsigned
from amaranth.lib import data

from isa.decoder import DECODER, Word
from isa.instructions.types import ENGINES, Engine

__all__ = ["WORK_OF", "any_of", "code_of", "command_layout", "masks_layout"]

WORK_OF: dict[Engine, Word] = {
    engine: next(word for word in DECODER.words if word.engine == engine) for engine in ENGINES
}
"""The one instruction besides `sync` that each engine executes."""


def masks_layout() -> data.StructLayout:
    """Which counters something concerns, a bit each."""
    return data.StructLayout({"wait": DECODER.tokens, "signal": DECODER.tokens})


def command_layout(engine: Engine) -> data.StructLayout:
    """A command of an engine: `sync`, 1 where it only takes and gives tokens; `wait` and `signal`; then every field of
    its instruction, pointers as byte addresses of `address_bits`."""
    members = {"sync": unsigned(1)}
    for field in WORK_OF[engine].fields:
        members[field.name] = unsigned(DECODER.address_bits if field.kind == "pointer" else field.width)
    return data.StructLayout(members)


def code_of(engine: Engine, field: str, choice: str) -> int:
    """The bits that stand for a choice in a field of an engine's instruction."""
    return WORK_OF[engine].field(field).code(choice)


def any_of(value: Value | Signal, codes: Iterable[int]) -> Value:
    """Whether a value is one of some numbers."""
    numbers = sorted(set(codes))
    return value.matches(*numbers) if numbers else Value.cast(0)
