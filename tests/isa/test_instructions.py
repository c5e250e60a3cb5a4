"""Instructions hold what their fields allow, and say which field does not."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from instruction_examples import UNIT, instructions

from isa.instructions import (
    INSTRUCTIONS,
    End,
    EngineInstruction,
    Fence,
    Halt,
    Lmma,
    Load,
    Loop,
    LutGen,
    Region,
    SetPointer,
    Step,
    Store,
    Sync,
    operands_of,
)
from isa.instructions.types import ENGINES, SCRATCHPADS, Engine, Space
from isa.program import Buffer, MalformedField, MalformedProgram, Program

LMMA = Lmma(
    m=2, n=4, k=4, activation="int8", weight="int2", accumulator="int32", inputs="table", order="blocks",
    mode="overwrite", source=0,
    weights=1, target=2, rows=3, columns=5, depth=9, pitch_bytes=64,
)  # fmt: skip


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda item: item.MNEMONIC)
def test_values_outside_of_a_field_are_refused_by_name(instruction):
    operands = operands_of(instruction)
    bad = {
        "choice": ["", "INT8", 0, None],
        "tokens": [{0}, frozenset({16}), frozenset({-1}), frozenset({True}), frozenset({0.0}), 3],
        "number": [1.0, True, "1", None, np.int64(1)],
        "pointer": [-1, 32, True, None],
    }
    good = {"choice": lambda item: item.choices[0], "tokens": lambda _: frozenset()}
    values = {name: good.get(item.kind, lambda item: item.values[0])(item) for name, item in operands.items()}
    if instruction is Lmma:
        values["inputs"] = "activation"
    instruction(**values)
    for name, item in operands.items():
        outside = [item.values[0] - 1, item.values[-1] + 1] if item.kind == "number" else []
        for value in (*bad[item.kind], *outside):
            with pytest.raises(ValueError, match=f"{instruction.MNEMONIC}: {name} is"):
                instruction(**values | {name: value})


def test_lmma_multiplies_integers_into_integers_and_tables_are_small():
    for change in ({"accumulator": "fp32"}, {"activation": "fp16"}, {"weight": "fp16", "inputs": "activation"}):
        with pytest.raises(ValueError, match="integers are added up in int32"):
            dataclasses.replace(LMMA, **change)
    with pytest.raises(ValueError, match="at most 8 integer activations"):
        dataclasses.replace(LMMA, k=9)
    with pytest.raises(ValueError, match="at most 8 integer activations"):
        dataclasses.replace(LMMA, weight="fp16", accumulator="fp32")


def test_floats_are_never_stored_as_integers():
    store = Store(
        space="memory", mode="overwrite", origin="accumulator", element="fp32", result="fp16", source=0, target=1,
        rows=1, columns=1, pitch_bytes=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="found fp32 to int32"):
        dataclasses.replace(store, result="int32")


@given(instructions())
def test_engine_instructions_name_an_engine_and_regions_of_their_addresses(instruction):
    if isinstance(instruction, SetPointer | Step | Loop | End | Fence | Halt):
        return
    assert isinstance(instruction, EngineInstruction)
    assert instruction.engine in ENGINES
    pointers = [name for name, item in operands_of(type(instruction)).items() if item.kind == "pointer"]
    at = {name: 1 << (8 * position) for position, name in enumerate(pointers)}
    for region in (*instruction.reads(at), *instruction.writes(at)):
        assert region.address in at.values()
        assert region.size_bytes == region.rows * region.row_bytes > 0
        assert region.end >= region.address + region.row_bytes


def test_regions_of_a_multiplication_follow_from_its_shape():
    """3 rows of 3 groups of 8 int16 entries; 2 blocks of 3 groups of 4 by 4 int2 weights; 3 by 5 int32 sums."""
    at = {"source": 10, "weights": 20, "target": 30}
    assert LMMA.reads(at) == (
        Region("table", 10, 3, 3 * 16, 64),
        Region("weight", 20, 1, 2 * 3 * 4, 2 * 3 * 4),
    )
    assert LMMA.writes(at) == (Region("accumulator", 30, 1, 60, 60),)
    assert dataclasses.replace(LMMA, mode="accumulate").reads(at)[2:] == LMMA.writes(at)
    direct = dataclasses.replace(LMMA, inputs="activation", activation="int4", pitch_bytes=7)
    assert direct.reads(at)[0] == Region("activation", 10, 3, 5, 7)
    assert (LMMA.groups, LMMA.passes) == (3, 2 * 2 * 3)
    assert LutGen(k=4, activation="int8", source=0, target=0, rows=3, depth=9, pitch_bytes=9).tables == 9


def test_the_names_of_engines_and_spaces_are_those_of_their_types():
    assert get_args(Engine) == ENGINES
    assert get_args(Space) == ("memory", *SCRATCHPADS)


def test_a_program_is_closed_and_ends_with_its_only_halt():
    for instructions_, position in (
        ((), 0),
        ((Fence(),), 0),
        ((Halt(), Halt()), 0),
        ((End(), Halt()), 0),
        ((Loop(count=1), Halt()), 0),
        ((Fence(), Loop(count=1), Loop(count=1), End(), Halt()), 1),
        ((*[Loop(count=1)] * 9, *[End()] * 9, Halt()), 8),
        ((Fence(),) * (1 << 16) + (Halt(),), 1 << 16),
    ):
        with pytest.raises(MalformedProgram) as caught:
            Program(instructions_, (), UNIT)
        assert (caught.value.part, caught.value.position) == ("instructions", position)


def test_buffers_have_names_of_their_own_and_lie_in_their_space():
    buffer = Buffer("a", "input", "weight", 0, UNIT.weight_bytes)
    for second in (buffer, dataclasses.replace(buffer, name="b", address=1)):
        with pytest.raises(MalformedProgram) as caught:
            Program((Halt(),), (buffer, second), UNIT)
        assert (caught.value.part, caught.value.position) == ("buffers", 1)
    program = Program((Halt(),), (buffer, Buffer("m", "output", "memory", 5, 7)), UNIT)
    assert program.memory_bytes == 12
    assert program.buffer("a") is buffer
    with pytest.raises(KeyError):
        program.buffer("c")
    many = tuple(Buffer(str(item), "input", "memory", 0, 0) for item in range((1 << 11) + 1))
    assert Program((Halt(),), many[:-1], UNIT).memory_bytes == 0
    with pytest.raises(MalformedProgram, match="at most 2048"):
        Program((Halt(),), many, UNIT)


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "tpu"), ("m", 0), ("n", 65537), ("k", True), ("weight_bytes", -1), ("scale_bytes", (1 << 31) + 1),
     ("queue_depth", 0)],
)  # fmt: skip
def test_a_unit_says_which_value_it_cannot_have(field, value):
    with pytest.raises(MalformedField, match=f"^unit.{field}: "):
        dataclasses.replace(UNIT, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("name", "a\n"), ("name", "x" * 257), ("role", "bias"), ("space", "cache"), ("address", -1),
     ("address", 1.0), ("size_bytes", (1 << 40) + 1), ("layout", "\ud800"), ("layout", None)],
)  # fmt: skip
def test_a_buffer_says_which_value_it_cannot_have(field, value):
    with pytest.raises(MalformedField, match=f"^buffer.{field}: "):
        dataclasses.replace(Buffer("a", "input", "memory", 0, 1), **{field: value})


def test_repetitions_multiply_the_counts_of_the_loops_around():
    load = Load(space="weight", source=0, target=0, rows=1, row_bytes=1, pitch_bytes=0)
    sync = Sync(unit="load")
    program = Program(
        (sync, Loop(count=3), load, Loop(count=5), load, Step(target=0, stride_bytes=1), End(), load, End(), Halt()),
        (),
        UNIT,
    )
    assert program.repetitions() == [1, 1, 3, 3, 15, 15, 15, 3, 3, 1]
    assert program.executed_instructions == 1 + 3 + 15 + 3
