"""The load engine behind the shared read port and the guard: every byte, every error, and every cycle."""

from __future__ import annotations

from cocotb_runner import run_cocotb
from load_path import MemoryPath, path_parameters


def test_loads_put_every_byte_where_it_belongs_whatever_the_memory_does() -> None:
    assert len(run_cocotb(MemoryPath(), "bench_load", parameters=path_parameters())) == 13
