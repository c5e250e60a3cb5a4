"""Testbench of `MemoryGuard` and `ReadPort`: two readers and a writer, who are reset in the middle of what they do.

`load_path.MemoryPath` is what is simulated, as in `bench_load`.
"""

from __future__ import annotations

import random

import cocotb
from cocotb import start_soon
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from load_agents import BUS, GIVEN, MEMORY_BYTES, hesitating_memory, set_up
from stream_agents import StreamEnd, drain, feed

ADDRESS_BITS = 48


def load_payload(source: int, size: int) -> int:
    """A load of one row into the weights."""
    fields = {"space": 1, "source": source, "row_bytes": size - 1}
    return sum(value << GIVEN["fields"][name] for name, value in fields.items())


def some_burst(begin: int, end: int) -> tuple[int, int]:
    """Address and beats of a burst within some addresses."""
    beats = random.choice([1, 2, random.randrange(1, 17)])
    return random.randrange(begin, end - 16 * BUS, 16 * BUS), beats


async def write_bursts(dut: HierarchyObject, memory: bytearray, bursts: list[tuple[int, int]], rate: float) -> None:
    """Write random beats with random strobes, addresses ahead of them; `memory` is what it shall be in the end."""
    dut.store__awsize.value, dut.store__awburst.value, dut.store__bready.value = BUS.bit_length() - 1, 1, 1
    beats = [(address + BUS * beat) for address, count in bursts for beat in range(count)]
    data = [(random.getrandbits(8 * BUS), random.choice([random.getrandbits(BUS), (1 << BUS) - 1])) for _ in beats]
    for address, (word, strobes) in zip(beats, data, strict=True):
        for byte in range(BUS):
            if strobes >> byte & 1:
                memory[address + byte] = word >> 8 * byte & 0xFF

    async def send(channel: str, items: list[dict[str, int]]) -> None:
        valid, ready = getattr(dut, f"store__{channel}valid"), getattr(dut, f"store__{channel}ready")
        for item in items:
            while random.random() >= rate:
                valid.value = 0
                await RisingEdge(dut.clk)
            valid.value = 1
            for name, value in item.items():
                getattr(dut, f"store__{channel}{name}").value = value
            await FallingEdge(dut.clk)
            while not ready.value:
                await FallingEdge(dut.clk)
            await RisingEdge(dut.clk)
        valid.value = 0

    sending = [
        start_soon(send("aw", [{"addr": address, "len": count - 1} for address, count in bursts])),
        start_soon(send("w", [{"data": word, "strb": strobes, "last": 0} for word, strobes in data])),
    ]
    try:
        answers = 0
        while answers < len(bursts):
            await FallingEdge(dut.clk)
            answers += bool(dut.store__bvalid.value)
            await RisingEdge(dut.clk)
    finally:
        for each in sending:
            each.cancel()


async def read_bursts(dut: HierarchyObject, bursts: list[tuple[int, int]], rate: float) -> list[int]:
    """Beats that the second reader gets, as the bits of the data stream."""
    requests = [address | beats - 1 << ADDRESS_BITS for address, beats in bursts]
    start_soon(feed(StreamEnd(dut, "other__request"), requests, rate))
    return await drain(StreamEnd(dut, "other__data"), sum(beats for _, beats in bursts), rate)


@cocotb.test()
@cocotb.parametrize(hesitating=[0.0, 0.5], rate=[1.0, 0.4])
async def readers_and_a_writer_share_the_port(dut: HierarchyObject, hesitating: float, rate: float) -> None:
    memory = hesitating_memory(dut, hesitating)
    await set_up(dut)
    content = bytearray(memory.read(0, MEMORY_BYTES))
    middle = MEMORY_BYTES // 4
    reads = [some_burst(0, middle) for _ in range(60)]
    wanted = [
        int.from_bytes(content[at : at + BUS], "little") | (at == address + BUS * (beats - 1)) << 8 * BUS + 1
        for address, beats in reads
        for at in range(address, address + BUS * beats, BUS)
    ]
    loads = [load_payload(random.randrange(middle), random.randrange(1, 300)) for _ in range(30)]
    loading = start_soon(feed(StreamEnd(dut, "command"), loads, rate))
    writing = start_soon(write_bursts(dut, content, [some_burst(middle, 2 * middle) for _ in range(60)], rate))
    assert await with_timeout(read_bursts(dut, reads, rate), 100_000, "ns") == wanted
    await with_timeout(writing, 100_000, "ns")
    await with_timeout(loading, 100_000, "ns")
    await _until_quiet(dut)
    assert memory.read(0, MEMORY_BYTES) == content


@cocotb.test()
async def what_is_reset_in_the_middle_leaves_the_port_quiet_and_the_memory_whole(dut: HierarchyObject) -> None:
    memory = hesitating_memory(dut, 0.4)
    await set_up(dut)
    middle = MEMORY_BYTES // 4
    for _ in range(25):
        before, after = bytearray(memory.read(0, MEMORY_BYTES)), bytearray(memory.read(0, MEMORY_BYTES))
        # Of no byte that is written twice.
        bursts = [(at, random.randrange(1, 17)) for at in random.sample(range(middle, 2 * middle, 16 * BUS), 20)]
        working = [
            start_soon(write_bursts(dut, after, bursts, 0.8)),
            start_soon(feed(StreamEnd(dut, "command"), [load_payload(random.randrange(999), 700)] * 9)),
            start_soon(feed(StreamEnd(dut, "other__request"), [some_burst(0, middle)[0] | 7 << ADDRESS_BITS] * 9)),
            start_soon(drain(StreamEnd(dut, "other__data"), 999, random.choice([0.0, 0.5, 1.0]))),
        ]
        for _ in range(random.randrange(1, 120)):
            await RisingEdge(dut.clk)
        dut.engine_reset.value = dut.stop.value = 1
        await RisingEdge(dut.clk)
        for each in working:
            each.cancel()
        # One of them may have come before the cancellation at this edge.
        await RisingEdge(dut.clk)
        for name in ("command__valid", "other__request__valid", "store__awvalid", "store__wvalid", "store__bready"):
            getattr(dut, name).value = 0
        dut.other__data__ready.value = 0
        await _until_quiet(dut)
        await RisingEdge(dut.clk)
        dut.engine_reset.value = dut.stop.value = 0
        assert not dut.working.value
        now = memory.read(0, MEMORY_BYTES)
        assert all(byte in choice for byte, *choice in zip(now, before, after, strict=True)), (
            "something else was written"
        )
        address, beats = some_burst(0, middle)
        got = await with_timeout(read_bursts(dut, [(address, beats)], 1.0), 10_000, "ns")
        data = [now[at : at + BUS] for at in range(address, address + BUS * beats, BUS)]
        assert [(beat & (1 << 8 * BUS) - 1).to_bytes(BUS, "little") for beat in got] == data


@cocotb.test()
async def nothing_is_taken_from_the_engines_while_stopped(dut: HierarchyObject) -> None:
    await set_up(dut)
    dut.m_axi__arready.value = dut.m_axi__awready.value = dut.m_axi__wready.value = 1
    dut.m_axi__rvalid.value = dut.m_axi__bvalid.value = 0
    dut.stop.value = dut.store__awvalid.value = dut.store__wvalid.value = dut.other__request__valid.value = 1
    for _ in range(20):
        await FallingEdge(dut.clk)
        assert dut.quiet.value
        taken = ("store__awready", "store__wready", "other__request__ready")
        offered = ("m_axi__arvalid", "m_axi__awvalid", "m_axi__wvalid")
        assert not any(getattr(dut, name).value for name in (*taken, *offered))


@cocotb.test()
async def a_beat_is_written_every_cycle(dut: HierarchyObject) -> None:
    await set_up(dut)
    dut.m_axi__arready.value = dut.m_axi__awready.value = dut.m_axi__wready.value = 1
    dut.m_axi__rvalid.value = dut.m_axi__bvalid.value = 0
    bursts = [(0x100 * number, 1 + number % 3) for number in range(30)]
    start_soon(write_bursts(dut, bytearray(MEMORY_BYTES), bursts, 1.0))
    moved = []
    for _ in range(80):
        await FallingEdge(dut.clk)
        moved.append(bool(dut.m_axi__wvalid.value))
    assert moved.index(True) == 2
    assert sum(moved) == sum(moved[2:62]) == 60


@cocotb.test()
async def no_more_bursts_are_asked_for_than_may_be_outstanding(dut: HierarchyObject) -> None:
    await set_up(dut)
    dut.m_axi__arready.value = 1
    dut.m_axi__rvalid.value = dut.m_axi__bvalid.value = 0
    start_soon(feed(StreamEnd(dut, "other__request"), [0x40 * number for number in range(100)]))
    asked = 0
    for _ in range(150):
        await FallingEdge(dut.clk)
        asked += bool(dut.m_axi__arvalid.value)
    assert asked == GIVEN["outstanding"]


async def _until_quiet(dut: HierarchyObject) -> None:
    for _ in range(20_000):
        await FallingEdge(dut.clk)
        if dut.quiet.value:
            return
    raise AssertionError("the port does not become quiet")
