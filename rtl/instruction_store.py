"""The instruction store: fetches the words of a program from memory, and reads one a cycle."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.decoder import DECODER, WORD_BYTES
from rtl.axi import BOUNDARY_BYTES, MOST_BEATS
from rtl.configuration import Configuration
from rtl.errors import ErrorCode
from rtl.read_port import ReadClient

__all__ = ["InstructionStore"]


class InstructionStore(wiring.Component):
    """Fetches a program as a whole, then serves it.

    Latency: a word is there in the cycle after its number. Throughput: a word a cycle; a beat a cycle while fetching.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    start : Signal, in
        Fetch `words` words from `address`, a multiple of the bus.
    fetching : Signal, out
    fetched : Signal, out
        For one cycle: the program is there.
    error : ErrorCode, out
        For one cycle: the program does not fit, is not aligned, or could not be read; it is then not `fetched`.
    read : ReadClient, out
        The memory.
    number : Signal, in
        A word of the store.
    word : Signal, out
        The word whose number was there a cycle before.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._bus_bytes, self._depth = configuration.bus_bytes, configuration.instruction_words
        super().__init__(
            {
                "start": In(1),
                "address": In(DECODER.address_bits),
                "words": In(32),
                "fetching": Out(1),
                "fetched": Out(1),
                "error": Out(ErrorCode),
                "read": Out(ReadClient(self._bus_bytes)),
                "number": In(range(self._depth)),
                "word": Out(DECODER.word_bits),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Beats are asked for in bursts, and written as they come."""
        m = Module()
        bus, row = self._bus_bytes, max(self._bus_bytes, WORD_BYTES)
        beats_of_store = self._depth * WORD_BYTES // bus
        shift = exact_log2(bus)
        m.submodules.store = store = memory.Memory(
            shape=unsigned(8 * row), depth=max(1, self._depth * WORD_BYTES // row), init=[]
        )
        self._serve(m, store, row)

        asked, come, beats = (Signal(range(beats_of_store + 1), name=name) for name in ("asked", "come", "beats"))
        place = Signal(DECODER.address_bits - shift)
        failed = Signal()
        request, data = self.read.request, self.read.data
        to_boundary = Signal(range(BOUNDARY_BYTES // bus + 1))
        burst = Signal(range(MOST_BEATS + 1))
        left = beats - asked
        boundary = BOUNDARY_BYTES // bus
        m.d.comb += [
            to_boundary.eq(boundary - place[: exact_log2(boundary)] if boundary > 1 else 1),
            burst.eq(Mux(left < MOST_BEATS, left, MOST_BEATS)),
            request.payload.address.eq(place << shift),
            request.payload.beats.eq(burst - 1),
            request.valid.eq(self.fetching & (asked != beats)),
            data.ready.eq(self.fetching),
        ]
        with m.If(to_boundary < burst):
            m.d.comb += request.payload.beats.eq(to_boundary - 1)
        write = store.write_port(granularity=8 * bus)
        self._write(m, write, come, data.payload.data, row)
        m.d.comb += write_enable(write, come, row // bus, data.valid & data.ready)
        bad = Signal(ErrorCode)
        m.d.comb += bad.eq(ErrorCode.NONE)
        with m.If(self.address[:shift].any()):
            m.d.comb += bad.eq(ErrorCode.MISALIGNED_ADDRESS)
        with m.Elif((self.words > self._depth) | (self.words == 0)):
            m.d.comb += bad.eq(ErrorCode.PROGRAM_TOO_LONG)
        with m.If(self.start & ~self.fetching):
            m.d.comb += self.error.eq(bad)
            m.d.sync += [
                asked.eq(0),
                come.eq(0),
                beats.eq((self.words * WORD_BYTES + bus - 1) >> shift),
                place.eq(self.address >> shift),
                failed.eq(0),
                self.fetching.eq(bad == ErrorCode.NONE),
            ]
        with m.Elif(self.fetching):
            with m.If(request.valid & request.ready):
                m.d.sync += [
                    asked.eq(asked + request.payload.beats + 1),
                    place.eq(place + request.payload.beats + 1),
                ]
            with m.If(data.valid):
                m.d.sync += [come.eq(come + 1), failed.eq(failed | data.payload.error)]
            with m.If((come == beats) & (asked == beats)):
                m.d.sync += self.fetching.eq(0)
                m.d.comb += self.fetched.eq(~failed)
                with m.If(failed):
                    m.d.comb += self.error.eq(ErrorCode.READ_FAILED)
        return m

    def _serve(self, m: Module, store: memory.Memory, row: int) -> None:
        """Words of a row follow each other."""
        each = exact_log2(row // WORD_BYTES)
        read = store.read_port()
        m.d.comb += read.addr.eq(self.number >> each)
        if each:
            which = Signal(each)
            m.d.sync += which.eq(self.number)
            m.d.comb += self.word.eq(read.data.word_select(which, DECODER.word_bits))
        else:
            m.d.comb += self.word.eq(read.data)

    def _write(self, m: Module, write: memory.WritePort, beat: Signal, data: Signal, row: int) -> None:
        each = row // self._bus_bytes
        m.d.comb += [write.addr.eq(beat >> exact_log2(each)), write.data.eq(data.replicate(each))]


def write_enable(write: memory.WritePort, beat: Signal, each: int, enable: Signal) -> object:
    """The part of a row that a beat is written to."""
    if each == 1:
        return write.en.eq(enable)
    return write.en.eq(enable << beat[: exact_log2(each)])
