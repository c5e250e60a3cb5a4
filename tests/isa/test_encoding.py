"""Every instruction is one 32-byte word, and every word is one instruction or refused."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instruction_examples import instructions

from isa.decoder import DECODER, OPCODE_BITS, WORD_BITS, WORD_BYTES, word_of
from isa.encoding import decode, encode
from isa.instructions import INSTRUCTIONS, End, Load, Loop, Step, Sync, operands_of
from isa.instructions.types import ENGINES


@given(instructions())
def test_words_are_read_back_as_the_instructions_that_they_were_made_of(instruction):
    word = encode(instruction)
    assert len(word) == WORD_BYTES == 32
    assert decode(word) == instruction


@given(st.sampled_from(INSTRUCTIONS), st.binary(min_size=31, max_size=31), st.booleans())
def test_a_random_word_is_refused_or_is_the_word_of_its_instruction(instruction, rest, cut):
    word = bytes([instruction.OPCODE]) + rest
    if cut:
        used = (1 << word_of(instruction).used_bits) - 1
        word = (int.from_bytes(word, "little") & used).to_bytes(32, "little")
    try:
        decoded = decode(word)
    except ValueError as error:
        assert instruction.MNEMONIC in str(error)  # noqa: PT017
    else:
        assert encode(decoded) == word


def test_bits_lie_where_the_manual_says():
    """By hand: opcode 0x02, p5 from bit 8, -2 in 48 bits from bit 13."""
    assert (
        encode(Step(target=5, stride_bytes=-2)).hex() == ((2 | 5 << 8 | (2**48 - 2) << 13).to_bytes(32, "little")).hex()
    )
    load = Load(
        wait=frozenset({0, 15}), signal=frozenset({1}), space="scale", source=31, target=1, rows=1, row_bytes=1 << 24,
        pitch_bytes=7,
    )  # fmt: skip
    fields = ((0x8001, 8), (2, 24), (4, 40), (31, 43), (1, 48), (0, 53), ((1 << 24) - 1, 77), (7, 101))
    assert int.from_bytes(encode(load), "little") == 0x10 | sum(value << offset for value, offset in fields)
    assert int.from_bytes(encode(Loop(count=1)), "little") == 0x03
    assert encode(End()) == b"\x04" + bytes(31)


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (0xFF, "opcode is one of 0x01, .* found 0xff"),
        (0x00, "found 0x00"),
        (0x04 | 1 << 8, "end: bits from 8 on are zero"),
        (0x03 | 1 << 255, "loop: bits from 32 on are zero"),
        (0x07 | 5 << 40, "sync: unit has codes 0 to 4, found 5"),
        (0x10 | 7 << 40, "load: space has codes 0 to 4, found 7"),
        (0x11 | 3 << 43 | 1 << 46, "store: floats are not written as integers, found fp32 to int32"),
        (0x21 | 1 << 97, "lmma: integers are added up in int32"),
    ],
)
def test_what_is_wrong_with_a_word_is_named(bits, message):
    with pytest.raises(ValueError, match=message):
        decode(bits.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_word_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match=f"32 bytes, found {size}"):
        decode(bytes(size))


def test_the_decoder_places_every_operand_in_order_without_gaps():
    assert [word.mnemonic for word in DECODER.words] == [instruction.MNEMONIC for instruction in INSTRUCTIONS]
    for instruction in INSTRUCTIONS:
        word, position = word_of(instruction), OPCODE_BITS
        assert word is DECODER.word(instruction.MNEMONIC)
        assert [field.name for field in word.fields] == list(operands_of(instruction))
        for field in word.fields:
            assert field.offset == position
            assert len(field.choices) <= 1 << field.width
            assert word.field(field.name) is field
            position += field.width
        assert position == word.used_bits <= WORD_BITS


def test_opcodes_and_mnemonics_are_unique():
    assert len({word.opcode for word in DECODER.words}) == len(DECODER.words)
    assert len({word.mnemonic for word in DECODER.words}) == len(DECODER.words)
    assert all(0 < word.opcode < 1 << OPCODE_BITS for word in DECODER.words)


def test_the_decoder_knows_engines_counts_and_codes():
    assert DECODER.engines == ENGINES
    assert {word.mnemonic: word.engine for word in DECODER.words if word.engine} == {
        "load": "load", "store": "store", "lutgen": "table", "lmma": "array", "scale": "scale",
    }  # fmt: skip
    assert {word.mnemonic for word in DECODER.words if word.on_front_end} == {
        "set", "step", "loop", "end", "fence", "halt",
    }  # fmt: skip
    for word in DECODER.words:
        for field in word.fields:
            assert field.kind != "pointer" or DECODER.pointers == 1 << field.width
            assert field.kind != "tokens" or DECODER.tokens == field.width
    unit = DECODER.word("sync").field("unit")
    assert [unit.code(engine) for engine in ENGINES] == [0, 1, 2, 3, 4]
    assert decode((0x07 | unit.code("scale") << unit.offset).to_bytes(32, "little")) == Sync(unit="scale")
    with pytest.raises(KeyError):
        DECODER.word("jump")
    with pytest.raises(KeyError):
        DECODER.word("load").field("columns")
    with pytest.raises(dataclasses.FrozenInstanceError):
        DECODER.tokens = 3
