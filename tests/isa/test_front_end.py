"""The front end against the same program unrolled in plain Python."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_examples import UNIT

from isa.front_end import FrontEnd
from isa.instructions import End, Fence, Halt, Load, Loop, SetPointer, Step
from isa.program import Program

POINTERS = st.integers(0, 3)
LOADS = st.builds(
    Load, space=st.just("weight"), source=POINTERS, target=POINTERS, rows=st.just(1), row_bytes=st.just(1),
    pitch_bytes=st.just(0),
)  # fmt: skip
STEPS = st.builds(Step, target=POINTERS, stride_bytes=st.integers(-50, 50))
SETS = st.builds(SetPointer, target=POINTERS, base=st.integers(0, 99), ring_bytes=st.integers(0, 9) | st.just(0))
# A body is a list of instructions and of (count, body).
BODIES = st.recursive(
    st.lists(LOADS | STEPS | SETS | st.just(Fence()), max_size=4),
    lambda body: st.tuples(body, st.integers(1, 4), body, body).map(
        lambda parts: [*parts[0], (parts[1], parts[2]), *parts[3]]
    ),
    max_leaves=5,
)


def flat(body):
    for item in body:
        if isinstance(item, tuple):
            yield from (Loop(count=item[0]), *flat(item[1]), End())
        else:
            yield item


def unrolled(body):
    for item in body:
        if isinstance(item, tuple):
            for _ in range(item[0]):
                yield from unrolled(item[1])
        else:
            yield item


def loads_of(body):
    """The addresses of every load, by the definition of pointers."""
    base, offset, ring = [0] * 4, [0] * 4, [0] * 4
    for item in unrolled(body):
        match item:
            case SetPointer():
                base[item.target], offset[item.target], ring[item.target] = item.base, 0, item.ring_bytes
            case Step():
                offset[item.target] += item.stride_bytes
                while ring[item.target] and not 0 <= offset[item.target] < ring[item.target]:
                    offset[item.target] += ring[item.target] if offset[item.target] < 0 else -ring[item.target]
            case Load():
                source, target = (base[index] + offset[index] for index in (item.source, item.target))
                yield item, {"source": source, "target": target}


@given(BODIES)
@settings(max_examples=60)
def test_loops_and_pointers_do_what_the_unrolled_program_does(body):
    program = Program((*flat(body), Halt()), (), UNIT)
    front_end, executed = FrontEnd(program), []
    while not front_end.halted:
        executed.append(front_end.execute())
    loads = [(item.instruction, dict(item.addresses)) for item in executed if isinstance(item.instruction, Load)]
    assert loads == list(loads_of(body))
    counts = program.repetitions()
    assert [sum(item.position == index for item in executed) for index in range(len(counts))] == counts
    assert len(loads) == program.executed_instructions
    assert all(program.instructions[item.position] is item.instruction for item in executed)
    assert not front_end.loops


def test_a_ring_alternates_between_two_halves_in_either_direction():
    set_pointer = SetPointer(target=0, base=100, ring_bytes=32)
    load = Load(space="weight", source=0, target=0, rows=1, row_bytes=1, pitch_bytes=0)
    for stride, expected in ((16, [100, 116, 100, 116]), (-16, [100, 116, 100, 116]), (40, [100, 108, 116, 124])):
        step = Step(target=0, stride_bytes=stride)
        front_end = FrontEnd(Program((set_pointer, Loop(count=4), load, step, End(), Halt()), (), UNIT))
        found = []
        while not front_end.halted:
            item = front_end.execute()
            found += [item.addresses["source"]] if item.instruction is load else []
        assert found == expected


def test_a_pointer_that_is_set_again_forgets_offset_and_ring():
    load = Load(space="weight", source=0, target=1, rows=1, row_bytes=1, pitch_bytes=0)
    step = Step(target=0, stride_bytes=5)
    sets = (SetPointer(target=0, base=100, ring_bytes=8), SetPointer(target=0, base=200, ring_bytes=0))
    program = Program((sets[0], step, load, sets[1], load, step, step, load, Halt()), (), UNIT)
    front_end, found = FrontEnd(program), []
    while not front_end.halted:
        item = front_end.execute()
        found += [dict(item.addresses)] if item.instruction is load else []
    assert found == [{"source": 105, "target": 0}, {"source": 200, "target": 0}, {"source": 210, "target": 0}]


def test_iterations_that_are_left_can_be_read_while_it_runs():
    program = Program((Loop(count=2), Loop(count=3), Fence(), End(), End(), Halt()), (), UNIT)
    front_end, seen = FrontEnd(program), []
    while not front_end.halted:
        if isinstance(front_end.execute().instruction, Fence):
            seen.append(tuple(loop.remaining for loop in front_end.loops))
    assert seen == [(2, 3), (2, 2), (2, 1), (1, 3), (1, 2), (1, 1)]


def test_nothing_is_executed_after_the_halt():
    front_end = FrontEnd(Program((Halt(),), (), UNIT))
    assert front_end.execute().addresses == {}
    assert front_end.halted
    with pytest.raises(ValueError, match="has halted"):
        front_end.execute()
