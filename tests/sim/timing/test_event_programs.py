"""The event model does with programs what its machine would do: times by hand, contention, and errors."""

from dataclasses import replace

import numpy as np
import pytest
from event_programs import (
    FLAT,
    TILES,
    lmma,
    load,
    machines,
    memories,
    program_of,
    scale,
    source_of,
    store,
    sync,
    tilings,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from varied_machines import machine_of

from isa import InputError
from isa.front_end import FrontEnd
from isa.instructions import INSTRUCTIONS, End, EngineInstruction, Fence, Halt, Instruction, Loop, operands_of
from isa.instructions.types import ENGINES
from isa.program import Program
from sim.timing.dram import Transfer
from sim.timing.event import ProgramSource, Recorder, TaskSource, simulate_programs
from sim.timing.event.channel import TURN_CYCLES
from sim.timing.tasks import BankAccess, Task

SERVICE = 7  # of FLAT, besides a cycle for 16 bytes
LATENCY = 50
MACHINE = machine_of()


def spans_of(*sources, machine=MACHINE, memory=FLAT):
    """Start and end of every task, by core and position."""
    recorder = Recorder()
    simulate_programs(machine, sources, memory, recorder)
    return {(item.core, item.position): item[3:5] for item in recorder.spans if item.core is not None}


def timing_of(*instructions: Instruction, machine=MACHINE):
    return simulate_programs(machine, [source_of(program_of(*instructions), FLAT, machine)], FLAT)


def task(engine, cycles=1, size_bytes=0, wait=(), signal=(), accesses=(), latency_cycles=0) -> Task:
    transfer = Transfer(0, 1, size_bytes, 0) if size_bytes else None
    tokens = {"wait": frozenset(wait), "signal": frozenset(signal)}
    return Task(engine, engine, cycles, transfer, latency_cycles=latency_cycles, accesses=tuple(accesses), **tokens)


def test_a_load_and_a_product_take_what_they_take_by_hand():
    timing = timing_of(load(160, signal=(1,)), lmma(64, wait=(1,)))
    # Handed out at 1, 17 cycles of the channel, 50 of latency; 16 passes; 8 cycles of pipeline.
    assert timing.fill_cycles == 1 + (160 // 16 + SERVICE) + LATENCY == 68
    assert (timing.compute_cycles, timing.stall_cycles, timing.drain_cycles) == (16, 0, 8)
    assert timing.cycles == 68 + 16 + 8
    assert timing.busy_cycles == (17, 0, 16, 0, 0)
    assert timing.memory_busy_cycles == 17


def test_loads_follow_each_other_on_the_channel_while_the_first_is_under_way():
    spans = spans_of(source_of(program_of(load(160), load(160), load(160)), FLAT))
    assert [spans[0, position] for position in range(3)] == [(1, 18), (18, 35), (35, 52)]


def test_adding_to_memory_carries_everything_twice():
    once, twice = (timing_of(store(64, mode=mode)).memory_busy_cycles for mode in ("overwrite", "accumulate"))
    assert (once, twice) == (23, 46)


def test_results_of_an_engine_arrive_in_its_order():
    slow, fast = task("load", latency_cycles=90, signal=(1,)), task("load", signal=(2,))
    waiting = [task("array", wait=(1,)), task("scale", wait=(2,))]
    spans = spans_of(TaskSource("test", [slow, fast, *waiting]))
    assert spans[0, 2][0] == spans[0, 3][0] == 1 + 1 + 90


def test_a_full_queue_holds_up_what_is_behind_it_even_for_other_engines():
    for depth, start in ((1, 202), (2, 102), (3, 5)):
        tasks = [task("array", 100)] * 4 + [task("scale")]
        spans = spans_of(TaskSource("test", tasks), machine=machine_of(queue_depth=depth))
        # The array holds the first, its queue `depth` more; each further one waits for a place.
        assert spans[0, 4][0] == start


def test_tokens_are_taken_by_the_first_engine_where_two_wait_for_one():
    tasks = [
        task("store", wait=(1,)),
        task("table", wait=(1,)),
        task("load", 50, signal=(1,)),
        task("load", signal=(1,)),
    ]
    spans = spans_of(TaskSource("test", tasks))
    assert spans[0, 1][0] == spans[0, 2][1] == 53
    assert spans[0, 0][0] == spans[0, 3][1] == 54


def test_a_fence_waits_for_results_and_empties_the_counters():
    spans = spans_of(source_of(program_of(load(160, signal=(1,)), Fence(), sync("load")), FLAT))
    assert spans[0, 2][0] == 1 + 17 + LATENCY + 1
    with pytest.raises(InputError, match="only counters none have any"):
        timing_of(load(160, signal=(1,)), Fence(), lmma(64, wait=(1,)))


def test_requesters_take_turns():
    long, short = (TURN_CYCLES * 4 - SERVICE) * 16, (10 - SERVICE) * 16
    spans = spans_of(*(TaskSource("test", [task("load", size_bytes=size)]) for size in (long, short)))
    assert spans[1, 0] == (1, 1 + TURN_CYCLES + 10)
    assert spans[0, 0] == (1, 1 + 4 * TURN_CYCLES + 10)


def test_a_transfer_little_longer_than_a_turn_is_one_turn():
    long, short = (TURN_CYCLES + 5 - SERVICE) * 16, (10 - SERVICE) * 16
    spans = spans_of(*(TaskSource("test", [task("load", size_bytes=size)]) for size in (long, short)))
    assert spans[0, 0] == (1, 1 + TURN_CYCLES + 5)
    assert spans[1, 0] == (1, 1 + TURN_CYCLES + 5 + 10)


def test_who_is_alone_keeps_the_channel_until_its_turn_is_over():
    long, short = (TURN_CYCLES * 16 - SERVICE) * 16, (10 - SERVICE) * 16
    waits = [task("array", 6 * TURN_CYCLES + 16, signal=(1,)), task("load", size_bytes=short, wait=(1,))]
    spans = spans_of(TaskSource("test", [task("load", size_bytes=long)]), TaskSource("test", waits))
    assert spans[1, 1] == (6 * TURN_CYCLES + 17, 1 + 7 * TURN_CYCLES + 10)
    assert spans[0, 0] == (1, 1 + 16 * TURN_CYCLES + 10)


@pytest.mark.parametrize(
    ("bank", "arrival", "cycles"),
    [(0, 20, 16), (1, 20, 10), (0, 5, 10), (0, 11, 10), (0, 12, 16), (0, 21, 10)],
    ids=["same bank", "other bank", "before it", "as it starts", "after its start", "as it ends"],
)
def test_data_that_arrive_in_a_bank_steal_port_cycles_of_the_array_that_works_on_it(bank, arrival, cycles):
    """The array works from 11 on, for 10 cycles."""
    filling = task("load", arrival - 2, accesses=[BankAccess("weight", bank, 6)])
    working = task("array", 10, wait=(1,), accesses=[BankAccess("weight", 0, 10)])
    begin = task("store", 10, signal=(1,))
    spans = spans_of(TaskSource("test", [begin, filling, working]))
    assert spans[0, 1][1] == arrival
    assert spans[0, 2][0] == 11
    assert spans[0, 2][1] - spans[0, 2][0] == cycles


def test_banks_have_cycles_to_spare_where_the_array_needs_its_port_less_than_always():
    filling = task("load", 5, accesses=[BankAccess("weight", 0, 6)])
    working = task("array", 10, accesses=[BankAccess("weight", 0, 3)])
    assert spans_of(TaskSource("test", [working, filling]))[0, 0] == (1, 11)


def test_all_that_a_task_needs_of_a_bank_goes_through_its_one_port():
    accesses = [BankAccess("accumulator", 0, 6), BankAccess("accumulator", 0, 6), BankAccess("accumulator", 1, 11)]
    assert spans_of(TaskSource("test", [task("array", 10, accesses=accesses)]))[0, 0] == (1, 13)


def test_a_store_steals_port_cycles_from_when_it_starts():
    storing = task("store", 2, accesses=[BankAccess("accumulator", 1, 4)])
    working = task("array", 10, accesses=[BankAccess("accumulator", 1, 9)])
    assert spans_of(TaskSource("test", [working, storing]))[0, 0] == (1, 14)
    assert spans_of(TaskSource("test", [storing, working]))[0, 1] == (2, 12)


def test_a_straight_program_is_the_list_of_its_tasks():
    instructions = [load(800, signal=(1,)), load(64, signal=(2,)), lmma(64, (1, 2), (3,)), scale(64, (3,)), store(9)]
    program = program_of(*instructions)
    source, front_end = source_of(program, FLAT), FrontEnd(program)
    tasks = [source.costs.task(front_end.execute()) for _ in instructions]
    of_program = simulate_programs(MACHINE, [source], FLAT)
    of_tasks = simulate_programs(MACHINE, [TaskSource("test", tasks)], FLAT)
    assert replace(of_program, executed_instructions=5) == of_tasks


@settings(max_examples=20, deadline=None)
@given(machine=machines, cores=st.lists(tilings, min_size=1, max_size=3), memory=memories)
def test_parts_sum_to_the_time_and_nothing_is_faster_than_its_engines_or_its_memory(machine, cores, memory):
    sources = [source_of(tiling.program(), memory, machine) for tiling in cores]
    timing = simulate_programs(machine, sources, memory)
    parts = timing.fill_cycles, timing.compute_cycles, timing.stall_cycles, timing.drain_cycles
    assert sum(parts) == timing.cycles
    assert min(parts) >= 0
    assert timing.cycles >= max(*timing.busy_cycles, timing.memory_busy_cycles)
    assert timing.compute_cycles == timing.busy_cycles[ENGINES.index("array")]


def test_without_array_all_time_is_filling():
    timing = simulate_programs(MACHINE, [TaskSource("test", [task("scale", 30)])], FLAT)
    assert (timing.cycles, timing.fill_cycles, timing.compute_cycles, timing.drain_cycles) == (31, 31, 0, 0)


def test_no_tasks_take_no_time():
    assert simulate_programs(MACHINE, [TaskSource("test", [])], FLAT).cycles == 0


def test_the_core_that_halts_last_gives_the_time():
    short, long = (TaskSource("test", [task("array", cycles)]) for cycles in (5, 80))
    for sources in ([short, long], [long, short]):
        timing = simulate_programs(MACHINE, sources, FLAT)
        assert (timing.cycles, timing.compute_cycles, timing.jobs) == (81, 80, (0, 0, 1, 0, 0))


def test_a_deadlock_names_the_instructions_that_wait_and_the_tokens_that_are_there():
    with pytest.raises(InputError) as error:
        timing_of(sync("load", signal=(7,)), lmma(64, wait=(3, 5)), store(64, wait=(4,)))
    message = str(error.value)
    for part in ("test: tokens of core 0", "array 1 for 3, 5", "store 2 for 4", "only counters 7"):
        assert part in message


def test_cycles_of_operands_are_one_for_every_product():
    source = source_of(TILES.program(), FLAT)
    with pytest.raises(ValueError, match="1000000 lmmas"):
        ProgramSource("test", source.program, source.costs, np.ones(3, np.int64))
    with pytest.raises(ValueError, match="at least one core"):
        simulate_programs(MACHINE, [], FLAT)


def _operand(operand):
    if operand.kind == "tokens":
        return st.frozensets(st.integers(0, operand.bits - 1), max_size=1)
    if operand.kind == "pointer":
        return st.integers(0, (1 << operand.bits) - 1)
    values = operand.values
    return st.sampled_from(operand.choices) if operand.choices else st.integers(values[0], values[-1])


def _made(kind, fields) -> Instruction | None:
    try:
        return kind(**fields)
    except ValueError:  # types that do not go together
        return None


anything = st.one_of(
    st.fixed_dictionaries({name: _operand(operand) for name, operand in operands_of(kind).items()}).map(
        lambda fields, kind=kind: _made(kind, fields)
    )
    for kind in INSTRUCTIONS
    if kind not in (Halt, End)
).filter(bool)


@settings(max_examples=80, deadline=None)
@given(bodies=st.lists(st.lists(anything, max_size=12), min_size=1, max_size=2))
def test_any_program_comes_to_an_end_or_is_refused(bodies):
    sources = []
    for body in bodies:
        loops = [item for item in body if isinstance(item, Loop)][:8]
        others = [item for item in body if not isinstance(item, Loop)]
        program = Program((*others[:3], *loops, *others[3:], *[End()] * len(loops), Halt()), (), TILES.program().unit)
        sources.append(source_of(program, FLAT))
    try:
        timing = simulate_programs(MACHINE, sources, FLAT, most_executed=500)
    except InputError:
        return
    engines = sum(isinstance(item, EngineInstruction) for source in sources for item in source.program.instructions)
    assert timing.cycles >= max(sum(source.program.repetitions()) for source in sources)
    assert timing.executed_instructions <= 500 + 2 * sum(len(source.program.instructions) for source in sources)
    assert sum(timing.jobs) > 0 or not engines or len(sources) > 1
