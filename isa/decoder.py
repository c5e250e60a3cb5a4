"""What a decoder needs to know: where each field of an instruction lies in its word, and how many there are of what.

Everything follows from the dataclasses of `isa.instructions`; the encoder, the manual and the RTL read it here, so that
a number of the instruction set is written once.

    bit 0       8                                              used bits      256
        │ opcode │ first field │ second field │ ... │ last field │ zeros │
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.instructions import DEEPEST_LOOP, INSTRUCTIONS, EngineInstruction, Instruction, operands_of
from isa.instructions.operands import ADDRESS_BITS, MOST_TOKENS, POINTERS, TOKENS
from isa.instructions.types import ENGINES, SCRATCHPADS, Engine, Space

__all__ = ["DECODER", "OPCODE_BITS", "WORD_BITS", "WORD_BYTES", "Decoder", "Word", "WordField", "word_of"]

WORD_BITS = 256
"""Width of every instruction in the binary; words are little-endian."""
WORD_BYTES = WORD_BITS // 8
OPCODE_BITS = 8


@dataclass(frozen=True)
class WordField:
    """Bits of a word.

    Parameters
    ----------
    name : str
        The operand that they hold.
    offset, width : int
        The lowest bit, and how many there are.
    kind : {"number", "pointer", "choice", "tokens"}
    least : int
        Of an unsigned number: what is added to the bits to get the value.
    signed : bool
        Whether the bits are two's complement.
    choices : tuple of str
        Of a choice: the names of the codes 0, 1, ...; other codes are illegal.
    meaning : str
    """

    name: str
    offset: int
    width: int
    kind: str
    least: int
    signed: bool
    choices: tuple[str, ...]
    meaning: str

    def code(self, choice: str) -> int:
        """The bits that stand for a name; ValueError if it is none of the choices."""
        return self.choices.index(choice)


@dataclass(frozen=True)
class Word:
    """How an instruction lies in its word.

    Parameters
    ----------
    mnemonic : str
    opcode : int
    engine : str or None
        Who executes it; None: the front end, or for `sync` the engine that its field `unit` names.
    on_front_end : bool
    fields : tuple of WordField
        From the lowest bit to the highest, without gaps; the bits behind them are zero.
    """

    mnemonic: str
    opcode: int
    engine: Engine | None
    on_front_end: bool
    fields: tuple[WordField, ...]

    @property
    def used_bits(self) -> int:
        """Bits from the opcode to the last field."""
        return OPCODE_BITS + sum(field.width for field in self.fields)

    def field(self, name: str) -> WordField:
        """The field of that name; KeyError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)


@dataclass(frozen=True)
class Decoder:
    """The constants of the instruction set.

    Parameters
    ----------
    word_bits, opcode_bits, address_bits : int
    pointers, tokens : int
        Address registers and token counters.
    most_tokens : int
        What a counter holds.
    deepest_loop : int
    engines, scratchpads : tuple of str
    words : tuple of Word
        One an instruction.
    """

    word_bits: int
    opcode_bits: int
    address_bits: int
    pointers: int
    tokens: int
    most_tokens: int
    deepest_loop: int
    engines: tuple[Engine, ...]
    scratchpads: tuple[Space, ...]
    words: tuple[Word, ...]

    def word(self, mnemonic: str) -> Word:
        """The word of an instruction; KeyError if there is none of that name."""
        for word in self.words:
            if word.mnemonic == mnemonic:
                return word
        raise KeyError(mnemonic)


def _word(instruction: type[Instruction]) -> Word:
    placed, offset = list[WordField](), OPCODE_BITS
    for name, operand in operands_of(instruction).items():
        placed.append(
            WordField(
                name, offset, operand.bits, operand.kind, operand.least, operand.signed, operand.choices, operand.text
            )
        )
        offset += operand.bits
    engine = instruction.ENGINE if issubclass(instruction, EngineInstruction) else None
    on_front_end = not issubclass(instruction, EngineInstruction)
    return Word(instruction.MNEMONIC, instruction.OPCODE, engine, on_front_end, tuple(placed))


_WORDS = {instruction: _word(instruction) for instruction in INSTRUCTIONS}


def word_of(instruction: type[Instruction]) -> Word:
    """The word of an instruction class."""
    return _WORDS[instruction]


DECODER = Decoder(
    word_bits=WORD_BITS,
    opcode_bits=OPCODE_BITS,
    address_bits=ADDRESS_BITS,
    pointers=POINTERS,
    tokens=TOKENS,
    most_tokens=MOST_TOKENS,
    deepest_loop=DEEPEST_LOOP,
    engines=ENGINES,
    scratchpads=SCRATCHPADS,
    words=tuple(_WORDS.values()),
)
