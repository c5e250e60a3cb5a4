"""Testbench of `rtl.arrays.lut.LutArray`: sums of table lookups, whatever both sides do."""

from __future__ import annotations

import random

import cocotb
from array_units import small_configuration
from cocotb import start_soon
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from lut_cases import Block, random_block
from stream_agents import StreamEnd, drain, feed, obeys_stream_rules, parameters, reset, start_clock

from rtl.arrays.lut import LutArray


def _blocks(count: int, most_groups: int = 5) -> list[Block]:
    configuration = small_configuration(**parameters())
    return [random_block(configuration, most_groups) for _ in range(count)]


async def _set_up(dut: HierarchyObject) -> tuple[StreamEnd, StreamEnd]:
    step, sums = StreamEnd(dut, "step"), StreamEnd(dut, "sums")
    step.valid.value = step.payload.value = sums.ready.value = 0
    await start_clock(dut)
    start_soon(obeys_stream_rules(sums, dut.rst))
    return step, sums


async def _is_right(step: StreamEnd, sums: StreamEnd, blocks: list[Block], rates: tuple[float, float]) -> None:
    start_soon(feed(step, [payload for block in blocks for payload in block.steps], rates[0]))
    taken = await with_timeout(drain(sums, len(blocks), rates[1]), 1_000_000, "ns")
    assert taken == [block.sums for block in blocks]


@cocotb.test()
@cocotb.parametrize(rates=[(1.0, 1.0), (1.0, 0.1), (0.2, 1.0), (0.5, 0.5), (0.9, 0.05)])
async def sums_are_those_of_the_instruction_set(dut: HierarchyObject, rates: tuple[float, float]) -> None:
    step, sums = await _set_up(dut)
    await _is_right(step, sums, _blocks(60), rates)


@cocotb.test()
async def takes_a_step_every_cycle_and_is_as_late_as_it_says(dut: HierarchyObject) -> None:
    step, sums = await _set_up(dut)
    blocks = _blocks(20, 2)
    start_soon(feed(step, [payload for block in blocks for payload in block.steps]))
    sums.ready.value = 1
    expected, cycle = [], -1
    for block in blocks:
        cycle += len(block.steps)
        expected.append(cycle + LutArray.LATENCY_CYCLES)
    found = []
    for number in range(expected[-1] + 1):
        await FallingEdge(dut.clk)
        assert step.ready.value
        if sums.valid.value:
            found.append(number)
    assert found == expected


@cocotb.test()
async def waits_only_while_complete_sums_are_not_taken(dut: HierarchyObject) -> None:
    step, sums = await _set_up(dut)
    start_soon(feed(step, [payload for block in _blocks(100, 2) for payload in block.steps]))
    for _ in range(200):
        sums.ready.value = random.random() < 0.3
        await FallingEdge(dut.clk)
        assert step.ready.value == (not sums.valid.value or sums.ready.value)
        await RisingEdge(dut.clk)


@cocotb.test()
async def forgets_everything_at_reset(dut: HierarchyObject) -> None:
    step, sums = await _set_up(dut)
    for _ in range(10):
        feeding = start_soon(feed(step, [payload for block in _blocks(20) for payload in block.steps], 0.8))
        await drain(sums, random.randrange(3), 0.5)
        feeding.cancel()
        step.valid.value = 0
        await reset(dut, random.randrange(1, 4))
        await FallingEdge(dut.clk)
        assert not sums.valid.value
        await RisingEdge(dut.clk)
        await _is_right(step, sums, _blocks(5), (0.8, 0.8))
