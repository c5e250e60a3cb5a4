"""The guard before the memory port, and the port that readers share."""

from __future__ import annotations

import pytest
from cocotb_runner import run_cocotb
from load_path import MemoryPath, path_parameters

from rtl.guard import MemoryGuard


def test_the_port_keeps_the_rules_of_axi_whatever_becomes_of_the_engines() -> None:
    assert len(run_cocotb(MemoryPath(), "bench_guard", parameters=path_parameters())) == 8


def test_a_guard_of_no_bursts_is_refused() -> None:
    with pytest.raises(ValueError, match="outstanding is 0, must be at least 1"):
        MemoryGuard(bus_bytes=8, outstanding=0)
