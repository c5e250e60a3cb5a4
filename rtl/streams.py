"""What stands between two streams: a queue that decouples their handshakes. Units and arithmetic live elsewhere."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamQueue"]


class StreamQueue(wiring.Component):
    """A first-in first-out queue between two streams of one payload.

    `source.ready` and `sink.valid` come from registers alone: no combinational path leads from one side to the other,
    so that a queue of depth 2 also cuts the long path through a chain of units (a skid buffer).

    Latency: a payload accepted in one cycle is offered in the next. Throughput: one payload a cycle; at depth 1, one
    every two cycles.

    Parameters
    ----------
    payload_shape : ShapeLike
        Shape of the payload.
    depth : int
        Payloads that it holds, at least 1.

    Attributes
    ----------
    source : stream, in
        What is queued.
    sink : stream, out
        What was queued first. `sink.payload` is meaningful while `sink.valid` is set, and stands still until accepted.
    level : Signal, out
        Payloads in the queue, 0 to `depth`.

    Raises
    ------
    ValueError
        If `depth` is below 1.
    """

    def __init__(self, payload_shape: Any, *, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth is {depth}, must be at least 1")
        self._depth = depth
        super().__init__(
            {
                "source": In(stream.Signature(payload_shape)),
                "sink": Out(stream.Signature(payload_shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """The queue of `amaranth.lib.fifo`, connected."""
        m = Module()
        written, read = Value.cast(self.source.payload), Value.cast(self.sink.payload)
        m.submodules.queue = queue = fifo.SyncFIFO(width=len(written), depth=self._depth)
        m.d.comb += [
            queue.w_data.eq(written),
            queue.w_en.eq(self.source.valid),
            self.source.ready.eq(queue.w_rdy),
            read.eq(queue.r_data),
            self.sink.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.sink.ready),
            self.level.eq(queue.level),
        ]
        return m
