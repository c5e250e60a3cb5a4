"""The LUT array: compiled in one shape, in Amaranth's simulator in others."""

from __future__ import annotations

import random
from typing import Any

import pytest
from array_units import small_configuration
from cocotb_runner import run_cocotb
from lut_cases import Block, largest_block, random_block
from simulated_pins import SimulatedPins, simulate

from rtl.arrays.lut import LutArray
from rtl.configuration import UnsupportedConfiguration


def test_lut_array_gives_the_golden_sums_under_any_back_pressure() -> None:
    shape: dict[str, Any] = {"weight_bits": 4}
    passed = run_cocotb(LutArray(small_configuration(**shape)), "bench_lut_array", parameters=shape)
    assert len(passed) == 8


@pytest.mark.parametrize(
    "shape",
    [
        {"m": 1, "k": 1, "weight_bits": 8},
        {"m": 4, "k": 2, "weight_bits": 1},
        {"m": 1, "k": 8, "weight_bits": 2},
        {"m": 2, "k": 4, "weight_bits": 8},
    ],
)
def test_every_group_size_and_every_number_of_planes(shape: dict[str, Any]) -> None:
    random.seed(4)
    configuration = small_configuration(**shape)
    blocks = [random_block(configuration) for _ in range(12)]
    assert _sums(LutArray(configuration), blocks) == [block.sums for block in blocks]


def test_sums_beyond_32_bits_wrap_around_as_accumulators_do() -> None:
    configuration = small_configuration(m=1, k=1, weight_bits=8)
    blocks = [largest_block(configuration, 600, sign) for sign in (1, -1)]
    assert _sums(LutArray(configuration), blocks) == [block.sums for block in blocks]
    # 600 groups of 255 + 1 times 2^15 - 1, halved, are more than 2^31: an int32 has the other sign.
    assert [block.sums >> 31 & 1 for block in blocks] == [1, 0]


def _sums(array: LutArray, blocks: list[Block]) -> list[int]:
    taken = []

    async def bench(pins: SimulatedPins) -> None:
        pins.set("sums__ready", 1)
        for payload in [payload for block in blocks for payload in block.steps] + [None] * LutArray.LATENCY_CYCLES:
            pins.set("step__valid", payload is not None)
            pins.set("step__payload", payload or 0)
            await pins.edge()
            if pins.get("sums__valid"):
                taken.append(pins.get("sums__payload"))

    simulate(array, bench)
    return taken


def test_what_has_no_tables_is_refused() -> None:
    with pytest.raises(UnsupportedConfiguration, match=r"unit\.kind: found mac, expected lut"):
        LutArray(small_configuration("mac"))
