"""Where a store puts its words: the activation scratchpad, or memory; over what is there, or added to it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.decoder import DECODER
from rtl.axi import INCREMENTING, RESPONSE_OKAY
from rtl.commands import command_layout
from rtl.configuration import Configuration
from rtl.engines.store_addition import ElementAdder
from rtl.engines.store_bursts import Axi4WriteChannels, WriteBursts, burst_block_bytes, write_address_layout
from rtl.interfaces import ScratchpadRead, ScratchpadWrite
from rtl.packer import word_layout
from rtl.read_port import ReadClient
from rtl.streams import StreamQueue

__all__ = ["StoreTarget", "target_layout"]

_NORMAL_ACCESS = 0


def target_layout() -> data.StructLayout:
    """Rows that are written: into `memory` or else the scratchpad; `adds` to what is there elements that are `wide`
    (4 bytes) and `floating`; addresses as in the command."""
    command = command_layout("store")
    sizes = {"target": command["target"], "rows": command["rows"], "pitch": command["pitch_bytes"]}
    flags = dict.fromkeys(("memory", "adds", "wide", "floating"), 1)
    return data.StructLayout({**flags, **{name: field.width for name, field in sizes.items()}})


class StoreTarget(wiring.Component):
    """Writes words of rows, a word a cycle; where it adds, one after the other, each read, added and written.

    Before words are read from memory every answer to earlier writes has come. Words for the memory wait for the
    addresses of their bursts, which run ahead of them.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    rows : stream of `target_layout`, in
    bursts : WriteBursts.rows, in
        The same rows where they go to memory; `waits` where they are added.
    words : stream of `rtl.packer.word_layout`, in
        A row is a run.
    activation_write : ScratchpadWrite, out
    activation_read : ScratchpadRead, out
        At multiples of the bus's width.
    read : ReadClient, out
    write_port : Axi4WriteChannels, out
    memory_ends, activation_ends : Signal, out
        One cycle: the rows are written; those in memory, the last answer has come.
    beyond, read_failed, write_failed : Signal, out
        One cycle each: the rows reach beyond the scratchpad, where nothing is written; the memory answers with an
        error.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._bus_bytes = bus = configuration.bus_bytes
        self._bursts = WriteBursts(bus_bytes=bus)
        events = ("memory_ends", "activation_ends", "beyond", "read_failed", "write_failed")
        super().__init__(
            {
                "rows": In(stream.Signature(target_layout())),
                "bursts": In(stream.Signature(self._bursts.rows.payload.shape())),
                "words": In(stream.Signature(word_layout(bus))),
                "activation_write": Out(ScratchpadWrite(bus)),
                "activation_read": Out(ScratchpadRead(bus)),
                "read": Out(ReadClient(bus)),
                "write_port": Out(Axi4WriteChannels(bus)),
                **dict.fromkeys(events, Out(1)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """The place of each word, and the way it takes there."""
        m = Module()
        current, index, takes, ends = self._walk(m)
        word, port = self.words.payload, self.write_port
        offered = Signal()
        added, awaited = self._add(m, current, index, offered)
        goes = offered & (~current.adds | added)
        ahead = self._addresses(m, index, ends, awaited, takes & ends & current.adds & current.memory)

        result = Mux(current.adds, self._adder.sums, word.data)
        lines = self._configuration.unit.activation_bytes // self._bus_bytes
        inside, said = index < lines, Signal()
        block_words = burst_block_bytes(self._bus_bytes) // self._bus_bytes
        m.d.comb += [
            offered.eq(self.words.valid & self._active),
            takes.eq(self.words.valid & self.words.ready),
            self.words.ready.eq(self._active & (~current.adds | added) & (~current.memory | (port.wready & ahead))),
            self.activation_write.enable.eq(goes & ~current.memory & inside & ~said),
            self.activation_write.index.eq(index),
            self.activation_write.data.eq(result),
            self.activation_write.mask.eq(word.mask),
            self.activation_ends.eq(takes & ends & ~current.memory),
            self.beyond.eq(offered & ~current.memory & ~inside & ~said),
            port.wvalid.eq(goes & current.memory & ahead),
            port.wdata.eq(result),
            port.wstrb.eq(word.mask),
            port.wlast.eq(word.last | index[: exact_log2(block_words)].all() | current.adds),
        ]
        # No word is written after one that is beyond, so that addresses which wrap around do not come back.
        m.d.sync += said.eq((said | self.beyond) & ~(takes & ends))
        return m

    def _walk(self, m: Module) -> tuple[Any, Signal, Signal, Signal]:
        """The rows that are written, the index of the word that comes, whether it is taken, and is the last."""
        place_bits = exact_log2(self._bus_bytes)
        current = Signal(self.rows.payload.shape(), name="current", reset_less=True)
        self._active = active = Signal(name="active")
        address, next_row = Signal(DECODER.address_bits), Signal(DECODER.address_bits)
        index, left = Signal(DECODER.address_bits - place_bits, name="index"), Signal.like(Value.cast(current.rows))
        takes, ends = Signal(name="takes"), Signal(name="ends")
        m.d.comb += [
            ends.eq(self.words.payload.last & ~left.any()),
            next_row.eq(address + current.pitch),
            self.rows.ready.eq(~active | (takes & ends)),
        ]
        with m.If(self.rows.ready):
            m.d.sync += active.eq(self.rows.valid)
            with m.If(self.rows.valid):
                target = self.rows.payload.target
                m.d.sync += [
                    current.eq(self.rows.payload),
                    address.eq(target),
                    index.eq(target[place_bits:]),
                    left.eq(self.rows.payload.rows),
                ]
        with m.Elif(takes):
            m.d.sync += index.eq(index + 1)
            with m.If(self.words.payload.last):
                m.d.sync += [address.eq(next_row), index.eq(next_row[place_bits:]), left.eq(left - 1)]
        return current, index, takes, ends

    def _add(self, m: Module, current: Any, index: Signal, offered: Signal) -> tuple[Signal, Signal]:
        """Read the word that is there and add the new one; whether the sums are there, and whether the address of the
        burst that they go with is to be sent."""
        m.submodules.adder = self._adder = adder = ElementAdder(bus_bytes=self._bus_bytes)
        added, awaited, present = Signal(), Signal(), Signal(8 * self._bus_bytes)
        request, beat = self.read.request, self.read.data
        self._quiet = quiet = Signal(name="quiet")
        m.d.comb += [
            request.payload.address.eq(index << exact_log2(self._bus_bytes)),
            request.payload.beats.eq(0),
            self.activation_read.address.eq(index << exact_log2(self._bus_bytes)),
            adder.present.eq(present),
            adder.added.eq(self.words.payload.data),
            adder.wide.eq(current.wide),
            adder.floating.eq(current.floating),
        ]
        with m.FSM():
            with m.State("wait"), m.If(offered & current.adds):
                with m.If(~current.memory):
                    m.d.comb += self.activation_read.enable.eq(1)
                    m.next = "fetch"
                with m.Elif(quiet):
                    m.next = "request"
            with m.State("request"):
                m.d.comb += request.valid.eq(1)
                with m.If(request.ready):
                    m.next = "receive"
            with m.State("receive"):
                m.d.comb += [beat.ready.eq(1), self.read_failed.eq(beat.valid & beat.payload.error)]
                with m.If(beat.valid):
                    m.d.sync += present.eq(beat.payload.data)
                    m.next = "start"
            with m.State("fetch"):
                m.d.sync += present.eq(self.activation_read.data)
                m.next = "start"
            with m.State("start"):
                m.d.comb += adder.start.eq(1)
                m.next = "add"
            with m.State("add"), m.If(adder.done):
                with m.If(current.memory):
                    m.next = "address"
                with m.Else():
                    m.next = "write"
            with m.State("address"):
                m.d.comb += awaited.eq(1)
                with m.If(self.write_port.awvalid & self.write_port.awready):
                    m.next = "write"
            with m.State("write"):
                m.d.comb += added.eq(1)
                with m.If(self.words.valid & self.words.ready):
                    m.next = "wait"
        return added, awaited

    def _addresses(self, m: Module, index: Signal, ends: Signal, awaited: Signal, resumes: Value) -> Value:
        """Send the addresses of bursts and count the answers; whether a burst's words may be sent."""
        outstanding, port = self._configuration.outstanding_reads, self.write_port
        m.submodules.splitter = splitter = self._bursts
        m.submodules.answers = answers = StreamQueue(1, depth=outstanding)
        wiring.connect(m, wiring.flipped(self.bursts), splitter.rows)
        m.d.comb += splitter.resumes.eq(resumes)
        burst = Signal(write_address_layout())
        ahead, sent = Signal(range(outstanding + 1)), Signal()
        with m.If(awaited):
            m.d.comb += [
                burst.address.eq(index << exact_log2(self._bus_bytes)),
                burst.last.eq(ends),
            ]
        with m.Else():
            m.d.comb += [
                burst.eq(splitter.bursts.payload),
                splitter.bursts.ready.eq(port.awready & answers.source.ready),
            ]
        m.d.comb += [
            port.awvalid.eq((awaited | splitter.bursts.valid) & answers.source.ready),
            port.awaddr.eq(burst.address),
            port.awlen.eq(burst.beats),
            port.awsize.eq(exact_log2(self._bus_bytes)),
            port.awburst.eq(INCREMENTING),
            port.awid.eq(Const(_NORMAL_ACCESS, len(port.awid))),
            sent.eq(port.awvalid & port.awready),
            answers.source.valid.eq(sent),
            answers.source.payload.eq(burst.last),
            port.bready.eq(answers.sink.valid),
            answers.sink.ready.eq(port.bvalid),
            self.memory_ends.eq(port.bvalid & port.bready & answers.sink.payload),
            self.write_failed.eq(port.bvalid & port.bready & (port.bresp != RESPONSE_OKAY)),
            # Bursts of rows that are not added are all sent before those that are added are looked at.
            self._quiet.eq(~answers.level.any() & self.bursts.valid & self.bursts.payload.waits),
        ]
        m.d.sync += ahead.eq(ahead + sent - (port.wvalid & port.wready & port.wlast))
        return ahead.any()
