"""The whole unit and what is wrong: every error is said with its place, and afterwards the unit is as good as new."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from small_unit import OpenDevice, SmallKind, execute, kinds, small_device, small_hardware
from top_commands import CommandMaker
from top_errors import FAULTY, Refused, refused_programs
from top_programs import DATA_BYTES, RandomProgram, random_program

from isa.decoder import DECODER, OPCODE_BITS, WORD_BYTES
from isa.encoding import encode
from isa.instructions import End, Fence, Halt, Instruction, Load, Loop, SetPointer, Sync
from isa.instructions.types import ENGINES
from rtl.axi import RESPONSE_OKAY
from rtl.control import RESPONSE_REFUSED
from rtl.driver import DeviceError, MemoryTiming
from rtl.errors import ErrorCode
from rtl.registers import ADDRESS_BITS, REGISTERS, SOURCES, register
from rtl.registers import WORD_BYTES as REGISTER_BYTES
from sim.functional.interpreter import run_program
from sim.hardware.execution import HardwareExecution

PROGRAM = 0x8000
BEHIND = 0x10000
"""Behind the data of random programs."""
MEMORY_BYTES = 0x18800
_ROOM_BYTES = 1024 * WORD_BYTES
TIMINGS = {
    "at once": MemoryTiming(faults=FAULTY),
    "hesitant": MemoryTiming(
        read_latency_cycles=30, latency_jitter_cycles=20, stall_probability=0.5, seed=1, faults=FAULTY
    ),
}


def memory(seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, MEMORY_BYTES, np.uint8)


def works(device: OpenDevice, made: RandomProgram) -> bool:
    """Whether a unit still executes a program as the interpreter does."""
    wanted = run_program(made.program, made.image.memory).memory
    return np.array_equal(HardwareExecution(device).run(made.program, made.image), wanted)


def with_room(made: RandomProgram) -> tuple[NDArray[np.uint8], int]:
    """A program's memory with room for the program behind it, and where that begins."""
    image = np.zeros(len(made.image.memory) + _ROOM_BYTES, np.uint8)
    image[: len(made.image.memory)] = made.image.memory
    return image, len(made.image.memory)


@pytest.fixture(scope="module", params=kinds("lut", "mac"))
def kind(request: pytest.FixtureRequest) -> SmallKind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def right(kind: SmallKind) -> RandomProgram:
    return random_program(small_hardware(kind).configuration, "right")


@pytest.fixture
def device(kind: SmallKind) -> Iterator[OpenDevice]:
    with small_device(kind, MemoryTiming(faults=FAULTY)) as device:
        yield device


def refusal(device: OpenDevice, case: Refused) -> tuple[ErrorCode, str, int]:
    with pytest.raises(DeviceError) as raised:
        execute(device, memory(), case.words, PROGRAM, limit_cycles=100_000)
    return raised.value.code, raised.value.source, raised.value.position


@pytest.mark.parametrize("timing", TIMINGS)
def test_every_error_is_said_with_who_found_it_and_where_the_front_end_was(kind: SmallKind, timing: str) -> None:
    cases = list(refused_programs(small_hardware(kind).configuration))
    with small_device(kind, TIMINGS[timing]) as device:
        found = {case.name: refusal(device, case) for case in cases}
    assert found == {case.name: (case.code, case.source, case.position) for case in cases}
    assert {case.code for case in cases} == set(ErrorCode) - {ErrorCode.NONE, ErrorCode.ABORTED}


def test_after_every_error_the_unit_works(kind: SmallKind, right: RandomProgram, device: OpenDevice) -> None:
    wrong = []
    for case in refused_programs(small_hardware(kind).configuration):
        with pytest.raises(DeviceError):
            execute(device, memory(), case.words, PROGRAM, limit_cycles=100_000)
        if not works(device, right):
            wrong.append(case.name)
    assert not wrong


def test_a_program_at_an_odd_place_or_out_of_memory_is_refused(device: OpenDevice, right: RandomProgram) -> None:
    for address, code in (
        (PROGRAM + 4, ErrorCode.MISALIGNED_ADDRESS),
        (PROGRAM + 1, ErrorCode.MISALIGNED_ADDRESS),
        (1 << 40, ErrorCode.READ_FAILED),
        (MEMORY_BYTES - WORD_BYTES, ErrorCode.READ_FAILED),
    ):
        with pytest.raises(DeviceError) as raised:
            device.run(memory(), address, 2)
        assert (raised.value.code, raised.value.source, raised.value.position) == (code, SOURCES[-1], 0)
    assert works(device, right)


def test_what_fails_in_memory_while_much_is_on_its_way_leaves_a_unit_that_works(kind: SmallKind) -> None:
    rng, codes = random.Random(3), set[ErrorCode]()
    made = random_program(small_hardware(kind).configuration, "faults")
    for number in range(25):
        begin = rng.randrange(len(made.image.memory))
        timing = replace(TIMINGS["hesitant"], seed=number, faults=range(begin, begin + rng.choice([1, 100])))
        with small_device(kind, timing) as device:
            image, place = with_room(made)
            try:
                execute(device, image, made.program.instructions, place)
                codes.add(ErrorCode.NONE)  # nobody was there
            except DeviceError as error:
                codes.add(error.code)
            # Nothing is faulty behind the data, which is where this one works.
            assert finishes(device)
    assert {ErrorCode.READ_FAILED, ErrorCode.WRITE_FAILED} <= codes
    assert not codes - {ErrorCode.NONE, ErrorCode.READ_FAILED, ErrorCode.WRITE_FAILED}


def finishes(device: OpenDevice) -> bool:
    """Whether a unit loads what is behind the data and comes to its end."""
    pointers = [SetPointer(target=0, base=BEHIND, ring_bytes=0), SetPointer(target=1, base=0, ring_bytes=0)]
    load = Load(space="weight", source=0, target=1, rows=1, row_bytes=4096, pitch_bytes=0)
    return execute(device, memory(), [*pointers, load, Fence(), Halt()], BEHIND).load_commands == 1


def test_a_program_that_does_not_end_is_stopped_wherever_it_is(kind: SmallKind, right: RandomProgram) -> None:
    rng = random.Random(4)
    with small_device(kind, TIMINGS["hesitant"]) as device:
        for _ in range(40):
            made = random_program(small_hardware(kind).configuration, f"stopped {rng.random()}")
            image = np.concatenate([made.image.memory, np.zeros(-len(made.image.memory) % 4096 + 40_000, np.uint8)])
            with pytest.raises(DeviceError) as raised:
                execute(
                    device, image, made.program.instructions, len(image) - 40_000, limit_cycles=rng.randint(1, 6000)
                )
            assert raised.value.code is ErrorCode.ABORTED
            assert raised.value.position < len(made.program.instructions)
    with small_device(kind, MemoryTiming(stall_probability=0.3)) as device:
        endless = [Loop(count=1 << 24), Loop(count=1 << 24), Sync(unit="load"), End(), End(), Halt()]
        for limit_cycles in (1, 100, 5000):
            with pytest.raises(DeviceError) as raised:
                execute(device, memory(), endless, PROGRAM, limit_cycles=limit_cycles)
            assert (raised.value.code, raised.value.source) == (ErrorCode.ABORTED, SOURCES[-1])
            assert works(device, right)


class Interrupted(Exception):  # noqa: N818
    """Someone has pulled the plug."""


def test_a_reset_in_the_middle_of_anything_leaves_a_unit_that_works(kind: SmallKind, right: RandomProgram) -> None:
    rng = random.Random(5)

    def interrupt(_cycles: int) -> None:
        raise Interrupted

    with small_device(kind, MemoryTiming(read_latency_cycles=20, stall_probability=0.2)) as device:
        for _ in range(20):
            image, place = with_room(right)
            with pytest.raises(Interrupted):
                execute(
                    device, image, right.program.instructions, place,
                    slice_cycles=rng.randint(1, 8000), progress=interrupt,
                )  # fmt: skip
            assert works(device, right)


def is_word(word: bytes) -> bool:
    """Whether the front end takes a word for an instruction."""
    bits = int.from_bytes(word, "little")
    known = [item for item in DECODER.words if item.opcode == bits & (1 << OPCODE_BITS) - 1]
    if not known or bits >> known[0].used_bits:
        return False
    choices = [field for field in known[0].fields if field.kind == "choice"]
    return all(bits >> field.offset & (1 << field.width) - 1 < len(field.choices) for field in choices)


def test_random_words_are_refused_where_they_stand_or_do_what_they_may(
    kind: SmallKind, right: RandomProgram, device: OpenDevice
) -> None:
    rng, maker = random.Random(6), CommandMaker(small_hardware(kind).configuration, random.Random(7), DATA_BYTES)
    outcomes = set[str]()
    for number in range(400):
        before: list[Instruction | bytes] = [
            SetPointer(target=rng.randrange(32), base=rng.randrange(1 << rng.choice([10, 48])), ring_bytes=0)
            for _ in range(rng.randrange(10))
        ]
        bits = int.from_bytes(encode(maker.any().instruction), "little")
        for _ in range(rng.randint(1, 6)):
            bits ^= 1 << rng.randrange(rng.choice([8, 200, 256]))
        word = rng.choice([rng.randbytes(WORD_BYTES), bits.to_bytes(WORD_BYTES, "little")])
        try:
            execute(device, memory(), [*before, word, Fence(), Halt()], PROGRAM, limit_cycles=3000)
            outcomes.add("finished")
            assert is_word(word)
        except DeviceError as error:
            outcomes.add(f"{error.code.name} by {error.source}")
            if not is_word(word):
                found = error.code, error.source, error.position
                assert found == (ErrorCode.ILLEGAL_INSTRUCTION, SOURCES[-1], len(before))
        if number % 20 == 0:
            assert works(device, right)
    assert {"finished", "ILLEGAL_INSTRUCTION by front end"} <= outcomes
    assert len({outcome.split(" by ")[1] for outcome in outcomes - {"finished"}}) >= len(ENGINES) - 1


def test_whatever_a_host_does_at_the_control_port_meanwhile_the_program_is_executed(
    right: RandomProgram, device: OpenDevice
) -> None:
    rng, settings = random.Random(8), {"program_address", "program_words"}
    control, status = register("control"), register("status")
    there = {item.offset + REGISTER_BYTES * word for item in REGISTERS for word in range(item.words)}
    refused = list[int]()

    def meddle(_cycles: int) -> None:
        if not device.peek(status.offset)[1] & status.mask("running"):
            return
        offset = rng.randrange(1 << ADDRESS_BITS) & ~3
        assert device.peek(offset)[0] == (RESPONSE_OKAY if offset in there else RESPONSE_REFUSED)
        for name in settings:
            refused.append(device.poke(register(name).offset, rng.getrandbits(32)))
        refused.append(device.poke(control.offset, control.mask("start")))
        if offset != control.offset:
            refused.append(device.poke(offset, rng.getrandbits(32)))
        assert device.poke(control.offset, 0) == RESPONSE_OKAY

    wanted = run_program(right.program, right.image.memory).memory
    image, place = with_room(right)
    execute(device, image, right.program.instructions, place, slice_cycles=200, progress=meddle)
    assert np.array_equal(image[: len(wanted)], wanted)
    assert len(refused) > 20
    assert set(refused) == {RESPONSE_REFUSED}
