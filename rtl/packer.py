"""Bytes that come in pieces, put together to the words of the place where they go."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["BytePacker", "piece_layout", "word_layout"]


def piece_layout(bus_bytes: int) -> data.StructLayout:
    """Bytes of a run: those of `data` from `first` to `final`, both included; whether it is the `last` piece of its
    run; and, with the first piece alone, `start`: the place of the run's first byte in its word."""
    place = exact_log2(bus_bytes)
    return data.StructLayout({"data": 8 * bus_bytes, "first": place, "final": place, "last": 1, "start": place})


def word_layout(bus_bytes: int) -> data.StructLayout:
    """A word: `data`, `mask` with a bit for each byte that belongs to the run, and whether it is the `last` of it."""
    return data.StructLayout({"data": 8 * bus_bytes, "mask": bus_bytes, "last": 1})


class BytePacker(wiring.Component):
    """Puts the pieces of a run of bytes together to words, the first of which begins at any byte.

    The bytes of a piece are turned to their places, so that what does not fit into the word stands where it belongs in
    the next. Bytes of a word that are not in its mask are anything.

    Latency: a word is offered in the cycle after the piece that completes it or ends its run was taken; the rest of a
    last piece that does not fit into that word in the cycle after that was taken. Throughput: a piece a cycle, but for
    one cycle after such a rest.

    Parameters
    ----------
    bus_bytes : int
        A power of two, at least 2.

    Attributes
    ----------
    pieces : stream of `piece_layout`, in
        `ready` depends on `words.ready`.
    words : stream of `word_layout`, out
        From registers.

    Raises
    ------
    ValueError
        If `bus_bytes` is no power of two or below 2.
    """

    def __init__(self, *, bus_bytes: int) -> None:
        if bus_bytes < 2 or bus_bytes & (bus_bytes - 1):
            raise ValueError(f"bus_bytes is {bus_bytes}, must be a power of two of at least 2")
        self._bus_bytes = bus_bytes
        super().__init__(
            {
                "pieces": In(stream.Signature(piece_layout(bus_bytes))),
                "words": Out(stream.Signature(word_layout(bus_bytes))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """A register for the piece at its places, and one for the bytes before it in its word."""
        m = Module()
        width, bits = self._bus_bytes, exact_log2(self._bus_bytes)
        piece, word = self.pieces.payload, self.words.payload

        # The piece at its places: from `begin` to below `end`, which is beyond the word where there is a rest.
        place, running = Signal(bits), Signal()
        begin, end = Signal(bits), Signal(bits + 1)
        turn = Signal(bits)
        m.d.comb += [
            begin.eq(Mux(running, place, piece.start)),
            end.eq(begin + (piece.final - piece.first)[:bits] + 1),
            turn.eq(piece.first - begin),
        ]
        taken, turned, last = Signal(), Signal(8 * width), Signal()
        taken_begin, taken_end = Signal(bits), Signal(bits + 1)
        moved_on = Signal()
        m.d.comb += self.pieces.ready.eq(~taken | moved_on)
        with m.If(self.pieces.ready):
            m.d.sync += taken.eq(self.pieces.valid)
        with m.If(self.pieces.valid & self.pieces.ready):
            m.d.sync += [
                turned.eq((Cat(piece.data, piece.data) >> Cat(Const(0, 3), turn))[: 8 * width]),
                taken_begin.eq(begin),
                taken_end.eq(end),
                last.eq(piece.last),
                place.eq(end),
                running.eq(~piece.last),
            ]

        # The word: bytes below `taken_begin` came before, in `kept`; `opening` is the first of them that is the run's.
        kept, opening, opened = Signal(8 * width), Signal(bits), Signal()
        rest, rest_end = Signal(), Signal(bits)
        full = taken_end >= width
        lowest = Mux(opened, opening, taken_begin)
        bytes_before = self._below(taken_begin, 8 * width, 3)
        merged = Signal(8 * width)
        m.d.comb += merged.eq((kept & bytes_before) | (turned & ~bytes_before))
        with m.If(rest):
            m.d.comb += [
                self.words.valid.eq(1),
                word.data.eq(kept),
                word.mask.eq(self._below(rest_end, width, 0)),
                word.last.eq(1),
            ]
            with m.If(self.words.ready):
                m.d.sync += rest.eq(0)
        with m.Else():
            m.d.comb += [
                self.words.valid.eq(taken & (full | last)),
                word.data.eq(merged),
                word.mask.eq(
                    Mux(full, ~Const(0, width), self._below(taken_end, width, 0)) & ~self._below(lowest, width, 0)
                ),
                word.last.eq(last & (taken_end <= width)),
                moved_on.eq(taken & (~self.words.valid | self.words.ready)),
            ]
        with m.If(moved_on):
            m.d.sync += [
                kept.eq(Mux(full, turned, merged)),
                opening.eq(Mux(full, 0, lowest)),
                opened.eq(~last),
                rest.eq(last & (taken_end > width)),
                rest_end.eq(taken_end),
            ]
        return m

    def _below(self, place: Signal, bits: int, shift: int) -> Signal:
        """Ones below a place, of groups of 2^shift bits."""
        return ~(~Const(0, bits) << Cat(Const(0, shift), place))[:bits]
