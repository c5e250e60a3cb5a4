"""The proofs about units that need no more than streams; and that the prover finds a planted bug."""

from __future__ import annotations

import pytest
from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from formal import RefutedError, prove

from rtl.streams import StreamQueue


class QueueClaims(wiring.Component):
    """A queue with free inputs: it never holds more than its depth, and the level is what went in minus what went out.

    With `lie`, the queue's claim of being ready is used as if it were one deeper.
    """

    def __init__(self, depth: int, lie: int = 0) -> None:
        super().__init__({"valid": In(1), "ready": In(1), "payload": In(8)})
        self.depth, self.lie = depth, lie

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = StreamQueue(8, depth=self.depth + self.lie)
        balance = Signal(range(self.depth + 3))
        m.d.comb += [
            queue.source.valid.eq(self.valid),
            queue.source.payload.eq(self.payload),
            queue.sink.ready.eq(self.ready),
            Assert(queue.level <= self.depth),
            Assert(queue.level == balance),
            Assert(queue.sink.valid == (queue.level != 0)),
            Cover(queue.level == self.depth),
        ]
        put, took = queue.source.valid & queue.source.ready, queue.sink.valid & queue.sink.ready
        m.d.sync += balance.eq(balance + put - took)
        return m


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_queue_never_overflows_and_counts_what_it_holds(depth: int) -> None:
    prove(QueueClaims(depth), depth=2)


def test_queue_can_be_filled() -> None:
    prove(QueueClaims(3), depth=5, mode="cover")
    with pytest.raises(RefutedError):
        prove(QueueClaims(3), depth=3, mode="cover")


def test_a_queue_that_takes_one_payload_too_many_is_refuted() -> None:
    with pytest.raises(RefutedError, match="level"):
        prove(QueueClaims(3, lie=1), depth=6, mode="bmc")
