"""What testbenches share: clock and reset, coroutines at both ends of a stream that hesitate at random, and its rules.

They run inside the simulator. All drive after the rising edge and look at the falling one, where every signal has the
value that the next rising edge takes; simulators differ in what is seen at the rising edge itself.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from typing import Any

from cocotb import start_soon
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge

__all__ = ["StreamEnd", "drain", "feed", "obeys_stream_rules", "parameters", "reset", "start_clock"]


def parameters() -> dict[str, Any]:
    """What `run_cocotb(parameters=...)` was given."""
    return dict(json.loads(os.environ["BENCH_PARAMETERS"]))


async def start_clock(dut: HierarchyObject) -> None:
    """Start the clock and reset the design; afterwards the first cycle after reset has begun."""
    start_soon(Clock(dut.clk, 2, unit="ns").start())
    await reset(dut)


async def reset(dut: HierarchyObject, cycles: int = 2) -> None:
    """Hold the reset for some cycles."""
    dut.rst.value = 1
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


class StreamEnd:
    """The three signals of a stream at a port, by the port's name."""

    def __init__(self, dut: HierarchyObject, name: str) -> None:
        self.clk = dut.clk
        self.valid, self.ready, self.payload = (
            getattr(dut, f"{name}__{part}") for part in ("valid", "ready", "payload")
        )

    @property
    def transfers(self) -> bool:
        """Whether the next rising edge takes a payload; to be asked at a falling edge."""
        return bool(self.valid.value) and bool(self.ready.value)


async def feed(end: StreamEnd, payloads: Iterable[int], rate: float = 1.0) -> None:
    """Offer payloads, with a probability of `rate` in each cycle that none is on offer; garbage in between."""
    for payload in payloads:
        while random.random() >= rate:
            end.valid.value = 0
            end.payload.value = random.getrandbits(len(end.payload))
            await RisingEdge(end.clk)
        end.valid.value = 1
        end.payload.value = payload
        taken = False
        while not taken:
            await FallingEdge(end.clk)
            taken = end.transfers
            await RisingEdge(end.clk)
    end.valid.value = 0


async def drain(end: StreamEnd, count: int, rate: float = 1.0) -> list[int]:
    """The next `count` payloads of a stream, ready with a probability of `rate` in each cycle."""
    payloads: list[int] = []
    while len(payloads) < count:
        end.ready.value = int(random.random() < rate)
        await FallingEdge(end.clk)
        if end.transfers:
            payloads.append(int(end.payload.value))
        await RisingEdge(end.clk)
    end.ready.value = 0
    return payloads


async def obeys_stream_rules(end: StreamEnd, rst: Any) -> None:
    """Run forever beside a test: an offer stays as it is until it is taken or the design is reset."""
    offered: int | None = None
    while True:
        await FallingEdge(end.clk)
        if offered is not None and not rst.value:
            assert end.valid.value, "valid fell before the payload was taken"
            assert int(end.payload.value) == offered, "the payload changed before it was taken"
        waits = end.valid.value and not end.ready.value and not rst.value
        offered = int(end.payload.value) if waits else None
