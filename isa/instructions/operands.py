"""What the fields of an instruction are: their width, range and names. The instruction set is the dataclasses of the
neighbouring files; each declares its fields with the functions of this one, and the encoder, the assembler, the manual
and the decoder constants of the RTL read those declarations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ADDRESS_BITS",
    "MOST_TOKENS",
    "POINTERS",
    "TOKENS",
    "Operand",
    "choice",
    "flag",
    "number",
    "pointer",
    "tokens",
]

POINTERS = 32
"""Address registers of the front end."""
TOKENS = 16
"""Token counters."""
MOST_TOKENS = 255
"""Tokens that a counter holds; another one is an error of the program."""
ADDRESS_BITS = 48

METADATA_KEY = "operand"


@dataclass(frozen=True)
class Operand:
    """A field of an instruction.

    Parameters
    ----------
    bits : int
        Width in the binary.
    text : str
        What it means, one line of the manual.
    least : int
        The least value of a number; the binary holds `value - least` (so that sizes of 1 to 2^bits fit).
    signed : bool
        Whether the binary is two's complement.
    choices : sequence of str
        Names of the values of a choice, in the order of their binary codes; empty for numbers.
    suffix : str or None
        None: written as `name=value`. Otherwise part of the mnemonic; the text stands before the value (`m` in
        `m2n64k4`), and a value whose text is empty follows a dot.
    kind : {"number", "pointer", "choice", "tokens"}
    """

    bits: int
    text: str
    least: int = 0
    signed: bool = False
    choices: tuple[str, ...] = ()
    suffix: str | None = None
    kind: str = "number"

    @property
    def values(self) -> range:
        """The numbers that it can hold (of a choice: its codes; of tokens: the masks)."""
        if self.choices:
            return range(len(self.choices))
        if self.signed:
            return range(-(1 << self.bits - 1), 1 << self.bits - 1)
        return range(self.least, self.least + (1 << self.bits))


def number(bits: int, text: str, *, least: int = 0, signed: bool = False, suffix: str | None = None) -> Any:
    """A field that is an integer."""
    return field(metadata={METADATA_KEY: Operand(bits, text, least, signed, suffix=suffix)})


def pointer(text: str) -> Any:
    """A field that names an address register."""
    return field(metadata={METADATA_KEY: Operand((POINTERS - 1).bit_length(), text, kind="pointer")})


def choice(bits: int, choices: Sequence[str], text: str) -> Any:
    """A field that is one of a list of names, part of the mnemonic."""
    operand = Operand(bits, text, choices=tuple(choices), suffix="", kind="choice")
    return field(metadata={METADATA_KEY: operand})


def flag(off: str, on: str, text: str) -> Any:
    """A field of one bit, written as one of two names in the mnemonic."""
    return choice(1, (off, on), text)


def tokens(text: str) -> Any:
    """A set of token counters, one bit each; none by default."""
    return field(default=frozenset(), metadata={METADATA_KEY: Operand(TOKENS, text, kind="tokens")})
