"""Instructions as binary words of 32 bytes, and back. Where a field lies is the subject of `isa.decoder`; files of
words that of `isa.program_file`.

A word and an instruction stand for each other one to one: what `decode` accepts, `encode` gives back bit by bit.
"""

from __future__ import annotations

from typing import Any

from isa.decoder import OPCODE_BITS, WORD_BYTES, WordField, word_of
from isa.instructions import INSTRUCTIONS, Instruction

__all__ = ["decode", "encode"]

_BY_OPCODE = {instruction.OPCODE: instruction for instruction in INSTRUCTIONS}


def encode(instruction: Instruction) -> bytes:
    """The word of an instruction: 32 bytes, the lowest bits first."""
    word = word_of(type(instruction))
    bits = word.opcode
    for field in word.fields:
        bits |= _bits_of(getattr(instruction, field.name), field) << field.offset
    return bits.to_bytes(WORD_BYTES, "little")


def decode(word: bytes) -> Instruction:
    """The instruction that a word stands for.

    Raises
    ------
    ValueError
        If the word has another size, an unknown opcode, a code that no choice has, bits behind its last field, or
        fields that do not go together; the message names which.
    """
    if len(word) != WORD_BYTES:
        raise ValueError(f"a word has {WORD_BYTES} bytes, found {len(word)}")
    bits = int.from_bytes(word, "little")
    opcode = bits & (1 << OPCODE_BITS) - 1
    instruction = _BY_OPCODE.get(opcode)
    if instruction is None:
        known = ", ".join(f"0x{code:02x}" for code in _BY_OPCODE)
        raise ValueError(f"opcode is one of {known}, found 0x{opcode:02x}")
    layout = word_of(instruction)
    if bits >> layout.used_bits:
        raise ValueError(f"{layout.mnemonic}: bits from {layout.used_bits} on are zero, found others")
    values: dict[str, Any] = {
        field.name: _value_of(bits >> field.offset & (1 << field.width) - 1, field, layout.mnemonic)
        for field in layout.fields
    }
    return instruction(**values)


def _bits_of(value: Any, field: WordField) -> int:
    if field.kind == "choice":
        return field.code(value)
    if field.kind == "tokens":
        return sum(1 << counter for counter in value)
    number: int = value - field.least
    return number & (1 << field.width) - 1


def _value_of(bits: int, field: WordField, mnemonic: str) -> Any:
    if field.kind == "choice":
        if bits >= len(field.choices):
            raise ValueError(f"{mnemonic}: {field.name} has codes 0 to {len(field.choices) - 1}, found {bits}")
        return field.choices[bits]
    if field.kind == "tokens":
        return frozenset(counter for counter in range(field.width) if bits >> counter & 1)
    if field.signed and bits >> field.width - 1:
        return bits - (1 << field.width)
    return bits + field.least
