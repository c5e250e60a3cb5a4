"""Testbench of the engines around a LUT array: `lmma` and `lutgen` at the pins, scratchpads in Python."""

from __future__ import annotations

import random

import cocotb
from array_cases import Cases, array_bench, table_bench
from array_units import small_configuration
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge
from engine_bench import EngineBench
from engine_checks import check_commands, check_faults, check_random_addresses, check_timing
from stream_agents import parameters, reset, start_clock


class _Pins:
    """`engine_bench.Pins` of a compiled unit."""

    def __init__(self, dut: HierarchyObject) -> None:
        self._dut = dut

    def get(self, name: str) -> int:
        return int(getattr(self._dut, name).value)

    def set(self, name: str, value: int) -> None:
        getattr(self._dut, name).value = int(value)

    async def settle(self) -> None:
        await FallingEdge(self._dut.clk)

    async def edge(self) -> None:
        await RisingEdge(self._dut.clk)


KINDS = ["lmma", "lutgen"]


async def _set_up(dut: HierarchyObject, kind: str) -> tuple[Cases, EngineBench]:
    dut.command__valid.value = dut.table__command__valid.value = 0
    await start_clock(dut)
    configuration = small_configuration(**parameters())
    cases = Cases(configuration, kind)
    make, name = (array_bench, "") if kind == "lmma" else (table_bench, "table__")
    return cases, make(_Pins(dut), configuration, cases.storage(), name)


@cocotb.test()
@cocotb.parametrize(kind=KINDS, rate=[1.0, 0.3, 0.03])
async def does_what_the_instruction_set_says(dut: HierarchyObject, kind: str, rate: float) -> None:
    cases, bench = await _set_up(dut, kind)
    for _ in range(3):
        bench.fill(cases.storage())
        await check_commands(cases, bench, rate, 40)


@cocotb.test()
@cocotb.parametrize(kind=KINDS)
async def tokens_come_when_the_model_of_time_says(dut: HierarchyObject, kind: str) -> None:
    cases, bench = await _set_up(dut, kind)
    await check_timing(cases, bench, 60)


@cocotb.test()
@cocotb.parametrize(kind=KINDS)
async def refuses_what_it_was_not_built_for(dut: HierarchyObject, kind: str) -> None:
    cases, bench = await _set_up(dut, kind)
    await check_faults(cases, bench)


@cocotb.test()
@cocotb.parametrize(kind=KINDS)
async def never_leaves_a_scratchpad(dut: HierarchyObject, kind: str) -> None:
    cases, bench = await _set_up(dut, kind)
    await check_random_addresses(cases, bench, 150)


@cocotb.test()
@cocotb.parametrize(kind=KINDS)
async def forgets_everything_at_reset(dut: HierarchyObject, kind: str) -> None:
    cases, bench = await _set_up(dut, kind)
    for _ in range(8):
        await bench.run([cases.command() for _ in range(20)], cycles=random.randrange(40))
        await reset(dut, random.randrange(1, 3))
        bench.fill(cases.storage())
        await check_commands(cases, bench, 1.0, 5)
