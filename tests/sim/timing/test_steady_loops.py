"""Steady loops are skipped, and nothing but the time of the simulation shows it."""

from dataclasses import asdict
from time import process_time

import numpy as np
import pytest
from event_programs import (
    FLAT,
    TILES,
    PatternMemory,
    Tiling,
    load,
    machines,
    memories,
    program_of,
    source_of,
    step,
    sync,
    tangles,
    tilings,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from varied_machines import machine_of

from isa import InputError
from isa.instructions import End, Loop
from sim.timing.dram import Transfer
from sim.timing.event import ProgramSource, Recorder, TaskSource, simulate_programs
from sim.timing.tasks import Task

EVERYTHING = 1 << 30


def timed(machine, sources, memory, *, skipping: bool) -> dict[str, object] | str:
    """All fields that skipping must not change, or the error; a recorder that is never full prevents it."""
    try:
        timing = simulate_programs(machine, sources, memory, Recorder(0 if skipping else EVERYTHING))
    except InputError as error:
        return str(error)
    fields = asdict(timing)
    assert skipping or fields["skipped_cycles"] == 0
    return {name: value for name, value in fields.items() if name not in ("executed_instructions", "skipped_cycles")}


def assert_skipping_is_exact(machine, programs, memory) -> None:
    sources = [source_of(program, memory, machine) for program in programs]
    assert timed(machine, sources, memory, skipping=True) == timed(machine, sources, memory, skipping=False)


@settings(max_examples=40, deadline=None)
@given(machine=machines, tiling=tilings, memory=memories)
def test_one_core_takes_the_same_time_with_and_without_skipping(machine, tiling, memory):
    assert_skipping_is_exact(machine, [tiling.program()], memory)


@settings(max_examples=40, deadline=None)
@given(machine=machines, cores=st.lists(tilings, min_size=2, max_size=3), memory=memories, equal=st.booleans())
def test_cores_that_share_the_memory_take_the_same_time_with_and_without_skipping(machine, cores, memory, equal):
    chosen = [cores[0]] * len(cores) if equal else cores
    assert_skipping_is_exact(machine, [tiling.program() for tiling in chosen], memory)


@settings(max_examples=40, deadline=None)
@given(machine=machines, programs=st.lists(tangles(), min_size=1, max_size=3), memory=memories)
def test_tokens_in_a_tangle_end_or_block_alike_with_and_without_skipping(machine, programs, memory):
    assert_skipping_is_exact(machine, programs, memory)


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.integers(1, 30), st.lists(st.tuples(st.sampled_from([10, 300]), st.integers(1, 90)), max_size=4)),
        min_size=1,
        max_size=3,
    ),
    stride=st.sampled_from([0, 64, 100]),
    memory=memories,
    cores=st.integers(1, 2),
)
def test_lists_that_repeat_are_skipped_exactly(parts, stride, memory, cores):
    """Chunks of a load, a computation and a store, cut anew in each part, at ever new addresses."""
    tasks = [Task("array", "sync", 1, signal=frozenset({0}))] * 2
    bodies = [body for times, body in parts for _ in range(times)]
    for number, (size_bytes, cycles) in enumerate(chunk for body in bodies for chunk in body):
        place = Transfer(number * stride, 1, size_bytes, 0)
        tasks += [
            Task("load", "load", 1, place, latency_cycles=30, wait=frozenset({0}), signal=frozenset({1})),
            Task("array", "vector", cycles, wait=frozenset({1}), signal=frozenset({0, 2})),
            Task("store", "store", 1, place, wait=frozenset({2})),
        ]
    sources = [TaskSource("test", tasks)] * cores
    skipped, whole = (timed(machine_of(), sources, memory, skipping=skipping) for skipping in (True, False))
    assert skipped == whole


def test_results_that_are_under_way_are_none_that_repeat():
    """While the first loads are under way, one iteration looks like the next, but for what will arrive."""
    begin = [Loop(count=100), load(16, (), (1,)), End()]
    program = program_of(*begin, Loop(count=100), sync("array", (1,)), End())
    memory = PatternMemory(400, (7,))
    assert_skipping_is_exact(machine_of(), [program], memory)
    assert simulate_programs(machine_of(), [source_of(program, memory)], memory).jobs[:3] == (100, 0, 100)


def test_a_stream_of_equal_chunks_is_simulated_in_a_few():
    chunk = [Task("load", "load", 1, signal=frozenset({1})), Task("array", "vector", 9, wait=frozenset({1}))]
    timing = simulate_programs(machine_of(), [TaskSource("test", chunk * 20_000)], FLAT)
    assert timing.executed_instructions < 200
    assert timing.jobs[:3] == (20_000, 0, 20_000)
    assert timing.cycles == 1 + 1 + 9 * 20_000


@pytest.mark.parametrize("ports", [None, 4])
@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize("pattern", [(7,), (3, 90, 41, 0)])
def test_long_loops_are_skipped_whatever_shares_memory_and_ports(ports, cores, pattern):
    machine, memory = machine_of(**{"buffers.port_bytes": ports}), PatternMemory(80, pattern)
    tiling = Tiling((3,), 150, 2, 400, 64, 900, 64, (64, 96, 256), "accumulate", fenced=False)
    sources = [source_of(tiling.program(), memory, machine)] * cores
    assert simulate_programs(machine, sources, memory).skipped_cycles > 0
    assert timed(machine, sources, memory, skipping=True) == timed(machine, sources, memory, skipping=False)


def test_a_million_steady_iterations_are_simulated_in_a_few():
    machine = machine_of()
    for outer, inner in (((), 1_000_000), ((1000,), 1000), ((100_000,), 10), ((100, 100), 100)):
        tiling = Tiling(outer, inner, 2, 4096, 64, 256, 64, (4096, 64, 256), "overwrite", fenced=False)
        began = process_time()
        timing = simulate_programs(machine, [source_of(tiling.program(), FLAT)], FLAT)
        assert process_time() - began < 0.5
        assert timing.executed_instructions < 1500
        assert timing.jobs[0] == 2_000_000
        assert timing.cycles >= timing.memory_busy_cycles >= 1_000_000 * ((4096 + 64) // 16 + 2 * 7)


def test_cores_that_take_turns_are_skipped_together():
    machine = machine_of()
    sources = [source_of(TILES.program(), FLAT) for _ in range(3)]
    timing = simulate_programs(machine, sources, FLAT)
    assert timing.executed_instructions < 3000
    assert timing.memory_busy_cycles == 3 * (1_000_000 * (4096 // 16 + 7 + 64 // 16 + 7) + 256 // 16 + 7)


def test_bounds_of_a_run_count_what_is_simulated_and_not_what_repeats():
    """An empty loop of 2^48 iterations is over at once; one whose tokens grow for ever is not."""
    counts = [Loop(count=(1 << 24) - 1)] * 2
    empty = program_of(*counts, step(3, 64), End(), End())
    timing = simulate_programs(machine_of(), [source_of(empty, FLAT)], FLAT, most_executed=1000)
    assert timing.cycles == ((1 << 24) - 1) * (2 + 2 * ((1 << 24) - 1)) + 2
    growing = program_of(*counts, sync("load", signal=(1,)), End(), End())
    with pytest.raises(InputError, match="more than 1000"):
        simulate_programs(machine_of(), [source_of(growing, FLAT)], FLAT, most_executed=1000)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), tiling=tilings)
def test_cycles_of_real_operands_are_never_skipped(data, tiling):
    program = tiling.program()
    count = int(np.prod([*tiling.outer, tiling.inner]))
    cycles = data.draw(st.lists(st.integers(1, 60), min_size=count, max_size=count).map(np.array))
    source = ProgramSource("operands", program, source_of(program, FLAT).costs, cycles)
    timing = simulate_programs(machine_of(), [source], FLAT)
    assert timing.compute_cycles == int(cycles.sum())
    if len(set(cycles.tolist())) > 1:
        assert timing.skipped_cycles == 0


def test_pointers_that_no_time_depends_on_do_not_delay_the_skip():
    """A stride prime to the span repeats only after 256 iterations, unless all addresses are equally fast."""
    tiling = Tiling((), 100_000, 2, 4096, 64, 256, 64, (1, 3, 256), "overwrite", fenced=False)
    equal = simulate_programs(machine_of(), [source_of(tiling.program(), FLAT)], FLAT)
    memory = PatternMemory(50, (7, 7, 7, 9))
    varied = simulate_programs(machine_of(), [source_of(tiling.program(), memory)], memory)
    assert equal.executed_instructions < 400 < varied.executed_instructions < 10_000
