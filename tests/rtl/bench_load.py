"""Testbench of the load engine behind `ReadPort` and `MemoryGuard`, beside another reader and a writer.

`load_path.MemoryPath` is what is simulated. The memory is cocotbext-axi's where it hesitates, and a pipeline of fixed
latency where cycles are counted.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb import start_soon
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from load_agents import BAD, BUS, GIVEN, MEMORY_BYTES, FixedLatencyMemory, hesitating_memory, set_up
from stream_agents import StreamEnd, feed

from isa.instructions.types import SCRATCHPADS

ADDRESSES = 1 << 48
SIZES, ERRORS = GIVEN["sizes"], GIVEN["errors"]
ACCUMULATORS = SCRATCHPADS.index("accumulator")


@dataclass(frozen=True)
class Load:
    """A command, in the units of the instruction."""

    space: int
    source: int
    target: int
    rows: int
    row_bytes: int
    pitch_bytes: int

    @property
    def payload(self) -> int:
        """The command's bits."""
        values = {
            "space": self.space,
            "source": self.source,
            "target": self.target,
            "rows": self.rows - 1,
            "row_bytes": self.row_bytes - 1,
            "pitch_bytes": self.pitch_bytes,
        }
        return sum(value << GIVEN["fields"][name] for name, value in values.items())

    @property
    def addresses(self) -> Iterator[int]:
        """Where its bytes lie in memory, in order."""
        for row in range(self.rows):
            for byte in range(self.row_bytes):
                yield (self.source + row * self.pitch_bytes + byte) % ADDRESSES

    @property
    def beats(self) -> int:
        """Bus beats that its rows touch."""
        ends = ((self.source + row * self.pitch_bytes, self.row_bytes) for row in range(self.rows))
        return sum((begin % BUS + size - 1) // BUS + 1 for begin, size in ends)

    @property
    def size(self) -> int:
        """Bytes of the scratchpad; of one that there is not, none."""
        return int(SIZES[self.space]) if self.space < len(SIZES) else 0

    @property
    def fits(self) -> bool:
        """Whether it lies within its scratchpad."""
        return self.target + self.rows * self.row_bytes <= self.size

    @property
    def tears(self) -> bool:
        """Whether it has a part of an accumulator: what whole units refuse (`test_top_errors`)."""
        return self.space == ACCUMULATORS and bool(self.target % 4 or self.rows * self.row_bytes % 4)

    @property
    def reads_bad(self) -> bool:
        """Whether a beat that it asks for comes with an error."""
        return any(address // BUS * BUS % MEMORY_BYTES in BAD for address in self.addresses)


def some_load(fitting: bool = True, good: bool = True) -> Load:
    """A command of any shape that meets the wishes."""
    while True:
        space = random.randrange(len(SIZES)) if fitting or random.random() < 0.8 else random.randrange(8)
        size = SIZES[space] if space < len(SIZES) else 64
        load = Load(
            space=space,
            source=random.choice([random.randrange(MEMORY_BYTES), 4096 * 2 - random.randrange(40), ADDRESSES - 70]),
            target=random.choice([random.randrange(size), random.randrange(size) // BUS * BUS, size - 3, 0])
            if fitting or random.random() < 0.8
            else random.choice([size, size + 5, 1 << 32, 1 << 40, ADDRESSES - 9]),
            rows=random.choice([1, 1, 2, 5]),
            row_bytes=random.choice([1, 2, BUS, BUS + 1, random.randrange(1, 60), random.randrange(1, 1200)]),
            pitch_bytes=random.choice([0, 3, 64, random.randrange(5000), (1 << 32) - 1]),
        )
        if load.fits >= fitting and load.reads_bad <= (not good) and not load.tears:
            return load


class Scratchpads:
    """What the engine writes; compared with what it should have written in the very cycle of each `done`."""

    def __init__(self, dut: HierarchyObject, memory: Any) -> None:
        self.dut, self.memory = dut, memory
        self.found, self.wanted = ([bytearray(size) for size in SIZES] for _ in range(2))
        self.commands: deque[Load] = deque()
        self.done_at: list[int] = []
        self.errors: list[int] = []
        self.cycle = 0

    async def watch(self) -> None:
        """Run forever beside a test."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            self.cycle += 1
            if dut.write__enable.value:
                self._write(int(dut.space.value), int(dut.write__index.value) * BUS)
            if dut.error.value:
                self.errors.append(int(dut.error.value))
            if dut.done.value:
                assert dut.working.value, "done, but not working"
                self._finish(self.commands.popleft())
            else:
                assert not dut.working.value or self.commands, "working on nothing"

    def _write(self, space: int, address: int) -> None:
        word, mask = int(self.dut.write__data.value).to_bytes(BUS, "little"), int(self.dut.write__mask.value)
        assert mask, "a write of nothing"
        assert address + BUS <= SIZES[space], "a write beyond the end"
        for byte in range(BUS):
            if mask >> byte & 1:
                self.found[space][address + byte] = word[byte]

    def _finish(self, load: Load) -> None:
        reads_bad = load.reads_bad
        if load.space < len(SIZES):
            wanted = self.wanted[load.space]
            for target, address in enumerate(load.addresses, load.target):
                if target < load.size:
                    at = address % MEMORY_BYTES
                    wanted[target] = 0xFF if at // BUS * BUS in BAD else self.memory.read(at, 1)[0]
        if reads_bad and load.space < len(SIZES):
            # What came with an error may be anything, within the bounds.
            bad = slice(load.target, load.target + load.rows * load.row_bytes)
            self.wanted[load.space][bad] = self.found[load.space][bad]
        expected = [ERRORS["READ_FAILED"]] * reads_bad + [ERRORS["ILLEGAL_ADDRESS"]] * (not load.fits)
        assert sorted(self.errors) == sorted(expected), f"{load}: errors {self.errors}"
        self.errors.clear()
        assert self.found == self.wanted, f"{load}: other bytes than expected"
        self.done_at.append(self.cycle)

    async def run(self, loads: list[Load], rate: float = 1.0) -> None:
        """Have commands executed."""
        already = len(self.done_at)
        self.commands.extend(loads)
        start_soon(feed(StreamEnd(self.dut, "command"), [load.payload for load in loads], rate))
        while len(self.done_at) < already + len(loads):
            await RisingEdge(self.dut.clk)


async def executing(dut: HierarchyObject, memory: Any) -> Scratchpads:
    """The engine in front of a memory."""
    await set_up(dut)
    pads = Scratchpads(dut, memory)
    start_soon(pads.watch())
    return pads


@cocotb.test()
@cocotb.parametrize(hesitating=[0.0, 0.3, 0.8], rate=[1.0, 0.05])
async def commands_of_all_shapes(dut: HierarchyObject, hesitating: float, rate: float) -> None:
    pads = await executing(dut, hesitating_memory(dut, hesitating))
    await with_timeout(pads.run([some_load() for _ in range(40)], rate), 1_000_000, "ns")


@cocotb.test()
async def errors_are_said_once_and_nothing_is_written_outside(dut: HierarchyObject) -> None:
    pads = await executing(dut, hesitating_memory(dut, 0.2))
    loads = [some_load(fitting=random.random() < 0.3, good=random.random() < 0.7) for _ in range(60)]
    # One that would come around to the beginning.
    for load in (*loads, Load(1, 0, ADDRESSES - 9, 1, 20 * BUS, 0), some_load()):
        await with_timeout(pads.run([load]), 100_000, "ns")


@cocotb.test()
async def a_reset_in_the_middle_leaves_an_engine_that_works(dut: HierarchyObject) -> None:
    pads = await executing(dut, hesitating_memory(dut, 0.3))
    for _ in range(20):
        loads = [some_load() for _ in range(10)]
        pads.commands.extend(loads)
        feeding = start_soon(feed(StreamEnd(dut, "command"), [load.payload for load in loads]))
        for _ in range(random.randrange(1, 200)):
            await RisingEdge(dut.clk)
        dut.engine_reset.value = dut.stop.value = 1
        await RisingEdge(dut.clk)
        feeding.cancel()
        await RisingEdge(dut.clk)
        dut.command__valid.value = 0
        while not dut.quiet.value:
            await FallingEdge(dut.clk)
        await RisingEdge(dut.clk)
        dut.engine_reset.value = dut.stop.value = 0
        # What was on its way may have been written or not.
        pads.wanted = [bytearray(found) for found in pads.found]
        pads.commands.clear()
        pads.errors.clear()
        await with_timeout(pads.run([some_load() for _ in range(3)]), 100_000, "ns")


async def time_loads(dut: HierarchyObject, loads: list[Load]) -> tuple[Scratchpads, FixedLatencyMemory]:
    """Execute commands with a memory of 50 cycles of latency."""
    memory = FixedLatencyMemory(dut, 50)
    pads = await executing(dut, memory)
    start_soon(memory.serve())
    await with_timeout(pads.run(loads), 100_000, "ns")
    assert len(memory.beat_at) == sum(load.beats for load in loads)
    return pads, memory


@cocotb.test()
async def rows_of_a_beat_are_read_one_a_cycle(dut: HierarchyObject) -> None:
    loads = [Load(0, 0x100, 0, rows=100, row_bytes=BUS, pitch_bytes=3 * BUS)]
    pads, memory = await time_loads(dut, loads)
    assert memory.asked_at == list(range(memory.asked_at[0], memory.asked_at[0] + 100))
    assert memory.beat_at == list(range(memory.asked_at[0] + 50, memory.asked_at[0] + 150))
    assert pads.done_at == [memory.beat_at[-1] + 1]


@cocotb.test()
async def commands_of_a_beat_follow_each_other_without_a_gap(dut: HierarchyObject) -> None:
    loads = [Load(number % 2, 0x40 * number, BUS * number, 1, BUS, 0) for number in range(100)]
    pads, memory = await time_loads(dut, loads)
    first = memory.beat_at[0]
    assert memory.beat_at == list(range(first, first + 100))
    assert pads.done_at == [at + 1 for at in memory.beat_at]


@cocotb.test()
async def commands_of_long_rows_follow_each_other_without_a_gap(dut: HierarchyObject) -> None:
    loads = [Load(1, 1024 * number, 0, 1, 1024, 0) for number in range(4)]
    pads, memory = await time_loads(dut, loads)
    first = memory.beat_at[0]
    assert memory.beat_at == list(range(first, first + 4 * 1024 // BUS))
    assert pads.done_at == [memory.beat_at[128 * number - 1] + 1 for number in (1, 2, 3, 4)]


@cocotb.test()
async def a_rest_takes_one_cycle_more(dut: HierarchyObject) -> None:
    loads = [Load(0, 0x100 * number, 5, 1, 4 * BUS, 0) for number in range(10)]
    pads, memory = await time_loads(dut, loads)
    # The last beat of a command stands in the packer while its rest is written: the beat behind it waits.
    assert memory.beat_at[-1] - memory.beat_at[0] == 40 + 9 - 1
    assert pads.done_at[-1] == memory.beat_at[-1] + 2


@cocotb.test()
async def the_first_request_is_at_the_memory_two_cycles_after_the_command(dut: HierarchyObject) -> None:
    memory = FixedLatencyMemory(dut, 50)
    pads = await executing(dut, memory)
    start_soon(memory.serve())
    command = StreamEnd(dut, "command")
    start_soon(pads.run([Load(0, 0, 0, 1, 1, 0)]))
    await FallingEdge(dut.clk)
    while not command.transfers:
        await FallingEdge(dut.clk)
    cycles = 0
    while not dut.m_axi__arvalid.value:
        await FallingEdge(dut.clk)
        cycles += 1
    # One in the engine, one in the guard.
    assert cycles == 2
