"""The driver: a small unit that copies memory, behind every kind of memory, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copier import Copier, copy_words
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isa.program import Unit
from rtl.configuration import Configuration
from rtl.driver import Device, DeviceError, MemoryTiming, library_of
from rtl.errors import ErrorCode
from rtl.registers import Counters

BUS_BYTES = 32
TARGET = 1 << 14
CONFIGURATION = Configuration(
    unit=Unit("lut", 2, 8, 4, 1024, 1024, 1024, 1024, 1024), weight_bits=2, bus_bytes=BUS_BYTES
)
BURST_BEATS = 8


def run(
    device: Device, memory: NDArray[np.uint8], address: int, beats: int, *, target: int = TARGET, **more: Any
) -> Counters:
    return device.run(memory, address, copy_words(target, beats), **more)


@pytest.fixture(scope="module")
def library() -> Path:
    return library_of(Copier(CONFIGURATION, burst_beats=BURST_BEATS))


@pytest.fixture
def device(library: Path) -> Iterator[Device]:
    with Device(library, CONFIGURATION, MemoryTiming(read_latency_cycles=40)) as device:
        yield device


def image(size_bytes: int = 3 * TARGET) -> NDArray[np.uint8]:
    return np.random.default_rng(size_bytes).integers(0, 256, size_bytes, np.uint8)


def copied(before: NDArray[np.uint8], address: int, size_bytes: int) -> NDArray[np.uint8]:
    after = before.copy()
    after[TARGET : TARGET + size_bytes] = before[address : address + size_bytes][: len(after) - TARGET]
    return after


TIMINGS = st.builds(
    MemoryTiming,
    read_latency_cycles=st.integers(1, 100),
    write_latency_cycles=st.integers(1, 50),
    cycles_per_beat=st.fractions(1, 5, max_denominator=20),
    latency_jitter_cycles=st.integers(0, 20),
    stall_probability=st.floats(0, 0.9),
    seed=st.integers(0, 2**64 - 1),
)


@given(TIMINGS, st.integers(0, 20), st.integers(1, 200), st.booleans(), st.integers(1, 5000))
@settings(max_examples=60, deadline=None)
def test_copies_behind_any_memory(
    library: Path, timing: MemoryTiming, line: int, beats: int, hesitant: bool, slice_cycles: int
) -> None:
    memory, address = image(), line * BUS_BYTES * BURST_BEATS
    expected = copied(memory, address, beats * BUS_BYTES)
    with Device(library, CONFIGURATION, timing) as device:
        counters = device.run(memory, address, copy_words(TARGET, beats, hesitant=hesitant), slice_cycles=slice_cycles)
    assert (memory == expected).all()
    assert counters.read_beats == counters.written_beats == beats
    # A beat that is read has the bus before its latency, one that is written when it is there.
    assert counters.cycles >= (2 * beats - 1) * timing.cycles_per_beat
    assert counters.cycles >= beats * timing.cycles_per_beat + timing.read_latency_cycles


@pytest.mark.parametrize("bus_bytes", [4, 128])
@pytest.mark.slow
def test_copies_over_the_narrowest_and_the_widest_bus(bus_bytes: int) -> None:
    configuration = Configuration(unit=CONFIGURATION.unit, weight_bits=2, bus_bytes=bus_bytes)
    memory = image()
    expected = copied(memory, 0, 100 * bus_bytes)
    library = library_of(Copier(configuration, burst_beats=BURST_BEATS))
    with Device(library, configuration, MemoryTiming(stall_probability=0.3)) as device:
        run(device, memory, 0, 100)
    assert (memory == expected).all()


@pytest.mark.parametrize("cycles_per_beat", [Fraction(1), Fraction(4, 3), Fraction(5, 2), Fraction(7)])
def test_reads_and_writes_share_the_bandwidth_of_one_bus(library: Path, cycles_per_beat: Fraction) -> None:
    timing = MemoryTiming(read_latency_cycles=10, cycles_per_beat=cycles_per_beat)
    with Device(library, CONFIGURATION, timing) as device:
        short, long = (run(device, image(), 0, beats).cycles for beats in (100, 400))
    assert abs(long - short - 2 * 300 * cycles_per_beat) <= 4


def test_reads_and_writes_take_turns_burst_by_burst(library: Path) -> None:
    leads = list[int]()

    def look(_cycles: int) -> None:
        counters = device.counters()
        leads.append(counters.read_beats - counters.written_beats)

    with Device(library, CONFIGURATION, MemoryTiming(cycles_per_beat=Fraction(5))) as device:
        run(device, image(), 0, 400, slice_cycles=50, progress=look)
    assert BURST_BEATS // 2 <= max(leads) <= BURST_BEATS


def test_the_first_beat_comes_the_latency_after_its_address(library: Path) -> None:
    cycles = []
    for latency in (1, 2, 50):
        with Device(library, CONFIGURATION, MemoryTiming(read_latency_cycles=latency)) as device:
            cycles.append(run(device, image(), 0, 1).cycles)
    assert (cycles[1] - cycles[0], cycles[2] - cycles[0]) == (1, 49)


def test_an_answer_comes_the_latency_after_the_last_beat(library: Path) -> None:
    cycles = []
    for latency in (1, 2, 50):
        with Device(library, CONFIGURATION, MemoryTiming(write_latency_cycles=latency)) as device:
            cycles.append(run(device, image(), 0, 1).cycles)
    assert (cycles[1] - cycles[0], cycles[2] - cycles[0]) == (1, 49)


def test_the_same_seed_gives_the_same_cycles(library: Path) -> None:
    def cycles(seed: int) -> int:
        timing = MemoryTiming(stall_probability=0.3, latency_jitter_cycles=30, seed=seed)
        with Device(library, CONFIGURATION, timing) as device:
            return run(device, image(), 0, 200).cycles

    assert cycles(1) == cycles(1)
    assert len({cycles(seed) for seed in range(8)}) > 1


def test_programs_follow_each_other(device: Device) -> None:
    memory = image()
    expected = memory.copy()
    for beats in (5, 0, 100, 1):
        expected = copied(expected, 0, beats * BUS_BYTES)
        assert run(device, memory, 0, beats).written_beats == beats
        assert (memory == expected).all()


def test_progress_is_shown_every_slice_and_ends_at_the_end(device: Device) -> None:
    shown: list[int] = []
    counters = run(device, image(), 0, 500, slice_cycles=100, progress=shown.append)
    assert shown[:-1] == [100 * (index + 1) for index in range(len(shown) - 1)]
    assert counters.cycles <= shown[-1] <= counters.cycles + 100


def test_memory_may_end_within_a_beat(device: Device) -> None:
    tail = 10 * BUS_BYTES + 5
    memory = image(TARGET + tail)
    expected = copied(memory, 0, 11 * BUS_BYTES)
    with pytest.raises(DeviceError, match=r"write failed \(store\)"):
        run(device, memory, 0, 11)
    assert (memory == expected).all()
    run(device, memory, TARGET, 11, target=0)
    expected[:tail], expected[tail : 11 * BUS_BYTES] = expected[TARGET:], 0
    assert (memory == expected).all()
    with pytest.raises(DeviceError, match=r"read failed \(load\)"):
        run(device, memory, TARGET, 12, target=0)


@pytest.mark.parametrize(
    ("fault", "code", "source"),
    [(100 * BUS_BYTES + 7, ErrorCode.READ_FAILED, "load"), (TARGET + 30, ErrorCode.WRITE_FAILED, "store")],
)
def test_faults_of_the_memory_are_found_and_the_unit_goes_on(
    library: Path, fault: int, code: ErrorCode, source: str
) -> None:
    memory = image()
    expected = copied(memory, 0, 150 * BUS_BYTES)
    begin = fault // BUS_BYTES * BUS_BYTES
    with Device(library, CONFIGURATION, MemoryTiming(faults=range(fault, fault + 1))) as device:
        if source == "store":
            expected[begin : begin + BUS_BYTES] = memory[begin : begin + BUS_BYTES]
        else:
            expected[TARGET + begin : TARGET + begin + BUS_BYTES] = 0
        with pytest.raises(DeviceError) as raised:
            run(device, memory, 0, 150)
        assert (raised.value.code, raised.value.source, raised.value.position) == (code, source, 150)
        assert (memory == expected).all()
        assert run(device, memory, 0, 10, target=2 * TARGET).written_beats == 10


def test_a_program_is_stopped_at_its_limit_and_the_unit_goes_on(device: Device) -> None:
    with pytest.raises(DeviceError) as raised:
        run(device, image(), 0, 500, limit_cycles=300)
    assert (raised.value.code, raised.value.source) == (ErrorCode.ABORTED, "front end")
    assert 0 < raised.value.position < 500
    assert device.counters().written_beats == raised.value.position
    assert run(device, image(), 0, 500).written_beats == 500


def test_an_interrupt_resets_the_unit_which_goes_on(device: Device) -> None:
    def interrupt(_cycles: int) -> None:
        raise KeyboardInterrupt

    for slice_cycles in (1, 77, 500):
        memory = image()
        with pytest.raises(KeyboardInterrupt):
            run(device, memory, 0, 500, slice_cycles=slice_cycles, progress=interrupt)
        expected = copied(memory, 0, 500 * BUS_BYTES)
        assert run(device, memory, 0, 500).written_beats == 500
        assert (memory == expected).all()


def test_a_unit_that_breaks_the_rules_of_the_bus_is_found_out(device: Device) -> None:
    with pytest.raises(RuntimeError, match="wlast"):
        device.run(image(), 0, copy_words(TARGET, 10, unmarked=True))
    assert run(device, image(), 0, 10).written_beats == 10


def test_bursts_across_a_boundary_and_within_a_beat_are_found_out(device: Device) -> None:
    with pytest.raises(RuntimeError, match="crosses 4 KiB"):
        run(device, image(), 4096 - BUS_BYTES, 10)
    with pytest.raises(RuntimeError, match="middle of a beat"):
        run(device, image(), 1, 10)
    assert run(device, image(), 0, 10).written_beats == 10


def test_a_unit_of_another_configuration_is_refused(library: Path) -> None:
    other = Configuration(unit=CONFIGURATION.unit, weight_bits=4)
    with pytest.raises(ValueError, match="register datapath"):
        Device(library, other, MemoryTiming())


@pytest.mark.parametrize(
    "memory", [np.zeros(8, np.int8), np.zeros((2, 2), np.uint8), np.zeros(8, np.uint8)[::2], np.frombuffer(b"12", "u1")]
)
def test_memory_that_cannot_be_written_in_place_is_refused(device: Device, memory: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="contiguous writable uint8"):
        device.run(memory, 0, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"program_address": -1},
        {"program_address": 1 << 48},
        {"words": 1 << 32},
        {"limit_cycles": 0},
        {"slice_cycles": 0},
    ],
)
def test_arguments_out_of_range_are_refused(device: Device, changes: dict[str, int]) -> None:
    arguments = {"program_address": 0, "words": 1} | changes
    with pytest.raises(ValueError, match=next(iter(changes))):
        device.run(image(), **arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"read_latency_cycles": 0},
        {"write_latency_cycles": 0},
        {"latency_jitter_cycles": -1},
        {"cycles_per_beat": Fraction(1, 2)},
        {"cycles_per_beat": Fraction(2**40, 3)},
        {"stall_probability": 1.0},
        {"seed": -1},
        {"faults": range(0, 8, 2)},
        {"faults": range(-1, 8)},
    ],
)
def test_memory_timings_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        MemoryTiming(**changes)


def test_a_closed_device_is_refused(library: Path) -> None:
    with Device(library, CONFIGURATION, MemoryTiming()) as device:
        pass
    device.close()
    with pytest.raises(ValueError, match="closed"):
        run(device, image(), 0, 1)


def test_errors_can_be_copied_which_is_how_they_come_back_from_a_worker() -> None:
    error = copy(DeviceError(ErrorCode.DEADLOCK, "front end", 7))
    assert (error.code, error.source, error.position) == (ErrorCode.DEADLOCK, "front end", 7)
    assert str(error) == "deadlock (front end), with the front end at instruction 7"
