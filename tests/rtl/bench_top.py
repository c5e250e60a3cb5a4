"""The whole unit between a memory and a host that others have written: AxiRam at its memory port, a manager at its
control port."""

from __future__ import annotations

import random
from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb import start_soon
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import ClockCycles, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
from small_unit import small_hardware
from stream_agents import parameters, reset
from top_programs import RandomProgram, random_program

from isa.encoding import encode
from isa.instructions import Fence, Halt, Instruction, Load, SetPointer, Sync
from rtl.control import RESPONSE_REFUSED
from rtl.errors import ErrorCode
from rtl.registers import WORD_BYTES, register
from sim.functional.interpreter import run_program

RAM_BYTES = 1 << 17
PROGRAM = 1 << 16
FINISHED, FAILED = (register("status").mask(name) for name in ("finished", "failed"))


class Bench:
    """Host and memory."""

    def __init__(self, dut: HierarchyObject) -> None:
        self.clk = dut.clk
        self.ram = AxiRam(AxiBus.from_prefix(dut, "memory_"), dut.clk, dut.rst, size=RAM_BYTES)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "control_"), dut.clk, dut.rst)

    def hesitate(self, rate: float) -> None:
        """Every channel waits at random from now on."""
        for port in (self.ram, self.host):
            write, read = port.write_if, port.read_if
            for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
                channel.set_pause_generator(_at_random(rate))

    async def get(self, name: str) -> int:
        item = register(name)
        answer = await self.host.read(item.offset, WORD_BYTES * item.words)
        assert not answer.resp
        return int.from_bytes(answer.data, "little")

    async def put(self, name: str, value: int) -> int:
        item = register(name)
        answer = await self.host.write(item.offset, value.to_bytes(WORD_BYTES * item.words, "little"))
        return int(answer.resp)

    async def start(self, instructions: tuple[Instruction, ...] | list[Instruction]) -> None:
        """Put a program into memory and start it."""
        self.ram.write(PROGRAM, b"".join(encode(item) for item in instructions))
        assert not await self.put("program_address", PROGRAM)
        assert not await self.put("program_words", len(instructions))
        assert not await self.put("control", register("control").mask("start"))

    async def end(self) -> int:
        """What becomes of the program: `status`."""
        while not (status := await self.get("status")) & (FINISHED | FAILED):
            await ClockCycles(self.clk, 20)
        return status

    async def executes(self, made: RandomProgram) -> None:
        """A program leaves the memory that the interpreter leaves."""
        wanted = run_program(made.program, made.image.memory).memory
        self.ram.write(0, made.image.memory.tobytes())
        await self.start(made.program.instructions)
        assert await self.end() == FINISHED
        assert np.array_equal(np.frombuffer(self.ram.read(0, len(wanted)), np.uint8), wanted)


def _at_random(rate: float) -> Iterator[bool]:
    while True:
        yield random.random() < rate


async def _set_up(dut: HierarchyObject) -> tuple[Bench, RandomProgram]:
    # In reset before the first edge, so that nothing that is never reset keeps an unknown value.
    dut.rst.value = 1
    bench = Bench(dut)
    await Timer(1, "ns")
    start_soon(Clock(dut.clk, 2, unit="ns").start())
    await reset(dut, 4)
    given = parameters()
    return bench, random_program(small_hardware(given["kind"]).configuration, given["seed"])


@cocotb.test()
async def refuses_a_program_that_waits_for_ever_and_executes_the_next(dut: HierarchyObject) -> None:
    bench, _ = await _set_up(dut)
    await bench.start([Sync(unit="store", wait=frozenset({3})), Halt()])
    status = register("status")
    ended = await bench.end()
    assert status.extract("error", ended) == ErrorCode.DEADLOCK
    assert await bench.get("position") == 1
    pointers = [SetPointer(target=pointer, base=0, ring_bytes=0) for pointer in (0, 1)]
    load = Load(space="weight", source=0, target=1, rows=3, row_bytes=50, pitch_bytes=50)
    await bench.start([*pointers, load, Fence(), Halt()])
    assert await bench.end() == FINISHED
    assert await bench.get("load_commands") == 1


@cocotb.test()
@cocotb.parametrize(rate=[0.0, 0.5])
async def executes_a_program_of_every_instruction(dut: HierarchyObject, rate: float) -> None:
    bench, made = await _set_up(dut)
    bench.hesitate(rate)
    await bench.executes(made)


@cocotb.test()
async def is_stopped_and_reset_in_the_middle_and_executes_the_next_program(dut: HierarchyObject) -> None:
    bench, made = await _set_up(dut)
    bench.hesitate(0.3)
    bench.ram.write(0, made.image.memory.tobytes())
    await bench.start(made.program.instructions)
    await ClockCycles(dut.clk, 2000)
    assert await bench.put("program_words", 1) == RESPONSE_REFUSED
    assert not await bench.put("control", register("control").mask("stop"))
    assert register("status").extract("error", await bench.end()) == ErrorCode.ABORTED
    await bench.start(made.program.instructions)
    await ClockCycles(dut.clk, 3000)
    await reset(dut, 4)
    await bench.executes(made)
