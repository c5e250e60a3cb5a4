"""The queue between two streams, in simulation; formally it is held to its rules in `test_formal`."""

from __future__ import annotations

import pytest
from cocotb_runner import run_cocotb

from rtl.streams import StreamQueue


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_queue_passes_every_payload_in_order_under_any_back_pressure(depth: int) -> None:
    passed = run_cocotb(StreamQueue(8, depth=depth), "bench_stream_queue", parameters={"depth": depth})
    assert len(passed) == 9
