"""The table engine and the array engine with its arrays: compiled in one shape, in Amaranth's simulator in others."""

from __future__ import annotations

import random
from typing import Any

import pytest
from array_cases import Cases, array_bench, table_bench
from array_units import ArrayWithEngine, small_configuration
from cocotb_runner import run_cocotb
from engine_checks import check_commands, check_faults, check_random_addresses, check_timing
from simulated_pins import SimulatedPins, simulate

from rtl.configuration import Configuration, UnsupportedConfiguration
from rtl.engines.array import ArrayEngine
from rtl.engines.table import TableEngine


def test_engines_around_a_lut_array_do_what_the_instruction_set_says() -> None:
    shape: dict[str, Any] = {"weight_bits": 4}
    configuration = small_configuration(**shape)
    unit = ArrayWithEngine(configuration, TableEngine(configuration))
    passed = run_cocotb(unit, "bench_array_engine", parameters=shape)
    assert len(passed) == 14


@pytest.mark.parametrize(
    "shape",
    [
        {"kind": "mac", "weight_bits": 4},
        {"kind": "mac", "m": 1, "k": 1, "weight_bits": 8},
        {"kind": "mac", "m": 4, "k": 8, "weight_bits": 2},
        {"kind": "lut", "m": 1, "k": 2, "weight_bits": 3},
        {"kind": "lut", "m": 4, "k": 1, "weight_bits": 2},
        {"kind": "lut", "m": 2, "k": 4, "weight_bits": 1},
    ],
)
def test_array_engine_of_every_kind_and_shape(shape: dict[str, Any]) -> None:
    random.seed(3)
    configuration = small_configuration(**shape)
    unit, cases = ArrayWithEngine(configuration), Cases(configuration, "lmma")

    async def check(pins: SimulatedPins) -> None:
        bench = array_bench(pins, configuration, cases.storage())
        await check_commands(cases, bench, 1.0, 15)
        await check_commands(cases, bench, 0.05, 15)
        await check_timing(cases, bench, 5)
        await check_random_addresses(cases, bench, 12)
        await check_faults(cases, bench)

    simulate(unit, check)


@pytest.mark.parametrize(
    "shape", [{"k": 1, "tables_per_cycle": 1}, {"k": 2, "tables_per_cycle": 3}, {"k": 8, "tables_per_cycle": 2}]
)
def test_table_engine_of_every_shape(shape: dict[str, Any]) -> None:
    random.seed(5)
    configuration = small_configuration(**shape)
    cases = Cases(configuration, "lutgen")

    async def check(pins: SimulatedPins) -> None:
        bench = table_bench(pins, configuration, cases.storage())
        await check_commands(cases, bench, 1.0, 30)
        await check_commands(cases, bench, 0.05, 10)
        await check_timing(cases, bench, 10)
        await check_random_addresses(cases, bench, 15)
        await check_faults(cases, bench)

    simulate(TableEngine(configuration), check)


def test_pipeline_that_is_too_short_is_refused() -> None:
    unit = small_configuration().unit
    least = ArrayEngine.least_pipeline_cycles(small_configuration(), 3)
    assert least == 8
    short = Configuration(unit=unit, weight_bits=2, array_pipeline_cycles=least - 1)
    with pytest.raises(UnsupportedConfiguration, match="array_pipeline_cycles: found 7, expected at least 8"):
        ArrayEngine(short, array_latency_cycles=3)
    with pytest.raises(UnsupportedConfiguration, match="array_pipeline_cycles: found 2, expected at least 3"):
        TableEngine(Configuration(unit=unit, weight_bits=2, array_pipeline_cycles=2))


def test_what_cannot_be_addressed_or_has_no_tables_is_refused() -> None:
    with pytest.raises(UnsupportedConfiguration, match="weight_bits: found 3"):
        ArrayEngine(small_configuration("mac", weight_bits=3), array_latency_cycles=2)
    with pytest.raises(UnsupportedConfiguration, match=r"unit\.kind: found mac, expected lut"):
        TableEngine(small_configuration("mac"))
