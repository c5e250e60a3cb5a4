"""The whole unit in two simulators, behind a memory and a host that others have written."""

from __future__ import annotations

import pytest
from cocotb_runner import run_cocotb
from small_unit import KINDS, SmallKind, small_hardware

from rtl.top import Top

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_executes_programs_over_axi(kind: SmallKind) -> None:
    top = Top(small_hardware(kind).configuration)
    passed = run_cocotb(top, "bench_top", parameters={"kind": kind, "seed": "axi"}, limit_seconds=900)
    assert len(passed) == 4


def test_the_unit_executes_programs_in_another_simulator() -> None:
    top = Top(small_hardware("lut").configuration)
    passed = run_cocotb(
        top,
        "bench_top",
        parameters={"kind": "lut", "seed": "axi"},
        tests="waits_for_ever",
        simulator="icarus",
        limit_seconds=900,
    )
    assert len(passed) == 1
