"""The queue between two streams, in simulation, and that the testbench finds what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module
from amaranth.lib import wiring
from cocotb_runner import run_cocotb
from verilator_coverage import read_coverage

from rtl.streams import StreamQueue

BENCH = "bench_stream_queue"


class Broken(wiring.Component):
    """A queue of depth 3 with a fault."""

    def __init__(self, fault: str) -> None:
        self._fault, self._queue = fault, StreamQueue(8, depth=3)
        super().__init__(self._queue.signature)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        queue, full = self._queue, self._queue.level == 3
        if self._fault == "keeps its payloads at reset":
            m.domains.unreset = ClockDomain(reset_less=True)
            m.d.comb += ClockSignal("unreset").eq(ClockSignal())
            m.submodules.queue = DomainRenamer("unreset")(queue)
        else:
            m.submodules.queue = queue
        m.d.comb += [
            queue.source.valid.eq(self.source.valid),
            queue.source.payload.eq(self.source.payload),
            self.source.ready.eq(queue.source.ready | (full & (self._fault == "takes payloads when full"))),
            self.sink.valid.eq(queue.sink.valid & ~(full & (self._fault == "withdraws an offer when full"))),
            self.sink.payload.eq(queue.sink.payload),
            queue.sink.ready.eq(self.sink.ready),
            self.level.eq(queue.level),
        ]
        return m


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_queue_passes_every_payload_in_order_under_any_back_pressure(depth: int) -> None:
    assert len(run_cocotb(StreamQueue(8, depth=depth), BENCH, parameters={"depth": depth})) == 9


@pytest.mark.slow
def test_queue_does_the_same_in_another_simulator() -> None:
    assert len(run_cocotb(StreamQueue(8, depth=2), BENCH, parameters={"depth": 2}, simulator="icarus")) == 9


@pytest.mark.parametrize(
    "fault", ["takes payloads when full", "withdraws an offer when full", "keeps its payloads at reset"]
)
def test_testbench_finds_a_queue_that(fault: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="AssertionError"):
        run_cocotb(Broken(fault), BENCH, parameters={"depth": 3})


def test_a_run_of_no_test_is_a_failure() -> None:
    with pytest.raises(pytest.fail.Exception, match="no test ran"):
        run_cocotb(StreamQueue(8, depth=1), BENCH, parameters={"depth": 1}, tests="no_such_test")


def test_testbench_toggles_every_port_of_the_queue(tmp_path: Path) -> None:
    counters = tmp_path / "coverage.dat"
    run_cocotb(StreamQueue(8, depth=2), BENCH, parameters={"depth": 2}, coverage=counters)
    toggles = {one.module: one for one in read_coverage([counters]) if one.kind == "toggle"}
    assert toggles["top"].total > 50
    assert toggles["top"].missed == ()


def test_depth_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="depth is 0"):
        StreamQueue(8, depth=0)
