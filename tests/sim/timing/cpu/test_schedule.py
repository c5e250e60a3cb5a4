"""Cycles out of order are those that one counts by hand, and never fewer than any resource allows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_core import small_core

import sim.simd.x86  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem
from sim.simd.kernels.i2_s import I2_S_KERNELS
from sim.timing.cpu import schedule as schedule_module
from sim.timing.cpu.core import load_core
from sim.timing.cpu.schedule import schedule

# Dispatch, and the way through an empty pipe.
_START_CYCLES = 8


def repeated(write, count=1000, overhead=0, alignment=0):
    a = Assembler("test", 32, {"in": 1 << 20, "out": 1 << 20}, {"in": alignment})
    x, y = a.op("zero"), a.op("zero")
    with a.loop("turn", count, overhead) as turn:
        write(a, turn, x, y)
    return a.program()


def cycles_of(write, core=None, **options):
    return schedule(core or small_core(), repeated(write, **options)).cycles


def close(cycles, expected):
    return expected <= cycles <= expected + _START_CYCLES


def test_independent_additions_take_both_pipes():
    assert close(cycles_of(lambda a, _turn, x, y: a.op("vpaddw", x, y)), 500)


def test_a_chain_takes_its_latency():
    assert close(cycles_of(lambda a, _turn, x, y: a.into(x, "vpmaddubsw", x, y)), 3000)


def test_a_pipe_that_is_not_pipelined_is_busy_for_all_its_cycles():
    assert close(cycles_of(lambda a, _turn, x, y: a.op("vpmaddwd", x, y)), 2000)


def test_wider_vectors_take_a_pipe_twice():
    assert close(cycles_of(lambda a, _turn, x, y: a.op("vpaddw", x, y, size_bytes=64)), 1000)


def test_instructions_of_two_pieces_take_two_places():
    timing = small_core().instructions["vpaddw"].model_copy(update={"pieces": 2})
    core = small_core(instructions=dict(small_core().instructions) | {"vpaddw": timing})
    assert close(cycles_of(lambda a, _turn, x, y: a.op("vpaddw", x, y), core), 1000)


def test_dispatch_is_a_limit_of_its_own():
    def write(a, _turn, x, y):
        a.op("vpaddw", x, y)

    # An addition and seven instructions on integers: eight in two cycles, seven cycles on the one pipe for integers.
    assert close(cycles_of(write, overhead=7), 7000)
    assert close(cycles_of(write, small_core(dispatch_width=1), overhead=1), 2000)


def test_loads_take_their_pipe_and_longer_across_lines():
    def write(a, turn, _x, _y):
        a.load("in", turn * 32)

    assert close(cycles_of(write), 1000)
    # From 48 on, every other load of 32 bytes crosses a line.
    assert close(cycles_of(write, alignment=48), 1500)


def test_the_reorder_buffer_hides_a_latency_only_as_far_as_it_reaches():
    def write(a, _turn, x, y):
        a.op("vpmaddubsw", x, y)

    assert close(cycles_of(write), 1000)
    assert cycles_of(write, small_core(reorder_buffer=1)) >= 3000


@pytest.mark.parametrize("name", [kernel.name for kernel in I2_S_KERNELS])
def test_a_steady_loop_goes_on_as_if_all_of_it_were_simulated(name, monkeypatch):
    kernel = next(each for each in I2_S_KERNELS if each.name == name)
    program = kernel.steps(Problem(1280, 640, 4))[0].program
    shortened = schedule(load_core("zen4"), program)
    monkeypatch.setattr(schedule_module, "_LONGEST", 1 << 30)
    whole = schedule(load_core("zen4"), program)
    assert shortened.instructions == pytest.approx(whole.instructions, rel=1e-9)
    assert shortened.cycles == pytest.approx(whole.cycles, rel=0.01)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["vpaddw", "vpmaddubsw", "vpmaddwd", "load"]), min_size=1, max_size=12), st.randoms())
def test_no_resource_is_busy_for_longer_than_it_takes(names, random):
    def write(a, turn, x, y):
        registers = [x, y]
        for name in names:
            if name == "load":
                registers.append(a.load("in", turn * 32))
            else:
                registers.append(a.op(name, random.choice(registers), random.choice(registers)))

    found = schedule(small_core(), repeated(write, 50))
    assert all(busy <= found.cycles for busy in found.busy.values())
    assert found.instructions == 50 * len(names) + 2


def test_an_instruction_that_a_core_does_not_have_is_named():
    with pytest.raises(ValueError, match="small does not say how long vpavgb takes"):
        cycles_of(lambda a, _turn, x, y: a.op("vpavgb", x, y))
