"""The load engine: rows of bytes from memory into a scratchpad, where they lie without gaps.

command ─► rows ─► bursts ─► memory ─► beats ─► pieces of bytes ─► words of the scratchpad
   └───────────── where they go ───────────────────────────────────────┘
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from isa.decoder import DECODER
from isa.instructions.types import SCRATCHPADS
from rtl.commands import WORK_OF, code_of
from rtl.configuration import ACCUMULATOR_BYTES, Configuration
from rtl.errors import ErrorCode
from rtl.interfaces import ScratchpadWrite, engine_signature
from rtl.packer import BytePacker
from rtl.read_port import BurstSplitter, ReadClient
from rtl.streams import StreamQueue

__all__ = ["LoadEngine"]


class LoadEngine(wiring.Component):
    """Executes `load`. Requests of a command follow those of the one before without a gap, long before its data come.

    A word beyond the end of the scratchpad is an `ILLEGAL_ADDRESS`, one that has a part of an accumulator a
    `MISALIGNED_ADDRESS`; it and the rest of its command are not written. A
    beat that comes with an error is a `READ_FAILED`; what it brings is written as it is. Each is said once a command.

    Latency: the first request is on offer in the cycle after a command was accepted. The command is done in the cycle
    after its last beat was taken; one cycle later where that beat has bytes of two words of the scratchpad.

    Throughput: a request and a beat a cycle; a cycle less for each command whose last beat has bytes of two words.

    Parameters
    ----------
    configuration : Configuration
        Of it `bus_bytes`, `outstanding_reads` (bursts, and also commands, that may be on their way) and the sizes of
        the scratchpads.

    Attributes
    ----------
    command, done, working, error
        As every engine has them (`rtl.interfaces.engine_signature`).
    read : ReadClient, out
    write : ScratchpadWrite, out
        A word of the scratchpad that `space` names.
    space : Signal, out
        Code of the scratchpad, as in the field `space` of the instruction.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._bus_bytes, self._outstanding = configuration.bus_bytes, configuration.outstanding_reads
        self._words = {
            code_of("load", "space", space): configuration.unit.size_bytes(space) // configuration.bus_bytes
            for space in SCRATCHPADS
        }
        self._place_bits = exact_log2(configuration.bus_bytes)
        self._target = data.StructLayout(
            {
                "space": WORK_OF["load"].field("space").width,
                "index": DECODER.address_bits - self._place_bits,
            }
        )
        super().__init__(
            {
                **engine_signature("load"),
                "read": Out(ReadClient(configuration.bus_bytes)),
                "write": Out(ScratchpadWrite(configuration.bus_bytes)),
                "space": Out(self._target["space"].width),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Three steps, each as far ahead of the next as it can be."""
        m = Module()
        m.submodules.targets = targets = StreamQueue(self._target, depth=self._outstanding)
        m.submodules.splitter = splitter = BurstSplitter(
            bus_bytes=self._bus_bytes, outstanding=self._outstanding, tag_bits=self._place_bits + 1
        )
        m.submodules.packer = packer = BytePacker(bus_bytes=self._bus_bytes)
        wiring.connect(m, splitter.requests, wiring.flipped(self.read.request))
        m.d.comb += self.working.eq(targets.sink.valid)
        self._ask(m, splitter, targets)
        self._take(m, splitter, packer)
        self._put(m, packer, targets)
        return m

    def _ask(self, m: Module, splitter: BurstSplitter, targets: StreamQueue) -> None:
        """Rows of the command; where they go is put aside."""
        command, row = self.command.payload, splitter.rows.payload
        asking, rows_left = Signal(), Signal(len(command.rows))
        address, length = Signal(DECODER.address_bits), Signal(len(command.row_bytes))
        pitch, start = Signal(len(command.pitch_bytes)), Signal(self._place_bits)
        row_taken, accepted = Signal(), Signal()
        last = ~rows_left.any()
        m.d.comb += [
            splitter.rows.valid.eq(asking),
            row.address.eq(address),
            row.length.eq(length),
            row.tag.eq(Cat(last, start)),
            row_taken.eq(asking & splitter.rows.ready),
            self.command.ready.eq((~asking | (row_taken & last)) & targets.source.ready),
            accepted.eq(self.command.valid & self.command.ready),
            targets.source.valid.eq(accepted),
            targets.source.payload.space.eq(command.space),
            targets.source.payload.index.eq(command.target[self._place_bits :]),
        ]
        with m.If(row_taken):
            m.d.sync += [address.eq(address + pitch), rows_left.eq(rows_left - 1), asking.eq(~last)]
        with m.If(accepted):
            m.d.sync += [
                asking.eq(1),
                address.eq(command.source),
                rows_left.eq(command.rows),
                length.eq(command.row_bytes),
                pitch.eq(command.pitch_bytes),
                start.eq(command.target),
            ]

    def _take(self, m: Module, splitter: BurstSplitter, packer: BytePacker) -> None:
        """Of each beat the bytes that belong to the row."""
        beat, burst, piece = self.read.data, splitter.bursts, packer.pieces
        within, said, taken = Signal(), Signal(), Signal()
        of_last_row = burst.payload.tag[0]
        m.d.comb += [
            piece.valid.eq(beat.valid & burst.valid),
            beat.ready.eq(piece.ready & burst.valid),
            taken.eq(beat.valid & beat.ready),
            burst.ready.eq(taken & beat.payload.last),
            piece.payload.data.eq(beat.payload.data),
            piece.payload.first.eq(Mux(within, 0, burst.payload.first)),
            piece.payload.final.eq(Mux(beat.payload.last, burst.payload.final, self._bus_bytes - 1)),
            piece.payload.last.eq(beat.payload.last & burst.payload.ends & of_last_row),
            piece.payload.start.eq(burst.payload.tag[1:]),
        ]
        with m.If(taken):
            m.d.sync += [within.eq(~beat.payload.last), said.eq((said | beat.payload.error) & ~piece.payload.last)]
            with m.If(beat.payload.error & ~said):
                m.d.comb += self.error.eq(ErrorCode.READ_FAILED)

    def _put(self, m: Module, packer: BytePacker, targets: StreamQueue) -> None:
        """Words of the command, one after the other."""
        word, target, write = packer.words.payload, targets.sink.payload, self.write
        within, following, dropping = Signal(), Signal(self._target["index"].width), Signal()
        beyond, torn = Signal(), Signal()
        index = Signal.like(following)
        words = Signal(range(max(self._words.values()) + 1))
        with m.Switch(target.space):
            for code, count in self._words.items():
                with m.Case(code):
                    m.d.comb += words.eq(count)
        m.d.comb += [
            packer.words.ready.eq(1),
            index.eq(Mux(within, following, target.index)),
            beyond.eq(index >= words),
            torn.eq((target.space == code_of("load", "space", "accumulator")) & self._tears(word.mask)),
            write.enable.eq(packer.words.valid & ~beyond & ~torn & ~dropping),
            write.index.eq(index),
            write.data.eq(word.data),
            write.mask.eq(word.mask),
            self.space.eq(target.space),
            self.done.eq(packer.words.valid & word.last),
            targets.sink.ready.eq(self.done),
        ]
        with m.If(packer.words.valid):
            drops = dropping | beyond | torn
            m.d.sync += [following.eq(index + 1), within.eq(~word.last), dropping.eq(drops & ~word.last)]
            # A command that is written was asked for before one that is read.
            with m.If(torn & ~dropping):
                m.d.comb += self.error.eq(ErrorCode.MISALIGNED_ADDRESS)
            with m.If(beyond & ~dropping):
                m.d.comb += self.error.eq(ErrorCode.ILLEGAL_ADDRESS)

    def _tears(self, mask: Signal) -> Value:
        """Whether a word has a part of an accumulator."""
        each = (mask.word_select(lane, ACCUMULATOR_BYTES) for lane in range(self._bus_bytes // ACCUMULATOR_BYTES))
        return Cat(part.any() & ~part.all() for part in each).any()
