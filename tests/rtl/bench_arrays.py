"""Testbench of the arrays side by side: their sums, at paces of their own, with resets in the middle of anything."""

from __future__ import annotations

import random

import cocotb
from cocotb import start_soon
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge, gather, with_timeout
from product_arrays import Block, configuration_of, random_block, random_ternary_block
from stream_agents import StreamEnd, drain, feed, obeys_stream_rules, parameters, reset, start_clock


class Array:
    """The two streams of an array, and blocks of random operands for it."""

    def __init__(self, dut: HierarchyObject, name: str) -> None:
        self.dut, self.what = dut, parameters()[name]
        self.step, self.sums = StreamEnd(dut, f"{name}_step"), StreamEnd(dut, f"{name}_sums")
        self.stop()

    def stop(self) -> None:
        """Neither offer nor take."""
        self.step.valid.value = self.step.payload.value = self.sums.ready.value = 0

    def block(self) -> Block:
        """A block of random operands."""
        if self.what["kind"] == "ternary":
            return random_ternary_block(*self.what["shape"], random)
        return random_block(configuration_of(**self.what), random)

    async def multiplies(self, count: int, paces: tuple[float, float]) -> None:
        """Check some blocks."""
        blocks = [self.block() for _ in range(count)]
        start_soon(feed(self.step, [step for block in blocks for step in block.steps], paces[0]))
        taken = await with_timeout(drain(self.sums, count, paces[1]), 100_000, "ns")
        assert taken == [block.sums for block in blocks]


async def _set_up(dut: HierarchyObject) -> list[Array]:
    arrays = [Array(dut, name) for name in parameters()]
    await start_clock(dut)
    for array in arrays:
        start_soon(obeys_stream_rules(array.sums, dut.rst))
    return arrays


def _pace() -> float:
    return random.choice([0.1, 0.3, 0.7, 1.0])


@cocotb.test()
async def sums_are_products(dut: HierarchyObject) -> None:
    arrays = await _set_up(dut)
    for _ in range(6):
        await gather(*[array.multiplies(15, (_pace(), _pace())) for array in arrays])


@cocotb.test()
async def resets_leave_working_arrays(dut: HierarchyObject) -> None:
    arrays = await _set_up(dut)
    for _ in range(12):
        feeding = [
            start_soon(feed(array.step, [step for _ in range(20) for step in array.block().steps], 0.8))
            for array in arrays
        ]
        draining = [start_soon(drain(array.sums, 20, 0.4)) for array in arrays]
        for _ in range(random.randrange(1, 20)):
            await RisingEdge(dut.clk)
        for task in [*feeding, *draining]:
            task.cancel()
        for array in arrays:
            array.stop()
        await reset(dut, random.randrange(1, 4))
        await gather(*[array.multiplies(3, (0.9, 0.9)) for array in arrays])
