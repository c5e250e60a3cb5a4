"""Testbench of `rtl.streams.StreamQueue`: what is taken out is what was put in, in order, whatever both sides do."""

from __future__ import annotations

import random

import cocotb
from cocotb import start_soon
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from stream_agents import StreamEnd, drain, feed, obeys_stream_rules, parameters, reset, start_clock


async def _set_up(dut: HierarchyObject) -> tuple[StreamEnd, StreamEnd]:
    source, sink = StreamEnd(dut, "source"), StreamEnd(dut, "sink")
    source.valid.value = source.payload.value = sink.ready.value = 0
    await start_clock(dut)
    start_soon(obeys_stream_rules(sink, dut.rst))
    return source, sink


def _payloads(dut: HierarchyObject, count: int) -> list[int]:
    width = len(dut.source__payload)
    return [0, 2**width - 1, *(random.getrandbits(width) for _ in range(count - 2))]


async def _passes(source: StreamEnd, sink: StreamEnd, payloads: list[int], rates: tuple[float, float]) -> None:
    start_soon(feed(source, payloads, rates[0]))
    taken = await with_timeout(drain(sink, len(payloads), rates[1]), 100_000, "ns")
    assert taken == payloads


@cocotb.test()
@cocotb.parametrize(rates=[(1.0, 1.0), (1.0, 0.3), (0.3, 1.0), (0.5, 0.5), (0.1, 0.9), (0.9, 0.1)])
async def passes_all_payloads_in_order(dut: HierarchyObject, rates: tuple[float, float]) -> None:
    source, sink = await _set_up(dut)
    await _passes(source, sink, _payloads(dut, 200), rates)
    await FallingEdge(dut.clk)
    assert dut.level.value == 0


@cocotb.test()
async def holds_as_many_as_it_says(dut: HierarchyObject) -> None:
    source, _ = await _set_up(dut)
    depth = parameters()["depth"]
    start_soon(feed(source, _payloads(dut, depth + 3)))
    for _ in range(depth + 3):
        await RisingEdge(dut.clk)
    await FallingEdge(dut.clk)
    assert dut.level.value == depth
    assert not source.ready.value


@cocotb.test()
async def moves_a_payload_every_cycle(dut: HierarchyObject) -> None:
    source, sink = await _set_up(dut)
    start_soon(feed(source, _payloads(dut, 64)))
    sink.ready.value = 1
    moved = 0
    for _ in range(32):
        await FallingEdge(dut.clk)
        moved += sink.transfers
    assert moved == (31 if parameters()["depth"] > 1 else 16)


@cocotb.test()
async def forgets_everything_at_reset(dut: HierarchyObject) -> None:
    source, sink = await _set_up(dut)
    for _ in range(10):
        feeding = start_soon(feed(source, _payloads(dut, 50), 0.7))
        await drain(sink, random.randrange(8), 0.5)
        feeding.cancel()
        source.valid.value = 0
        await reset(dut, random.randrange(1, 4))
        await FallingEdge(dut.clk)
        assert dut.level.value == 0
        assert not sink.valid.value
        await RisingEdge(dut.clk)
        await _passes(source, sink, _payloads(dut, 10), (0.8, 0.8))
