"""Programs from outside: whatever they say, the interpreter gives a result or an error, soon and in little memory."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from matmul_programs import changed, matmul, program_of

from isa.instructions import (
    INSTRUCTIONS,
    End,
    EngineInstruction,
    Halt,
    Instruction,
    Lmma,
    Load,
    Loop,
    LutGen,
    Step,
    operands_of,
)
from isa.instructions.base import Bytes, Region
from isa.instructions.operands import Operand
from isa.program import Buffer, Program, Unit
from sim.functional.interpreter import Execution, ProgramError, random_order, run_program
from sim.functional.interpreter.counts import working_bytes

UNIT = Unit("lut", 2, 2, 2, 64, 64, 64, 64, 64, queue_depth=2)
IMAGE = np.arange(128, dtype=np.uint8)
BUFFERS = (Buffer("in", "input", "memory", 0, 96),)


def outcome(program: Program, memory: np.ndarray, **options: Any) -> Execution | None:
    """The result; None if the program is wrong."""
    try:
        return run_program(program, memory, **options)
    except ProgramError:
        return None


def same(one: Execution | None, other: Execution | None) -> bool:
    if one is None or other is None:
        return one is other
    return all((one.spaces[space] == other.spaces[space]).all() for space in one.spaces) and one.tokens == other.tokens


def value_of(name: str, operand: Operand) -> st.SearchStrategy[Any]:
    """Mostly small, so that much of it can be executed; sometimes the largest that there is."""
    if operand.kind == "choice":
        return st.sampled_from(operand.choices)
    if operand.kind == "tokens":
        return st.sampled_from([frozenset()] * 6 + [frozenset({0}), frozenset({1}), frozenset({0, 15})])
    if operand.kind == "pointer":
        return st.integers(0, 3)
    if operand.suffix is not None:
        return st.sampled_from([2] * 8 + [operand.values[-1]])
    if name == "pitch_bytes":
        return st.sampled_from([0, 1, 2, 4, 4, 8, 8, 16, operand.values[-1]])
    return st.sampled_from([*operand.values[:9], *operand.values[:4], operand.values[-1], operand.values[0]])


def instruction_of(kind: type[Instruction]) -> st.SearchStrategy[Instruction | None]:
    def made(**operands: Any) -> Instruction | None:
        try:
            return kind(**operands)
        except ValueError:
            return None

    return st.builds(made, **{name: value_of(name, operand) for name, operand in operands_of(kind).items()})


BODY = st.sampled_from([kind for kind in INSTRUCTIONS if kind not in (Loop, End, Halt)]).flatmap(instruction_of)
ENGINE_INSTRUCTIONS = [kind for kind in INSTRUCTIONS if issubclass(kind, EngineInstruction)]


@settings(max_examples=200)
@given(body=st.lists(BODY, min_size=1, max_size=12), count=st.integers(1, 3), seed=st.integers(0, 99))
def test_any_instructions_give_a_result_or_an_error_whatever_the_order(body, count, seed):
    chosen = [instruction for instruction in body if instruction is not None]
    program = Program((Loop(count=count), *chosen, End(), Halt()), BUFFERS, UNIT)
    assert same(outcome(program, IMAGE), outcome(program, IMAGE, order=random_order(seed)))


@settings(max_examples=60)
@given(data=st.data(), form=st.sampled_from(["table", "activation"]), seed=st.integers(0, 99))
def test_a_matmul_with_any_operand_changed_gives_one_result_or_an_error(data, form, seed):
    program, memory = program_of(matmul(form, "ternary", (2, 2, 2), (1, 1, 2), (2, 2, 3)))
    position = data.draw(st.integers(0, len(program.instructions) - 2))
    operands = operands_of(type(program.instructions[position]))
    assume(operands)
    name = data.draw(st.sampled_from(sorted(operands)))
    try:
        broken = changed(program, position, **{name: data.draw(value_of(name, operands[name]))})
    except ValueError:
        assume(False)
    limits = {"most_instructions": 10000, "most_operations": 1 << 24}
    assert same(outcome(broken, memory, **limits), outcome(broken, memory, order=random_order(seed), **limits))


class Touched:
    """Notes what an instruction reads and writes."""

    def __init__(self) -> None:
        self.read_regions: list[Region] = []
        self.written_regions: list[Region] = []

    def read(self, region: Region) -> Bytes:
        self.read_regions.append(region)
        return np.zeros((region.rows, region.row_bytes), np.uint8)

    def write(self, region: Region, data: Bytes) -> None:
        assert data.shape == (region.rows, region.row_bytes)
        self.written_regions.append(region)


@settings(max_examples=100)
@given(instruction=st.sampled_from(ENGINE_INSTRUCTIONS).flatmap(instruction_of))
def test_an_instruction_touches_what_it_says_and_nothing_else(instruction):
    assume(instruction is not None and working_bytes(instruction) < 1 << 28)
    at = {name: 0 for name, operand in operands_of(type(instruction)).items() if operand.kind == "pointer"}
    assume(
        max((region.size_bytes for region in (*instruction.reads(at), *instruction.writes(at))), default=0) < 1 << 20
    )
    touched = Touched()
    instruction.execute(touched, at)
    assert touched.read_regions == list(instruction.reads(at))
    assert touched.written_regions == list(instruction.writes(at))


def lmma(**operands: Any) -> Lmma:
    shape: dict[str, Any] = {"m": 2, "n": 2, "k": 2, "activation": "int8", "weight": "ternary", "accumulator": "int32"}
    shape |= {"inputs": "activation", "order": "blocks", "mode": "overwrite", "pitch_bytes": 0}
    shape |= {"source": 0, "weights": 0, "target": 0}
    return Lmma(**(shape | {"rows": 2, "columns": 2, "depth": 2} | operands))


LUTGEN = LutGen(k=4, activation="int8", source=0, target=0, rows=2, depth=2, pitch_bytes=0)


@pytest.mark.parametrize(
    "instruction",
    [
        *(lmma(n=64, k=4, rows=65, columns=130, depth=403, weight=weight) for weight in ("binary", "ternary", "int8")),
        lmma(n=1000, k=1000, rows=1, columns=1, depth=1, weight="int7"),
        lmma(n=1, k=1, rows=400, columns=3, depth=1000, activation="int1", weight="int8"),
        lmma(n=64, k=4, rows=65, columns=130, depth=403, activation="fp16", weight="fp16", accumulator="fp32"),
        lmma(n=64, k=4, rows=65, columns=130, depth=403, inputs="table", pitch_bytes=1616, weight="int8"),
        lmma(n=9000, k=8, rows=65, columns=1, depth=9, inputs="table", pitch_bytes=512, weight="binary"),
        lmma(n=1, k=8, rows=1, columns=1, depth=80000, inputs="table", pitch_bytes=512, weight="int8"),
        replace(LUTGEN, k=8, rows=3, depth=40000, pitch_bytes=40000),
        replace(LUTGEN, k=1, rows=30000, depth=5, activation="int1"),
        replace(LUTGEN, k=8, rows=30000, depth=1, activation="int7"),
    ],
)
def test_an_instruction_takes_no_more_memory_than_is_foreseen(instruction):
    at = {name: 0 for name, operand in operands_of(type(instruction)).items() if operand.kind == "pointer"}
    storage = Touched()
    given_bytes = sum(region.size_bytes for region in instruction.reads(at))
    instruction.execute(storage, at)
    tracemalloc.start()
    instruction.execute(storage, at)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - given_bytes <= working_bytes(instruction)


def refusal(*instructions: Instruction, unit: Unit = UNIT, memory: np.ndarray = IMAGE, **limits: int) -> ProgramError:
    program = Program((*instructions, Halt()), BUFFERS, unit)
    tracemalloc.start()
    with pytest.raises(ProgramError) as caught:
        run_program(program, memory, **limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    return caught.value


MOST = (1 << 24) - 1


@pytest.mark.parametrize(
    "instruction",
    [
        lmma(rows=MOST, columns=MOST, depth=MOST),
        lmma(rows=MOST, columns=1, depth=MOST),
        replace(LUTGEN, rows=MOST, depth=MOST),
    ],
)
def test_an_instruction_that_would_take_gigabytes_is_refused_before_it_is_executed(instruction):
    error = refusal(instruction)
    assert (error.kind, error.place.position) == ("too large", 0)


def test_a_region_of_more_bytes_than_its_space_is_refused_before_it_is_read():
    load = Load(space="weight", source=0, target=0, rows=MOST, row_bytes=MOST, pitch_bytes=0)
    assert refusal(load, most_operations=1 << 60).kind == "out of bounds"
    assert refusal(replace(load, pitch_bytes=(1 << 32) - 1), most_operations=1 << 60).kind == "out of bounds"


def test_loops_that_would_not_end_today_are_refused():
    endless = [Loop(count=1 << 24)] * 8
    error = refusal(*endless, Step(target=0, stride_bytes=1), *[End()] * 8)
    assert (error.kind, error.place) == ("too large", None)
    assert "instructions to execute, expected at most 4194304" in str(error)


def test_work_is_limited_before_it_begins():
    assert "found 24 bytes and products, expected at most 23" in str(
        refusal(_load(), _load(), _load(), most_operations=23)
    )
    program = Program((_load(), _load(), _load(), Halt()), BUFFERS, UNIT)
    assert run_program(program, IMAGE, most_operations=24).counts.memory_read_bytes == 12


def _load() -> Load:
    return Load(space="weight", source=0, target=0, rows=1, row_bytes=4, pitch_bytes=0)


def test_scratchpads_that_are_too_large_are_refused():
    assert refusal(unit=replace(UNIT, weight_bytes=1 << 26)).kind == "too large"


def test_an_image_that_does_not_hold_the_buffers_is_refused():
    assert "found a memory image of 95 bytes, expected 96 bytes" in str(refusal(memory=IMAGE[:95]))
    with pytest.raises(ValueError, match=r"uint8 \[size_bytes\]"):
        run_program(Program((Halt(),), (), UNIT), IMAGE.astype(np.int16))
    with pytest.raises(ValueError, match="can be told apart"):
        run_program(Program((Halt(),), (), UNIT), IMAGE, most_instructions=1 << 32)
