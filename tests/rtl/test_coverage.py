"""Have the programs of the tests been everywhere? Stated bins to the last one, and a floor under lines and toggles."""

from __future__ import annotations

import os
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from coverage_bins import Bins, reached_bins, stated_bins
from coverage_device import counting_device
from coverage_stalls import crowded_program, reached_stalls, stated_stalls
from small_unit import SmallKind, execute, small_hardware
from top_errors import FAULTY, refused_programs
from top_programs import random_programs
from verilator_coverage import Coverage, read_coverage

from rtl.driver import DeviceError, MemoryTiming
from sim.hardware.execution import HardwareExecution

PROGRAM = 0x8000
PROGRAMS = 80
FLOORS = {"line": 0.99, "branch": 0.85, "toggle": 0.75}
"""Shares that have to be reached. The rest: upper bits of 48-bit addresses, 24-bit sizes and 64-bit counters, which
take memories and runs that no test has, and queues deeper than a small unit fills."""

TIMING = MemoryTiming(
    read_latency_cycles=20,
    cycles_per_beat=Fraction(3, 2),
    stall_probability=0.3,
    latency_jitter_cycles=20,
    faults=FAULTY,
)


def table(rows: list[tuple[str, int, int, str]]) -> str:
    width = max(len(row[0]) for row in rows)
    lines = (
        f"{name:{width}} {hit:6} of {total:6} {100 * hit / total:6.1f} %  {more}" for name, hit, total, more in rows
    )
    return "\n".join(lines)


def missing(stated: Bins, reached: Bins) -> tuple[str, bool]:
    """A table of groups, and whether every bin was reached."""
    rows, whole = list[tuple[str, int, int, str]](), True
    for group, bins in stated.items():
        left = bins - reached.get(group, set())
        whole &= not left
        rows.append((group, len(bins) - len(left), len(bins), ", ".join(sorted(map(str, left))[:5])))
    return table(rows), whole


def shares(coverage: list[Coverage]) -> tuple[str, dict[str, float]]:
    """A table of modules, those inside an engine or array with it, and the shares of the whole unit."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for item in coverage:
        module = ".".join(item.module.split(".")[:3])
        for key in ((module, item.kind), ("whole", item.kind)):
            counts[key][0] += item.hit
            counts[key][1] += item.total
    rows = [(f"{module}: {kind}", hit, total, "") for (module, kind), (hit, total) in sorted(counts.items())]
    return table(rows), {kind: hit / total for (module, kind), (hit, total) in counts.items() if module == "whole"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lut"] if os.environ.get("BITLOOM_SHORT") == "1" else ["lut", "mac"])
def test_every_stated_bin_is_reached_and_nearly_every_line(
    kind: SmallKind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = small_hardware(kind).configuration
    made = list(random_programs(configuration, PROGRAMS, 1))
    errors = set[tuple[str, str]]()
    with counting_device(kind, TIMING) as device:
        execution = HardwareExecution(device)
        for each in made:
            execution.run(each.program, each.image)
        memory = np.random.default_rng(1).integers(0, 256, FAULTY.stop, np.uint8)
        execute(device, memory, crowded_program(configuration), PROGRAM)
        for case in refused_programs(configuration):
            with pytest.raises(DeviceError) as raised:
                execute(device, memory, case.words, PROGRAM)
            errors.add((raised.value.code.name, raised.value.source))
        device.write_coverage(tmp_path / "coverage.dat")
    coverage = read_coverage([tmp_path / "coverage.dat"])
    reached = reached_bins(configuration, (each.program for each in made)) | {"errors: code x source": set(errors)}
    reached |= {"stalls": set(reached_stalls(coverage))}
    bins, whole = missing(stated_bins(configuration) | {"stalls": set(stated_stalls())}, reached)
    modules, found = shares(coverage)
    with capsys.disabled():
        print(f"\n{kind} unit, bins of {PROGRAMS} programs\n{bins}\n\nlines, branches, toggles\n{modules}")  # noqa: T201
    assert whole, bins
    assert all(found[kind] >= floor for kind, floor in FLOORS.items()), found
