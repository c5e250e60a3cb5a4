"""What stands between the engines and the memory port, so that engines may be reset at any time.

A manager of AXI4 must end what it has begun: what it offers stays on offer, every burst gets its beats, every answer is
taken. The engines do not have to; the guard does it for them.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.axi import Axi4
from rtl.streams import StreamQueue

__all__ = ["MemoryGuard"]


class MemoryGuard(wiring.Component):
    """Carries bursts between the engines and the memory, and ends them on its own once it is told to stop.

    While `stop` is set nothing is taken from the engines and nothing given to them. Beats that are read are discarded,
    beats that are still to be written are supplied with all strobes 0, answers are taken. A guard is not reset with the
    engines; `stop` is set from the cycle on in which they are, at least until it is `quiet`.

    Latency: 1 cycle toward the memory, none back; the first beat of a burst is taken one cycle after its address.
    Throughput: an address of either kind, a beat of either kind and an answer a cycle.

    Parameters
    ----------
    bus_bytes : int
    outstanding : int
        Bursts of either kind that may be on their way.

    Attributes
    ----------
    inside : Axi4, in
        The engines. `awready`, `arready`, `wready` do not depend on what they offer, but beats of a burst are taken
        only when its address has been. `wlast` is not looked at.
    outside : Axi4, out
        The memory; `awvalid`, `arvalid`, `wvalid` and what comes with them are from registers.
    stop : Signal, in
    quiet : Signal, out
        Nothing is on its way.

    Raises
    ------
    ValueError
        If none may be outstanding.
    """

    def __init__(self, *, bus_bytes: int, outstanding: int) -> None:
        if outstanding < 1:
            raise ValueError(f"outstanding is {outstanding}, must be at least 1")
        self._signature, self._outstanding = Axi4(bus_bytes), outstanding
        super().__init__(
            {"inside": In(self._signature), "outside": Out(self._signature), "stop": In(1), "quiet": Out(1)}
        )

    def elaborate(self, _platform: object) -> Module:
        """A queue for each channel to the memory; counts of bursts; the lengths of those that still get beats."""
        m = Module()
        inside, outside = self.inside, self.outside
        reads, writes = Signal(range(self._outstanding + 1)), Signal(range(self._outstanding + 1))
        m.d.comb += self.quiet.eq(~reads.any() & ~writes.any())

        read = self._address_channel(m, "ar", reads != self._outstanding)
        m.d.comb += [
            inside.rid.eq(outside.rid),
            inside.rdata.eq(outside.rdata),
            inside.rresp.eq(outside.rresp),
            inside.rlast.eq(outside.rlast),
            inside.rvalid.eq(outside.rvalid & ~self.stop),
            outside.rready.eq(inside.rready | self.stop),
        ]
        m.d.sync += reads.eq(reads + read - (outside.rvalid & outside.rready & outside.rlast))

        write = self._address_channel(m, "aw", writes != self._outstanding)
        m.d.comb += [
            inside.bid.eq(outside.bid),
            inside.bresp.eq(outside.bresp),
            inside.bvalid.eq(outside.bvalid & ~self.stop),
            outside.bready.eq(inside.bready | self.stop),
        ]
        m.d.sync += writes.eq(writes + write - (outside.bvalid & outside.bready))
        self._beats(m, write)
        return m

    def _address_channel(self, m: Module, channel: str, may: Value) -> Value:
        """Carry an address channel; whether an address was taken."""
        names = [channel + name for name in ("id", "addr", "len", "size", "burst")]
        layout = data.StructLayout({name: self._signature.members[name].shape for name in names})
        m.submodules[channel] = queue = StreamQueue(layout, depth=2)
        inside, outside = self.inside, self.outside
        go = may & ~self.stop
        m.d.comb += [
            *(queue.source.payload[name].eq(getattr(inside, name)) for name in names),
            *(getattr(outside, name).eq(queue.sink.payload[name]) for name in names),
            queue.source.valid.eq(getattr(inside, f"{channel}valid") & go),
            getattr(inside, f"{channel}ready").eq(queue.source.ready & go),
            getattr(outside, f"{channel}valid").eq(queue.sink.valid),
            queue.sink.ready.eq(getattr(outside, f"{channel}ready")),
        ]
        taken = Signal(name=f"{channel}_taken")
        m.d.comb += taken.eq(queue.source.valid & queue.source.ready)
        return taken

    def _beats(self, m: Module, write: Value) -> None:
        """Carry the beats of bursts whose addresses were taken, or make them up."""
        inside, outside = self.inside, self.outside
        layout = data.StructLayout({"data": len(inside.wdata), "strb": len(inside.wstrb), "last": 1})
        m.submodules.w = queue = StreamQueue(layout, depth=2)
        m.submodules.lengths = lengths = StreamQueue(len(inside.awlen), depth=self._outstanding)
        beat, owed = Signal.like(inside.awlen), lengths.sink.valid
        taken: stream.Interface = queue.source
        m.d.comb += [
            lengths.source.payload.eq(inside.awlen),
            lengths.source.valid.eq(write),
            taken.payload.data.eq(inside.wdata),
            taken.payload.strb.eq(Mux(self.stop, 0, inside.wstrb)),
            taken.payload.last.eq(beat == lengths.sink.payload),
            taken.valid.eq(owed & (inside.wvalid | self.stop)),
            inside.wready.eq(owed & taken.ready & ~self.stop),
            lengths.sink.ready.eq(taken.valid & taken.ready & taken.payload.last),
            outside.wdata.eq(queue.sink.payload.data),
            outside.wstrb.eq(queue.sink.payload.strb),
            outside.wlast.eq(queue.sink.payload.last),
            outside.wvalid.eq(queue.sink.valid),
            queue.sink.ready.eq(outside.wready),
        ]
        with m.If(taken.valid & taken.ready):
            m.d.sync += beat.eq(Mux(taken.payload.last, 0, beat + 1))
