"""A small unit to try the control port and the driver with: its programs are data, which it copies to another place."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from isa.instructions.types import ENGINES
from rtl.axi import BOUNDARY_BYTES, Axi4, Axi4Lite
from rtl.configuration import Configuration
from rtl.control import Control
from rtl.errors import ErrorCode
from rtl.registers import ADDRESS_BITS

__all__ = ["Copier", "copy_words"]

_HELD_BEATS = 64
_UNANSWERED = 8
_BEATS_BITS = 16


def copy_words(target: int, beats: int, *, hesitant: bool = False, unmarked: bool = False) -> int:
    """The "length of the program" that says what a copier is to do: where to, a multiple of 4 KiB, and how much.

    If hesitant, it takes answers in one of four cycles only; if unmarked, it leaves the last beat of a burst unmarked,
    against the rules.
    """
    return unmarked << 31 | hesitant << 30 | target // BOUNDARY_BYTES << _BEATS_BITS | beats


class Copier(wiring.Component):
    """Copies beats from `program_address`, in bursts; `program_words` is what `copy_words` gives.

    Parameters
    ----------
    configuration : Configuration
    burst_beats : int
        Divides what fits into 4 KiB; addresses are multiples of a burst.
    """

    def __init__(self, configuration: Configuration, *, burst_beats: int = 8) -> None:
        self._configuration, self._burst_beats = configuration, burst_beats
        self._cycle = Signal(2)
        members = {"control": In(Axi4Lite(ADDRESS_BITS)), "memory": Out(Axi4(configuration.bus_bytes))}
        super().__init__(members)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.sync += self._cycle.eq(self._cycle + 1)
        m.submodules.control = control = Control(configuration=self._configuration)
        m.submodules.held = held = fifo.SyncFIFO(width=8 * self._configuration.bus_bytes, depth=_HELD_BEATS)
        wiring.connect(m, wiring.flipped(self.control), control.bus)
        running, stopping = Signal(), Signal()
        total, asked, offered, sent = (Signal(_BEATS_BITS, name=name) for name in ("total", "asked", "offered", "sent"))
        unanswered = Signal(range(_UNANSWERED + 1))
        drained = (asked == total) & (offered == total) & (sent == total) & ~unanswered.any()
        m.d.comb += [
            control.running.eq(running),
            control.finished.eq(running & drained & ~stopping & ~control.error.any()),
            control.failed.eq(running & drained & (stopping | control.error.any())),
            control.position.eq(sent),
            control.counts.cycles.eq(1),
            control.counts.load_cycles.eq(asked != total),
            control.counts.store_commands.eq(self.memory.bvalid & self.memory.bready),
            control.counts.read_beats.eq(self.memory.rvalid & self.memory.rready),
            control.counts.written_beats.eq(self.memory.wvalid & self.memory.wready),
        ]
        self._read(m, control, held, (running, total, asked, sent))
        self._write(m, control, held, (running, total, offered, sent, unanswered))
        error, source = Signal(ErrorCode), Signal(3)
        m.d.comb += [control.error.eq(error), control.error_source.eq(source)]
        with m.If(control.stop & running):
            m.d.sync += stopping.eq(1)
        with m.If(stopping & ~(self.memory.arvalid & ~self.memory.arready)):
            m.d.sync += total.eq(asked + Mux(self.memory.arvalid, self.memory.arlen + 1, 0))
        read = self.memory.rvalid & self.memory.rready
        answered = self.memory.bvalid & self.memory.bready
        answers = (
            (stopping, ErrorCode.ABORTED, len(ENGINES)),
            (read & self.memory.rresp.any(), ErrorCode.READ_FAILED, ENGINES.index("load")),
            (answered & self.memory.bresp.any(), ErrorCode.WRITE_FAILED, ENGINES.index("store")),
        )
        for wrong, code, place in answers:
            with m.If(wrong & (error == ErrorCode.NONE)):
                m.d.sync += [error.eq(code), source.eq(place)]
        with m.If(control.start):
            m.d.sync += [
                running.eq(1),
                stopping.eq(0),
                total.eq(control.program_words[:_BEATS_BITS]),
                error.eq(ErrorCode.NONE),
            ]
            m.d.sync += [counter.eq(0) for counter in (asked, offered, sent)]
        with m.Elif(control.finished | control.failed):
            m.d.sync += running.eq(0)
        return m

    def _burst(self, total: Signal, done: Signal) -> Value:
        return Mux(total - done > self._burst_beats, self._burst_beats, total - done)

    def _takes(self, control: Control) -> Value:
        return ~control.program_words[30] | (self._cycle == 0)

    def _read(self, m: Module, control: Control, held: fifo.SyncFIFO, state: tuple[Signal, ...]) -> None:
        running, total, asked, sent = state
        memory, beats = self.memory, self._burst(total, asked)
        m.d.comb += [
            memory.arvalid.eq(running & (asked < total) & (asked - sent + beats <= _HELD_BEATS)),
            memory.araddr.eq(control.program_address + asked * self._configuration.bus_bytes),
            memory.arlen.eq(beats - 1),
            memory.arsize.eq(self._configuration.bus_bytes.bit_length() - 1),
            memory.arburst.eq(1),
            memory.rready.eq(held.w_rdy & self._takes(control)),
            held.w_en.eq(memory.rvalid & memory.rready),
            held.w_data.eq(memory.rdata),
        ]
        with m.If(memory.arvalid & memory.arready):
            m.d.sync += asked.eq(asked + beats)

    def _write(self, m: Module, control: Control, held: fifo.SyncFIFO, state: tuple[Signal, ...]) -> None:
        running, total, offered, sent, unanswered = state
        memory, beats = self.memory, self._burst(total, offered)
        target = control.program_words[_BEATS_BITS:30] * BOUNDARY_BYTES
        last = (sent % self._burst_beats == self._burst_beats - 1) | (sent == total - 1)
        m.d.comb += [
            memory.awvalid.eq(running & (offered < total) & (unanswered < _UNANSWERED)),
            memory.awaddr.eq(target + offered * self._configuration.bus_bytes),
            memory.awlen.eq(beats - 1),
            memory.awsize.eq(self._configuration.bus_bytes.bit_length() - 1),
            memory.awburst.eq(1),
            memory.wvalid.eq(running & held.r_rdy),
            memory.wdata.eq(held.r_data),
            memory.wstrb.eq(-1),
            memory.wlast.eq(last & ~control.program_words[31]),
            held.r_en.eq(memory.wvalid & memory.wready),
            memory.bready.eq(self._takes(control)),
        ]
        with m.If(memory.awvalid & memory.awready):
            m.d.sync += offered.eq(offered + beats)
        with m.If(memory.wvalid & memory.wready):
            m.d.sync += sent.eq(sent + 1)
        new, answered = memory.awvalid & memory.awready, memory.bvalid & memory.bready
        m.d.sync += unanswered.eq(unanswered + new - answered)
