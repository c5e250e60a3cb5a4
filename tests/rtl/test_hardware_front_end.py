"""The front end in hardware hands out what that of the instruction set does, in order, with the same addresses."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from compiled import Stream, compile_component
from front_end_runs import CONFIGURATION, UNIT, OneRun, beats, expected_of, failing, program_of, run

from isa.decoder import DECODER
from isa.encoding import encode
from isa.instructions import DEEPEST_LOOP, End, Fence, Halt, Load, Loop, SetPointer, Step, Sync
from isa.program import Program
from rtl.errors import ErrorCode


@pytest.fixture(scope="module", params=[8, 32, 128])
def built(request):
    configuration = replace(CONFIGURATION, bus_bytes=request.param)
    return configuration, compile_component(OneRun(configuration))


def test_commands_are_those_of_the_instruction_set(built):
    generator = random.Random(1)
    for number in range(60):
        program = program_of(generator)
        expected, cycles, fences = expected_of(program)
        words = [encode(instruction) for instruction in program.instructions]
        pace = 1.0 if number % 2 else 0.4
        simulation, found = run(built, words, expected, pace)
        assert found == expected
        assert simulation["ended"] == 1
        assert simulation["failure"] == ErrorCode.NONE
        assert simulation["clears"] == fences
        if pace == 1.0:
            assert simulation["cycles"] == cycles


def test_pointers_go_round_their_rings(built):
    generator = random.Random(2)
    rings = {0: 0, 1: 1, 2: 96, 3: (1 << 20) - 7, 30: 1000, 31: 4096}
    instructions = [SetPointer(target=key, base=generator.randrange(1 << 40), ring_bytes=rings[key]) for key in rings]
    instructions.append(Loop(count=6))
    for _ in range(12):
        for key, ring in rings.items():
            reach = ring or 1 << 20
            stride = generator.choice([reach, -reach, generator.randint(-reach, reach)])
            instructions.append(Step(target=key, stride_bytes=stride))
            if generator.random() < 0.1:
                instructions.append(SetPointer(target=key, base=generator.randrange(1 << 40), ring_bytes=ring))
        source, target = generator.sample(list(rings), 2)
        instructions.append(
            Load(space="weight", source=source, target=target, rows=1, row_bytes=1, pitch_bytes=0),
        )
    program = Program((*instructions, End(), Halt()), (), UNIT)
    expected, _, _ = expected_of(program)
    simulation, found = run(built, [encode(item) for item in program.instructions], expected)
    assert found == expected
    assert simulation["failure"] == ErrorCode.NONE


def test_it_executes_an_instruction_a_cycle_around_loops(built):
    program = Program((Loop(count=100), Loop(count=3), End(), End(), Halt()), (), UNIT)
    expected, cycles, _ = expected_of(program)
    simulation, _ = run(built, [encode(item) for item in program.instructions], expected)
    assert simulation["cycles"] == cycles == 1 + 100 * (1 + 3 + 1) + 1


def test_words_that_are_no_instructions_are_refused_where_they_stand(built):
    fence, halt = encode(Fence()), encode(Halt())
    step = Step(target=3, stride_bytes=9)
    illegal = [
        bytes(32),
        b"\xff" * 32,
        halt[:-1] + b"\x01",
        encode(End()),
        encode(Sync(unit="store"))[:5] + b"\x07" + bytes(26),
    ]
    for word in illegal:
        assert failing(built, fence, fence, word, halt) == (ErrorCode.ILLEGAL_INSTRUCTION, 2)
    too_far = encode(SetPointer(target=3, base=0, ring_bytes=8)), encode(step)
    assert failing(built, *too_far, halt) == (ErrorCode.ILLEGAL_INSTRUCTION, 1)
    deep = [encode(Loop(count=2))] * (DEEPEST_LOOP + 1)
    assert failing(built, *deep, halt) == (ErrorCode.ILLEGAL_INSTRUCTION, DEEPEST_LOOP)
    assert failing(built, fence) == (ErrorCode.ILLEGAL_INSTRUCTION, 1)


def test_beats_that_come_with_an_error_are_said_at_the_end_of_the_program(built):
    words = [encode(Fence())] * 8 + [encode(Halt())]
    count = len(beats(words, built[0].bus_bytes))
    for bad in {0, count // 2, count - 1}:
        assert failing(built, *words, bad_beat=bad) == (ErrorCode.READ_FAILED, 0)


def test_fence_and_halt_wait_until_all_is_done(built):
    configuration, library = built
    words = [encode(Fence()), encode(Halt())]
    with library.simulation(program_words=len(words), idle=0) as simulation:
        for idle, clears, ended in ((0, 0, 0), (1, 1, 1)):
            simulation["idle"] = idle
            data = [] if idle else beats(words, configuration.bus_bytes)
            streams = Stream("read__data", data), Stream("read__request", len(data)), Stream("load", 1)
            simulation.exchange(*streams, cycles=50)
            assert (simulation["clears"], simulation["ended"], simulation["position"] > 0) == (
                clears,
                ended,
                bool(idle),
            )


def test_a_reset_at_any_time_leaves_a_front_end_that_works(built):
    configuration, library = built
    fence, halt = encode(Fence()), encode(Halt())
    words = [encode(Loop(count=3)), fence, fence, encode(End()), halt]
    data = beats(words, configuration.bus_bytes)
    with library.simulation(program_words=len(words), idle=1) as simulation:
        for cycles in range(60):
            for reset_after in (cycles, 300):
                streams = Stream("read__data", data, 0.7), Stream("read__request", len(data)), Stream("load", 1)
                simulation.exchange(*streams, cycles=reset_after, seed=cycles)
                found = simulation["ended"], simulation["clears"], simulation["cycles"]
                simulation["read__data__valid"] = 0
                simulation.reset(1)
            assert found == (1, 6, 11)


def test_choices_without_a_name_and_bits_behind_the_fields_are_refused(built):
    for word in DECODER.words:
        for choice in (field for field in word.fields if field.kind == "choice"):
            if len(choice.choices) < 1 << choice.width:
                for code in (len(choice.choices), (1 << choice.width) - 1):
                    bits = word.opcode | code << choice.offset
                    assert failing(built, bits.to_bytes(32, "little")) == (ErrorCode.ILLEGAL_INSTRUCTION, 0)
        for place in (word.used_bits, 255):
            bits = word.opcode | 1 << place
            assert failing(built, bits.to_bytes(32, "little")) == (ErrorCode.ILLEGAL_INSTRUCTION, 0)


def test_a_program_fills_the_store(built):
    steps = [SetPointer(target=0, base=(1 << 48) - 1, ring_bytes=0), *[Step(target=0, stride_bytes=-1)] * 20]
    load = Load(space="weight", source=0, target=0, rows=1, row_bytes=1, pitch_bytes=0)
    fences = [Fence()] * (CONFIGURATION.instruction_words - len(steps) - 2)
    program = Program((*fences, *steps, load, Halt()), (), UNIT)
    expected, cycles, _ = expected_of(program)
    simulation, found = run(built, [encode(item) for item in program.instructions], expected)
    assert found == expected
    assert (simulation["ended"], simulation["cycles"]) == (1, cycles)


def test_programs_that_the_store_does_not_hold_are_refused(built):
    for words in (0, CONFIGURATION.instruction_words + 1, 1 << 31):
        assert failing(built, count=words) == (ErrorCode.PROGRAM_TOO_LONG, 0)
