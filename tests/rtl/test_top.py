"""The whole unit against the interpreter: the same bytes everywhere in memory, and the cycles of the event model."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from small_unit import KINDS, SmallKind, kinds, small_device, small_hardware
from top_programs import RandomProgram, random_programs

from rtl.driver import MemoryTiming
from sim.evaluation.hardware_runs import compare_with_hardware, random_runs
from sim.functional.interpreter import run_program
from sim.hardware.execution import HardwareExecution

HESITANT = MemoryTiming(
    read_latency_cycles=20,
    write_latency_cycles=9,
    cycles_per_beat=Fraction(7, 4),
    latency_jitter_cycles=30,
    stall_probability=0.4,
    seed=1,
)
TIMINGS = {
    "at once": MemoryTiming(),
    "late": MemoryTiming(read_latency_cycles=300, write_latency_cycles=200),
    "slow": MemoryTiming(read_latency_cycles=7, cycles_per_beat=Fraction(9, 2)),
    "hesitant": HESITANT,
    "most hesitant": MemoryTiming(latency_jitter_cycles=90, stall_probability=0.9, seed=2),
}

MEDIAN_ERROR, WORST_ERROR = 0.01, 0.03
SHORT_CYCLES, SHORT_DIFFERENCE_CYCLES = 300, 15
"""Of a program as short as that a percent is less than a cycle or two of a pipeline."""


def same(execution: HardwareExecution, made: RandomProgram) -> bool:
    """Whether hardware and interpreter leave the same memory, and have changed it."""
    wanted = run_program(made.program, made.image.memory).memory
    assert (wanted != made.image.memory).any()
    return np.array_equal(execution.run(made.program, made.image), wanted)


def far_off(runs: pd.DataFrame) -> pd.DataFrame:
    """Programs whose cycles are not those of the event model."""
    difference = (runs.event_cycles - runs.rtl_cycles).abs()
    allowed = (WORST_ERROR * runs.rtl_cycles).where(runs.rtl_cycles > SHORT_CYCLES, SHORT_DIFFERENCE_CYCLES)
    return runs[difference > allowed]


@pytest.mark.parametrize("kind", kinds("lut", "mac"))
def test_lowered_products_leave_the_interpreters_memory_in_the_event_models_cycles(kind: SmallKind) -> None:
    hardware = small_hardware(kind)
    with small_device(kind) as device:
        runs = compare_with_hardware(hardware, HardwareExecution(device), random_runs(hardware, 40, 1))
    assert runs.equal.all(), runs[~runs.equal].to_string()
    assert runs.error.abs().median() <= MEDIAN_ERROR
    assert kind != "lut" or far_off(runs).empty, far_off(runs).to_string()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_lowered_products_leave_the_interpreters_memory(kind: SmallKind) -> None:
    hardware = small_hardware(kind)
    with small_device(kind) as device:
        runs = compare_with_hardware(hardware, HardwareExecution(device), random_runs(hardware, 100, 2))
    assert runs.equal.all(), runs[~runs.equal].to_string()
    assert runs.error.abs().median() <= MEDIAN_ERROR
    # Scratchpads of a few tiles: loads and stores wait for each other, and whose turn it is decides some programs.
    assert len(far_off(runs)) <= 0.07 * len(runs), far_off(runs).to_string()


@pytest.mark.parametrize("kind", kinds("lut"))
@pytest.mark.parametrize("timing", ["hesitant", "late", "most hesitant"])
def test_lowered_products_leave_the_interpreters_memory_behind_any_memory(kind: SmallKind, timing: str) -> None:
    hardware = small_hardware(kind)
    with small_device(kind, TIMINGS[timing]) as device:
        runs = compare_with_hardware(hardware, HardwareExecution(device), random_runs(hardware, 10, 3))
    assert runs.equal.all(), runs[~runs.equal].to_string()


@pytest.mark.parametrize("kind", kinds("lut", "mac"))
@pytest.mark.parametrize("timing", TIMINGS)
def test_random_programs_of_every_instruction_leave_the_interpreters_memory(kind: SmallKind, timing: str) -> None:
    hardware = small_hardware(kind)
    with small_device(kind, TIMINGS[timing]) as device:
        execution = HardwareExecution(device)
        wrong = [
            number
            for number, made in enumerate(random_programs(hardware.configuration, 20, 4 + list(TIMINGS).index(timing)))
            if not same(execution, made)
        ]
    assert not wrong


@pytest.mark.parametrize("kind", kinds("lut"))
def test_a_program_leaves_the_same_memory_however_the_memory_hesitates(kind: SmallKind) -> None:
    (made,) = random_programs(small_hardware(kind).configuration, 1, 99)
    cycles = set[int]()
    for seed in range(10):
        timing = MemoryTiming(latency_jitter_cycles=40, stall_probability=0.5, seed=seed)
        with small_device(kind, timing) as device:
            assert same(HardwareExecution(device), made)
            cycles.add(device.counters().cycles)
    assert len(cycles) > 1
