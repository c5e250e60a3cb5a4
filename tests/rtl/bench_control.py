"""The registers over AXI4-Lite: every address, every order of the handshakes, and what becomes of a program."""

from __future__ import annotations

import random
from collections.abc import Iterator

import cocotb
from cocotb import start_soon
from cocotb.handle import HierarchyObject
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from stream_agents import parameters, reset, start_clock

from rtl.control import RESPONSE_REFUSED
from rtl.errors import ErrorCode
from rtl.registers import ADDRESS_BITS, COUNTERS, REGISTERS, SOURCES, WORD_BYTES, register

FINISHED, FAILED, RUNNING = (register("status").mask(name) for name in ("finished", "failed", "running"))
START, STOP = (register("control").mask(name) for name in ("start", "stop"))


class Host:
    """What a host does, with words for numbers."""

    def __init__(self, dut: HierarchyObject) -> None:
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst)
        write, read = self.bus.write_if, self.bus.read_if
        self.starts = self.stops = 0
        start_soon(self._watch(dut))
        self.channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)

    async def _watch(self, dut: HierarchyObject) -> None:
        """Count for how many cycles `start` and `stop` are set."""
        while True:
            await FallingEdge(dut.clk)
            if not dut.rst.value:
                self.starts += int(dut.start.value)
                self.stops += int(dut.stop.value)
                assert not dut.stop.value or dut.running.value

    def hesitate(self, rate: float) -> None:
        """Every channel waits at random from now on."""
        for channel in self.channels:
            channel.set_pause_generator(_at_random(rate))

    async def read(self, offset: int, words: int = 1) -> int | None:
        """The number there, or None if it is refused."""
        answer = await with_timeout(self.bus.read(offset, WORD_BYTES * words), 10_000, "ns")
        assert answer.resp in (0, RESPONSE_REFUSED)
        return None if answer.resp else int.from_bytes(answer.data, "little")

    async def write(self, offset: int, value: int, size_bytes: int = WORD_BYTES) -> bool:
        """Whether the write is accepted."""
        data = value.to_bytes(size_bytes, "little")
        answer = await with_timeout(self.bus.write(offset, data), 10_000, "ns")
        assert answer.resp in (0, RESPONSE_REFUSED)
        return not answer.resp

    async def get(self, name: str) -> int:
        value = await self.read(register(name).offset, register(name).words)
        assert value is not None
        return value

    async def put(self, name: str, value: int) -> bool:
        return await self.write(register(name).offset, value, WORD_BYTES * register(name).words)


def _at_random(rate: float) -> Iterator[bool]:
    while True:
        yield random.random() < rate


async def _set_up(dut: HierarchyObject) -> Host:
    for name in ("running", "finished", "failed", "error", "error_source", "position", "counts"):
        getattr(dut, name).value = 0
    host = Host(dut)
    await start_clock(dut)
    return host


async def _run(dut: HierarchyObject, counts: list[int], outcome: str, error: int = 0, source: int = 0) -> None:
    """Behave like a unit: wait for the start, count, and come to an end."""
    while not dut.start.value:
        await FallingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.running.value = 1
    for number, bits in enumerate(counts):
        dut.counts.value, dut.position.value = bits, number
        if number == len(counts) - 1:
            dut.finished.value, dut.failed.value = outcome != "failed", outcome != "finished"
            dut.error.value, dut.error_source.value = error, source
        await RisingEdge(dut.clk)
    for name in ("running", "finished", "failed", "error", "error_source"):
        getattr(dut, name).value = 0
    dut.position.value, dut.counts.value = 12345, 2 ** len(COUNTERS) - 1


@cocotb.test()
async def says_what_it_is(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    expected = parameters()["after_reset"]
    assert {item.name: await host.get(item.name) for item in REGISTERS} == expected


@cocotb.test()
async def refuses_what_cannot_be_done_and_changes_nothing(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    writable = {
        item.offset + WORD_BYTES * word
        for item in REGISTERS
        for word in range(item.words)
        if item.access in ("setting", "command")
    }
    there = {item.offset + WORD_BYTES * word for item in REGISTERS for word in range(item.words)}
    before = [await host.read(offset) for offset in range(0, 1 << ADDRESS_BITS, WORD_BYTES)]
    for offset, value in zip(range(0, 1 << ADDRESS_BITS, WORD_BYTES), before, strict=True):
        assert (value is not None) == (offset in there)
        assert await host.write(offset, 0) == (offset in writable)
        assert offset in writable or not await host.write(offset, 0xFFFFFFFF)
    assert [await host.read(offset) for offset in range(0, 1 << ADDRESS_BITS, WORD_BYTES)] == before


@cocotb.test()
@cocotb.parametrize(rate=[0.0, 0.3, 0.8])
async def settings_keep_the_bytes_that_are_written(dut: HierarchyObject, rate: float) -> None:
    host = await _set_up(dut)
    host.hesitate(rate)
    begin, end = register("program_address").offset, register("position").offset
    held, ignored = bytearray(end - begin), range(6, 8)
    for _ in range(100):
        first = random.randrange(len(held))
        data = random.randbytes(random.randrange(1, min(4, len(held) - first) + 1))
        assert await host.write(begin + first, int.from_bytes(data, "little"), len(data))
        for place, byte in enumerate(data, first):
            held[place] = 0 if place in ignored else byte
        expected = int.from_bytes(held, "little")
        assert await host.read(begin, len(held) // WORD_BYTES) == expected
        assert int(dut.program_address.value) | int(dut.program_words.value) << 64 == expected


@cocotb.test()
@cocotb.parametrize(order=["address first", "data first", "answer last", "all at once"])
async def a_write_takes_effect_once_when_address_and_data_are_there(dut: HierarchyObject, order: str) -> None:
    host = await _set_up(dut)
    address, data, answer, *_ = host.channels
    late = {"address first": data, "data first": address, "answer last": answer}.get(order)
    if late is not None:
        late.pause = True
    writing = start_soon(host.put("control", START))
    await ClockCycles(dut.clk, 20)
    assert host.starts == (order in ("answer last", "all at once"))
    if late is not None:
        late.pause = False
    assert await writing
    await ClockCycles(dut.clk, 5)
    assert host.starts == 1


@cocotb.test()
async def a_write_waits_until_the_answer_before_it_was_taken(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    words = register("program_words").offset
    host.channels[2].pause = True
    writes = [start_soon(host.write(words, value)) for value in (1, 2, 3)]
    await ClockCycles(dut.clk, 30)
    assert dut.program_words.value == 1
    host.channels[2].pause = False
    assert [await writing for writing in writes] == [True] * 3
    assert dut.program_words.value == 3


@cocotb.test()
async def an_answer_stands_still_until_it_is_taken(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    host.channels[4].pause = True
    reading = start_soon(host.get("magic"))
    other = start_soon(host.get("version"))
    await ClockCycles(dut.clk, 5)
    for _ in range(20):
        await FallingEdge(dut.clk)
        assert dut.bus__rvalid.value
        assert dut.bus__rdata.value == parameters()["after_reset"]["magic"]
    host.channels[4].pause = False
    assert [await reading, await other] == [parameters()["after_reset"][name] for name in ("magic", "version")]


@cocotb.test()
async def shows_what_became_of_a_program(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    host.hesitate(0.2)
    for _ in range(30):
        outcome = random.choice(["finished", "failed", "both"])
        counts = [random.getrandbits(len(COUNTERS)) for _ in range(random.randrange(1, 100))]
        error = random.choice(list(ErrorCode)[1:]) if outcome != "finished" else ErrorCode.NONE
        source = random.randrange(len(SOURCES))
        unit = start_soon(_run(dut, counts, outcome, error, source))
        assert await host.put("control", START)
        await unit
        status = await host.get("status")
        assert bool(status & FINISHED) == (outcome == "finished")
        assert bool(status & FAILED) == (outcome != "finished")
        assert not status & RUNNING
        assert register("status").extract("error", status) == error
        assert register("status").extract("source", status) == (source if error else 0)
        assert await host.get("position") == len(counts) - 1
        for number, name in enumerate(COUNTERS):
            assert await host.get(name) == sum(bits >> number & 1 for bits in counts)


@cocotb.test()
async def a_program_is_running_or_has_ended_at_any_moment_since_the_first_start(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    for index in range(60):
        unit = start_soon(_run(dut, [0] * random.randrange(1, 20), "finished"))

        async def start_later() -> bool:
            await ClockCycles(dut.clk, random.randrange(1, 20))
            return await host.put("control", START)

        starting = start_soon(start_later())
        seen = [await host.get("status") for _ in range(12)]
        assert await starting
        await unit
        assert set(seen) <= {0 if index == 0 else FINISHED, RUNNING, FINISHED}
        assert await host.get("status") == FINISHED


@cocotb.test()
async def bytes_that_are_not_written_do_nothing(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    address, data, answer, *_ = host.channels
    for name, strobes in (("control", 0b1110), ("program_words", 0b0101)):
        at, what = address._transaction_obj(), data._transaction_obj()
        at.awaddr, what.wdata, what.wstrb = register(name).offset, 0xFFFFFFFF, strobes
        await data.send(what)
        await address.send(at)
        assert (await with_timeout(answer.recv(), 1_000, "ns")).bresp == 0
    await ClockCycles(dut.clk, 5)
    assert host.starts == host.stops == 0
    assert await host.get("program_words") == 0x00FF00FF


@cocotb.test()
async def while_a_program_runs_nothing_is_started_or_set(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    assert await host.put("program_words", 7)
    unit = start_soon(_run(dut, [1] * 300, "finished"))
    assert await host.put("control", START)
    assert await host.get("status") == RUNNING
    assert not await host.put("control", START)
    assert not await host.put("control", START | STOP)
    assert not await host.put("program_words", 8)
    assert not await host.put("program_address", 8)
    assert not await host.write(register("program_address").offset + WORD_BYTES, 8)
    assert (await host.get("program_words"), await host.get("program_address")) == (7, 0)
    assert 0 < await host.get("position") < 300
    await unit
    assert await host.get("cycles") == 300
    assert await host.put("program_words", 8)


@cocotb.test()
async def stops_only_what_runs(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    assert await host.put("control", STOP)
    assert await host.put("control", 0)
    assert not host.stops
    unit = start_soon(_run(dut, [0] * 100, "finished"))
    assert await host.put("control", START)
    assert await host.put("control", STOP)
    assert await host.put("control", 0)
    await unit
    assert host.stops == 1
    assert await host.get("status") == FINISHED


@cocotb.test()
async def forgets_everything_at_reset(dut: HierarchyObject) -> None:
    host = await _set_up(dut)
    for _ in range(20):
        host.hesitate(0.5)
        unit = start_soon(_run(dut, [random.getrandbits(len(COUNTERS)) for _ in range(20)], "failed", 3, 2))
        start_soon(host.bus.write(register("program_address").offset, random.randbytes(12)))
        start_soon(host.bus.write(register("control").offset, bytes([START, 0, 0, 0])))
        start_soon(host.bus.read(0, 16))
        await ClockCycles(dut.clk, random.randrange(1, 60))
        unit.cancel()
        dut.running.value = dut.failed.value = 0
        await reset(dut, random.randrange(1, 4))
        assert {item.name: await host.get(item.name) for item in REGISTERS} == parameters()["after_reset"]
