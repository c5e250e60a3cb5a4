"""Right programs: the interpreter gives what they compute, in whichever order the engines take their turns."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matmul_programs import changed, matmul, position_of, program_of

from isa.instructions import End, Fence, Halt, Instruction, Lmma, Load, Loop, Scale, SetPointer, Step, Store, Sync
from isa.program import Buffer, Program, Unit
from sim.functional.interpreter import Execution, counts_of, producers_first, random_order, run_program

FORMS = ("table", "activation")
SCALED = Unit("mac", 1, 2, 1, 16, 64, 0, 64, 64)


def product_of(execution: Execution, shape: tuple[int, ...]) -> np.ndarray:
    return execution.contents("output").view("<i4").reshape(shape)


def run(*instructions: Instruction, memory: np.ndarray, unit: Unit = SCALED, buffers: tuple[Buffer, ...] = ()):
    everything = Buffer("everything", "input", "memory", 0, len(memory))
    return run_program(Program((*instructions, Halt()), buffers or (everything,), unit), memory)


def copy(space: str, source: int, target: int, size_bytes: int, **tokens: frozenset[int]) -> Load:
    return Load(space=space, source=source, target=target, rows=1, row_bytes=size_bytes, pitch_bytes=0, **tokens)


def put(source: int, target: int, columns: int, **operands: object) -> Store:
    fields = {"space": "memory", "mode": "overwrite", "element": "int32", "result": "int32", "rows": 1}
    fields |= {"origin": "accumulator", "pitch_bytes": 0, "source": source, "target": target, "columns": columns}
    return Store(**(fields | operands))  # type: ignore[arg-type]


@settings(max_examples=25)
@given(
    form=st.sampled_from(FORMS),
    weight=st.sampled_from(["binary", "ternary", "int2", "int4", "int8"]),
    mnk=st.tuples(st.integers(1, 3), st.sampled_from([2, 8]), st.sampled_from([1, 3, 4])),
    blocks=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 3)),
    tiles=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
    queue_depth=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 1 << 16),
)
def test_a_double_buffered_matmul_is_the_integer_product_in_every_order(
    form, weight, mnk, blocks, tiles, queue_depth, seed
):
    case = matmul(form, weight, mnk, blocks, tiles, seed=seed, queue_depth=queue_depth)
    program, memory = program_of(case)
    first = run_program(program, memory)
    assert (product_of(first, case.expected.shape) == case.expected).all()
    other = run_program(program, memory, order=random_order(seed))
    assert (other.memory == first.memory).all()
    assert all((other.spaces[space] == first.spaces[space]).all() for space in first.spaces)
    assert other.tokens == first.tokens


def test_the_given_image_stays_as_it_was():
    program, memory = program_of(matmul("table", "ternary", (2, 8, 4), (1, 1, 1), (2, 2, 2)))
    before = memory.copy()
    assert (run_program(program, memory).memory != before).any()
    assert (memory == before).all()


@pytest.mark.parametrize("form", FORMS)
def test_counts_are_what_the_engines_did(form):
    case = matmul(form, "int4", (2, 8, 4), (2, 2, 4), (3, 2, 3))
    program, memory = program_of(case)
    turns: Counter[str] = Counter()

    def counted(ready):
        turns[actor := producers_first(ready)] += 1
        return actor

    counts = run_program(program, memory, order=counted).counts
    assert counts == counts_of(program)
    assert counts.instructions == {engine: turns[engine] for engine in counts.instructions}
    (rows, depth), columns = case.activations.shape, len(case.weights)
    assert counts.macs == rows * columns * depth
    assert counts.passes == rows // 2 * (columns // 8) * (depth // 4)
    # every tile of columns loads the activations, every tile of rows the weights of 4 bits
    assert counts.memory_read_bytes == 2 * rows * depth + 3 * columns * depth // 2
    assert counts.memory_written_bytes == rows * columns * 4
    assert counts.tables == (2 * rows * depth // 4 if form == "table" else 0)


def test_tokens_that_are_left_are_the_free_buffers():
    program, memory = program_of(matmul("table", "ternary", (2, 8, 4), (1, 1, 1), (3, 2, 2)))
    assert run_program(program, memory).tokens == (0, 2) * 4 + (0,) * 8


def test_one_free_buffer_less_is_slower_but_not_wrong():
    case = matmul("table", "ternary", (2, 8, 4), (1, 1, 2), (3, 2, 2))
    program, memory = program_of(case)
    for engine in ("table", "array", "store"):
        program = changed(program, position_of(program, Sync, unit=engine), signal=frozenset())
    assert (product_of(run_program(program, memory), case.expected.shape) == case.expected).all()


def test_a_fence_orders_engines_without_tokens():
    image = np.arange(16, dtype=np.int32).view(np.uint8)
    pointers = [SetPointer(target=1, base=0, ring_bytes=0), SetPointer(target=2, base=32, ring_bytes=0)]
    done = run(*pointers, copy("accumulator", 1, 1, 32), Fence(), put(1, 2, 8), memory=image)
    assert done.memory.view(np.int32).tolist() == [*range(8), *range(8)]


def test_loops_in_a_ring_reach_each_of_its_places_again():
    """Eight loads of four bytes into a ring of twelve, fenced: the last three stay, each in its place."""
    image = np.arange(32, dtype=np.uint8)
    done = run(
        SetPointer(target=2, base=16, ring_bytes=12),
        Loop(count=4),
        Loop(count=2),
        copy("weight", 1, 2, 4),
        Step(target=1, stride_bytes=4),
        Step(target=2, stride_bytes=4),
        End(),
        End(),
        memory=image,
    )
    assert done.spaces["weight"][16:28].tolist() == [*range(24, 32), *range(20, 24)]
    assert not done.spaces["weight"][28:].any()


def test_a_pointer_steps_backwards():
    image = np.arange(16, dtype=np.uint8)
    body = [copy("weight", 1, 2, 4), Step(target=1, stride_bytes=-4), Step(target=2, stride_bytes=4)]
    done = run(SetPointer(target=1, base=12, ring_bytes=0), Loop(count=4), *body, End(), memory=image)
    assert done.spaces["weight"][:16].tolist() == [12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3]


@settings(max_examples=40)
@given(rows=st.integers(1, 6), row_bytes=st.integers(1, 5), pitch=st.integers(0, 9), address=st.integers(0, 7))
def test_rows_are_loaded_at_any_pitch_even_where_they_overlap(rows, row_bytes, pitch, address):
    image = np.arange(100, 180, dtype=np.uint8)
    load = Load(space="weight", source=1, target=2, rows=rows, row_bytes=row_bytes, pitch_bytes=pitch)
    done = run(SetPointer(target=1, base=address, ring_bytes=0), load, memory=image)
    wanted = [image[address + row * pitch + byte] for row in range(rows) for byte in range(row_bytes)]
    assert done.spaces["weight"][: rows * row_bytes].tolist() == wanted


def test_rows_are_stored_at_a_pitch_and_leave_the_gaps_alone():
    image = np.arange(24, dtype=np.int32).view(np.uint8)
    loaded = copy("accumulator", 1, 1, 16, signal=frozenset({0}))
    store = put(1, 2, 2, rows=2, pitch_bytes=12, mode="accumulate", wait=frozenset({0}))
    done = run(SetPointer(target=2, base=40, ring_bytes=0), loaded, store, memory=image)
    wanted = [*range(10), 10 + 0, 11 + 1, 12, 13 + 2, 14 + 3, *range(15, 24)]
    assert done.memory.view(np.int32).tolist() == wanted


def test_inputs_that_are_on_chip_are_given_with_the_program():
    """One row of int8 activations times two columns of int8 weights, scaled by column and by row."""
    activations, weights = np.array([3, -2], np.int8), np.array([[5, 7], [1, -4]], np.int8)
    factors = np.array([0.5, 2.0, 10.0], np.float32).view(np.uint8)
    buffers = (
        Buffer("x", "input", "activation", 4, 2),
        Buffer("w", "weights", "weight", 0, 4),
        Buffer("s", "scales", "scale", 8, 12),
        Buffer("y", "output", "accumulator", 16, 8),
    )
    multiply = Lmma(
        m=1,
        n=2,
        k=1,
        activation="int8",
        weight="int8",
        accumulator="int32",
        inputs="activation",
        order="blocks",
        mode="overwrite",
        source=1,
        weights=0,
        target=0,
        rows=1,
        columns=2,
        depth=2,
        pitch_bytes=0,
        signal=frozenset({0}),
    )
    scale = Scale(
        granularity="row",
        rule="multiply",
        columns_have="each",
        scale="fp32",
        source=0,
        target=2,
        column_scales=3,
        row_scales=2,
        rows=1,
        columns=2,
        wait=frozenset({0}),
    )
    pointers = [SetPointer(target=target, base=base, ring_bytes=0) for target, base in ((1, 4), (2, 16), (3, 8))]
    program = Program((*pointers, multiply, scale, Halt()), buffers, SCALED)
    # a group of K = 1 inputs holds that input of both columns
    given_bytes = {"x": activations.view(np.uint8), "w": weights.T.copy().view(np.uint8).reshape(-1), "s": factors}
    done = run_program(program, np.zeros(0, np.uint8), scratchpads=given_bytes)
    assert done.contents("y").view(np.float32).tolist() == [1 * 0.5 * 10, 11 * 2.0 * 10]
    assert done.memory.size == 0


def test_a_counter_is_handed_from_one_engine_to_another_by_tokens():
    """Load and table give counter 0 tokens, the second after it has heard from the first: that is an order."""
    done = run(
        Sync(unit="load", signal=frozenset({0, 1})),
        Sync(unit="array", wait=frozenset({0})),
        Sync(unit="table", wait=frozenset({1}), signal=frozenset({0})),
        Sync(unit="array", wait=frozenset({0})),
        memory=np.zeros(4, np.uint8),
    )
    assert not any(done.tokens)
