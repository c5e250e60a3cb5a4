"""Wrong programs: every fault is found in whichever order the engines take their turns, and names its instruction."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from matmul_programs import (
    ACTIVATIONS_LOADED,
    SUMS_FREE,
    SUMS_MADE,
    WEIGHTS_FREE,
    WEIGHTS_LOADED,
    changed,
    matmul,
    position_of,
    program_of,
    replaced,
)

from isa.instructions import (
    End,
    EngineInstruction,
    Fence,
    Halt,
    Instruction,
    Lmma,
    Load,
    Loop,
    LutGen,
    SetPointer,
    Step,
    Store,
    Sync,
)
from isa.program import Buffer, Program, Unit
from sim.functional.interpreter import ProgramError, random_order, run_program

UNIT = Unit("mac", 1, 2, 1, 16, 16, 16, 16, 16, queue_depth=1)
SEEDS = range(4)
# Every tile is used three times at least, so that every buffer is used again.
WITH_TABLES, WITHOUT_TABLES = (
    program_of(matmul(form, "ternary", (2, 8, 4), (1, 1, 2), (3, 1, 3))) for form in ("table", "activation")
)


@pytest.fixture(params=["table", "activation"])
def right(request: pytest.FixtureRequest) -> tuple[Program, np.ndarray]:
    return WITH_TABLES if request.param == "table" else WITHOUT_TABLES


def error_of(program: Program, memory: np.ndarray) -> ProgramError:
    """What is found where producers go first, after some random orders have found a fault as well."""
    for seed in SEEDS:
        with pytest.raises(ProgramError):
            run_program(program, memory, order=random_order(seed))
    with pytest.raises(ProgramError) as caught:
        run_program(program, memory)
    return caught.value


def small(*instructions: Instruction, unit: Unit = UNIT) -> tuple[Program, np.ndarray]:
    return Program((*instructions, Halt()), (Buffer("in", "input", "memory", 0, 16),), unit), np.zeros(32, np.uint8)


def load(space: str = "weight", rows: int = 1, row_bytes: int = 4, pitch_bytes: int = 4, **pointers: int) -> Load:
    pointers = {"source": 0, "target": 0} | pointers
    return Load(space=space, rows=rows, row_bytes=row_bytes, pitch_bytes=pitch_bytes, **pointers)


def stored(**operands: int) -> Store:
    types = {"origin": "accumulator", "element": "int32", "result": "int32"}
    return Store(space="memory", mode="overwrite", source=0, **types, **operands)


def sync(unit: str, wait: set[int] | None = None, signal: set[int] | None = None) -> Sync:
    return Sync(unit=unit, wait=frozenset(wait or ()), signal=frozenset(signal or ()))


def test_every_token_of_a_matmul_with_tables_is_needed_and_its_absence_is_found():
    """Without tables the array reads both operands, and the token of the second load is proof of the first."""
    program, memory = WITH_TABLES
    body = position_of(program, Loop)
    tokens = [
        (position, name, token)
        for position, instruction in enumerate(program.instructions)
        if position > body and isinstance(instruction, EngineInstruction)
        for name in ("wait", "signal")
        for token in getattr(instruction, name)
    ]
    assert len(tokens) > 12
    for position, name, token in tokens:
        present = getattr(program.instructions[position], name)
        found = error_of(changed(program, position, **{name: present - {token}}), memory)
        expected = {"wait": {"overlapping write", "uninitialized read"}, "signal": {"deadlock"}}[name]
        assert found.kind in expected, (position, name, token)


def test_a_read_that_does_not_wait_for_its_data_is_named_with_the_load(right):
    program, memory = right
    position = position_of(program, Lmma, mode="overwrite")
    broken = changed(program, position, wait=program.instructions[position].wait - {WEIGHTS_LOADED})
    error = error_of(broken, memory)
    assert (error.kind, error.place.position, error.place.iterations) == ("overlapping write", position, (0, 0))
    loaded = position_of(program, Load, space="weight")
    assert f"byte 0 of weight read here and written by load (instruction {loaded})" in str(error)
    assert f"instruction {position} (lmma.m2n8k4.int8.ternary.int32." in str(error)


def test_a_load_that_does_not_wait_for_a_free_buffer_is_named_with_the_read_that_it_spoils():
    """Which of the two comes second is up to the engines; here the loads run ahead."""
    program, memory = WITH_TABLES
    position = position_of(program, Load, 1, space="weight")
    error = error_of(changed(program, position, wait=frozenset()), memory)
    assert error.kind == "overlapping write"
    assert isinstance(error.place.instruction, Lmma)
    assert f"weight read here and written by load (instruction {position})" in str(error)


def test_a_free_buffer_too_many_is_found():
    program, memory = WITH_TABLES
    credit = position_of(program, Sync, unit="array")
    broken = replaced(program, credit, program.instructions[credit], sync("array", signal={WEIGHTS_FREE}))
    error = error_of(broken, memory)
    assert (error.kind, error.place.iterations) == ("overlapping write", (0, 0))
    assert "weight read here and written by load" in str(error)


def test_a_store_before_its_sums_is_found(right):
    program, memory = right
    position = position_of(program, Store)
    error = error_of(changed(program, position, wait=frozenset()), memory)
    assert error.kind in ("uninitialized read", "overlapping write")
    assert SUMS_MADE not in error.place.instruction.wait


def test_a_signal_that_is_forgotten_ends_in_a_deadlock_that_names_who_waits(right):
    program, memory = right
    for nth in (0, 1):
        program = changed(program, position_of(program, Load, nth, space="activation"), signal=frozenset())
    error = error_of(program, memory)
    reader = LutGen if program.unit.kind == "lut" else Lmma
    waiting = position_of(program, reader)
    assert (error.kind, error.place.position) == ("deadlock", waiting)
    engine = program.instructions[waiting].engine
    assert f"{engine} at {waiting} for [{ACTIVATIONS_LOADED}]" in str(error)
    assert f"store at {position_of(program, Store)} for [{SUMS_MADE}]" in str(error)


def test_a_credit_that_is_forgotten_ends_in_a_deadlock(right):
    program, memory = right
    for nth in (0, 1):
        program = changed(program, position_of(program, Sync, nth, unit="store"), signal=frozenset())
    error = error_of(program, memory)
    assert (error.kind, error.place.position) == ("deadlock", position_of(program, Sync, wait=frozenset({SUMS_FREE})))


def test_a_load_that_is_forgotten_leaves_bytes_that_were_never_written(right):
    program, memory = right
    position = position_of(program, Load, space="weight")
    forgotten = program.instructions[position]
    error = error_of(
        replaced(program, position, Sync(unit="load", wait=forgotten.wait, signal=forgotten.signal)), memory
    )
    assert (error.kind, error.place.position) == ("uninitialized read", position_of(program, Lmma, mode="overwrite"))
    assert "byte 0 of weight" in str(error)


def test_an_output_is_not_there_before_the_program_runs(right):
    program, memory = right
    position = position_of(program, Store)
    error = error_of(changed(program, position, mode="accumulate"), memory)
    assert (error.kind, error.place.position) == ("uninitialized read", position)


def test_addresses_outside_of_memory_and_scratchpads_are_named(right):
    program, memory = right
    weights = position_of(program, SetPointer, target=2)
    error = error_of(changed(program, weights, base=len(memory) - 3), memory)
    assert (error.kind, error.place.position) == ("out of bounds", position_of(program, Load, space="weight"))
    assert f"expected bytes 0 to {len(memory) - 1}" in str(error)
    ring = position_of(program, SetPointer, target=3)
    error = error_of(changed(program, ring, base=1), memory)
    assert (error.kind, error.place.iterations) == ("out of bounds", (0, 0, 0))


def test_negative_addresses_and_absent_scratchpads_are_out_of_bounds():
    error = error_of(*small(Step(target=0, stride_bytes=-1), load()))
    assert error.kind == "out of bounds"
    assert "bytes -1 to 2 of memory" in str(error)
    error = error_of(*small(load("table"), unit=replace(UNIT, table_bytes=0)))
    assert "no use of table, which the unit lacks" in str(error)


def test_the_last_row_of_a_region_counts_without_its_gap():
    program, memory = small(load(rows=3, row_bytes=4, pitch_bytes=6))
    assert run_program(program, memory).counts.memory_read_bytes == 12
    error = error_of(*small(load(rows=3, row_bytes=4, pitch_bytes=15)))
    assert "bytes 0 to 33 of memory" in str(error)


def test_rows_that_are_written_over_each_other_are_an_overlapping_write():
    store = stored(target=0, rows=2, columns=2, pitch_bytes=4)
    error = error_of(*small(load("accumulator", row_bytes=16), Fence(), store))
    assert (error.kind, error.place.position) == ("overlapping write", 2)
    assert "rows of 8 bytes every 4 bytes of memory" in str(error)


@pytest.mark.parametrize(("depth", "fails"), [(1, True), (2, False)])
def test_a_full_queue_holds_up_the_instruction_that_would_free_it(depth, fails):
    """The array's second instruction stands before the load that its first waits for."""
    program, memory = small(
        sync("array", wait={0}), sync("array"), sync("load", signal={0}), unit=replace(UNIT, queue_depth=depth)
    )
    if not fails:
        assert not any(run_program(program, memory).tokens)
        return
    error = error_of(program, memory)
    assert (error.kind, error.place.position) == ("deadlock", 0)
    assert "waiting array at 0 for [0]" in str(error)


@pytest.mark.parametrize("last", [Fence(), Step(target=0, stride_bytes=0)])
def test_nobody_passes_a_fence_or_the_end_with_work_left(last):
    error = error_of(*small(sync("scale", wait={3, 5}), last))
    assert (error.kind, error.place.position) == ("deadlock", 0)
    assert "scale at 0 for [3, 5]" in str(error)


def test_a_fence_empties_the_counters():
    program, memory = small(sync("load", signal={0}), Fence())
    assert not any(run_program(program, memory).tokens)
    error = error_of(*small(sync("load", signal={0}), Fence(), sync("array", wait={0})))
    assert (error.kind, error.place.position) == ("deadlock", 2)


@pytest.mark.parametrize(("count", "fails"), [(255, False), (256, True)])
def test_a_counter_holds_255_tokens(count, fails):
    program, memory = small(Loop(count=count), sync("load", signal={4}), End())
    if not fails:
        assert run_program(program, memory).tokens[4] == 255
        return
    error = error_of(program, memory)
    assert (error.kind, error.place.iterations) == ("token overflow", (255,))
    assert "256 tokens in counter 4" in str(error)


@pytest.mark.parametrize(
    "instructions",
    [
        (sync("load", signal={0}), sync("table", signal={0}), sync("array", wait={0}), sync("array", wait={0})),
        (sync("load", signal={0}), sync("load", signal={0}), sync("array", wait={0}), sync("store", wait={0})),
        # B hears from A before it gives the second token, but C might have taken the first
        (
            sync("load", signal={0}),
            sync("array", wait={0}, signal={1}),
            sync("load", wait={1}, signal={0}),
            sync("store", wait={0}),
        ),
    ],
)
def test_a_counter_whose_tokens_may_go_to_either_of_two_engines_is_found(instructions):
    assert error_of(*small(*instructions, unit=replace(UNIT, queue_depth=8))).kind == "shared counter"


def test_order_by_a_full_queue_is_no_order():
    """In queues of one, the second load cannot pass the store, which was taken before the next one had room; in longer
    queues it could."""
    store = stored(target=1, rows=1, columns=1, pitch_bytes=0)
    start = [SetPointer(target=1, base=16, ring_bytes=0), load("accumulator"), Fence(), store, sync("store")]
    error = error_of(*small(*start, load("accumulator")))
    assert (error.kind, error.place.position) == ("overlapping write", 5)
    assert "accumulator written here and read by store (instruction 3)" in str(error)
    program, memory = small(*start, Fence(), load("accumulator"))
    assert run_program(program, memory).counts.memory_written_bytes == 4


def test_an_array_takes_its_own_shape_and_tables_only_if_it_looks_up(right):
    program, memory = right
    position = position_of(program, Lmma)
    error = error_of(changed(program, position, m=3), memory)
    assert (error.kind, error.place.position) == ("illegal instruction", position)
    assert "found m3n8k4, expected m2n8k4" in str(error)
    if program.unit.kind == "lut":
        error = error_of(replace(program, unit=replace(program.unit, kind="bit-serial")), memory)
        assert (error.kind, error.place.position) == ("illegal instruction", position)


def test_contents_of_buffers_on_chip_are_given_all_and_exactly():
    buffers = (Buffer("w", "weights", "weight", 0, 4),)
    program, memory = Program((Halt(),), buffers, UNIT), np.zeros(0, np.uint8)
    assert run_program(program, memory, scratchpads={"w": np.ones(4, np.uint8)}).contents("w").tolist() == [1] * 4
    for contents in ({}, {"v": np.ones(4, np.uint8)}):
        with pytest.raises(ProgramError, match=r"of the buffers on chip, \['w'\]"):
            run_program(program, memory, scratchpads=contents)
    with pytest.raises(ValueError, match=r"buffer w is uint8 \[4\]"):
        run_program(program, memory, scratchpads={"w": np.ones(5, np.uint8)})


def test_an_error_survives_the_way_back_from_a_worker():
    error = error_of(*small(Loop(count=2), sync("scale", wait={3}), End()))
    returned = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(returned), returned.kind, returned.place) == (str(error), error.kind, error.place)
    assert "iteration 0" in str(error)


def test_two_takers_of_the_same_two_counters_are_no_proof_for_each_other():
    """Each waits for both counters and gives both again: which goes first is chance."""
    both = frozenset({0, 1})
    takers = [Sync(unit=unit, wait=both, signal=both) for unit in ("array", "scale")]
    program = Program((Sync(unit="load", signal=both), *takers, Halt()), (), UNIT)
    for seed in range(12):
        with pytest.raises(ProgramError, match="shared counter"):
            run_program(program, np.zeros(16, np.uint8), order=random_order(seed))
