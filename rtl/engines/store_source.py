"""What a store takes from a scratchpad: rows of elements, read, converted, and handed on as pieces of bytes.

accumulators ─┐
tables ───────┴─ read ─ integers to fp32 ─ fp32 to fp16 ─ pieces of as many bytes as the bus has
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.instructions.types import ELEMENT_DTYPES
from rtl.commands import command_layout
from rtl.configuration import ACCUMULATOR_BYTES, Configuration
from rtl.floats import FP16, FP32, FromFloat, FromInteger, Rounder
from rtl.interfaces import LaneRead, ScratchpadRead
from rtl.packer import piece_layout

__all__ = ["StoreSource", "source_layout"]

_TABLE_BYTES = ELEMENT_DTYPES["int16"].itemsize


def source_layout(bus_bytes: int) -> data.StructLayout:
    """Rows of elements: whether they are table entries or `floats`, and whether they become 4 bytes wide and floats;
    `place` and `pitch` of the rows where they go, modulo the bus."""
    command, place = command_layout("store"), exact_log2(bus_bytes)
    flags = dict.fromkeys(("table", "floats", "wide", "floating"), 1)
    sizes = {name: command[name].width for name in ("source", "rows", "columns")}
    return data.StructLayout({**flags, **sizes, "place": place, "pitch": place})


class StoreSource(wiring.Component):
    """Reads and converts rows of elements, a piece of the bus's width at a time; the last of a row may be shorter.

    Latency: a piece is on offer three cycles after its elements are read, which is at the earliest in the cycle after
    the rows were taken. Throughput: a piece a cycle.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    rows : stream of `source_layout`, in
        Taken in the last cycle in which those before are read.
    pieces : stream of `rtl.packer.piece_layout`, out
        A row is a run.
    elements : LaneRead, out
    tables : ScratchpadRead, out
    beyond : Signal, out
        One cycle: the rows reach beyond the scratchpad. What is read from there on is anything.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._bus_bytes = bus = configuration.bus_bytes
        self._lanes = bus // 2
        self._sizes = configuration.unit.accumulator_bytes, configuration.unit.table_bytes
        self._rows = source_layout(bus)
        super().__init__(
            {
                "rows": In(stream.Signature(self._rows)),
                "pieces": Out(stream.Signature(piece_layout(bus))),
                "elements": Out(LaneRead(self._lanes)),
                "tables": Out(ScratchpadRead(bus)),
                "beyond": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """All stages move together, or wait for the piece that is on offer."""
        m = Module()
        moves = Signal()
        read = self._read(m, moves)
        flags = dict.fromkeys(("valid", "table", "floats", "wide", "floating", "last"), 1)
        tag = data.StructLayout(flags | dict.fromkeys(("final", "start"), exact_log2(self._bus_bytes)))
        tags = [Signal(tag, name=f"tag_{stage}") for stage in ("loaded", "single", "final")]
        with m.If(moves):
            for before, after in zip([read, *tags[:-1]], tags, strict=True):
                m.d.sync += [after[name].eq(before[name]) for name in tag.members]
        loaded, single, final = tags
        piece = self.pieces.payload
        m.d.comb += [
            moves.eq(~final.valid | self.pieces.ready),
            self.pieces.valid.eq(final.valid),
            piece.first.eq(0),
            piece.final.eq(final.final),
            piece.last.eq(final.last),
            piece.start.eq(final.start),
        ]
        lanes = [self._convert(m, lane, moves, loaded, single) for lane in range(self._lanes)]
        words = Cat(*lanes[: self._lanes // 2])
        halves = Cat(*(lane[:16] for lane in lanes))
        with m.If(moves & single.valid):
            m.d.sync += piece.data.eq(Mux(single.wide, words, halves))
        return m

    def _read(self, m: Module, moves: Signal) -> Any:
        """Go through the rows; what is known of the piece that is read."""
        working, current = Signal(), Signal(self._rows, reset_less=True)
        address = Signal.like(Value.cast(current.source), reset_less=True)
        columns, rows = Signal.like(Value.cast(current.columns)), Signal.like(Value.cast(current.rows))
        place, said = Signal.like(Value.cast(current.place)), Signal()
        most = Mux(current.wide, self._lanes // 2, self._lanes)
        row_ends, rows_end, failed = Signal(), Signal(), Signal()
        count = Signal(range(self._lanes + 1))
        taken_bytes = Mux(current.table, count * _TABLE_BYTES, count * ACCUMULATOR_BYTES)
        accumulator_bytes, table_bytes = self._sizes
        m.d.comb += [
            row_ends.eq(columns < most),
            rows_end.eq(row_ends & ~rows.any()),
            count.eq(Mux(row_ends, columns + 1, most)),
            failed.eq(working & (address + taken_bytes > Mux(current.table, table_bytes, accumulator_bytes))),
            self.beyond.eq(failed & ~said),
            self.rows.ready.eq(~working | (moves & rows_end)),
            self.elements.index.eq(address[exact_log2(ACCUMULATOR_BYTES) :]),
            self.tables.address.eq(address),
            self.elements.enable.eq(working & moves & ~current.table & ~failed),
            self.tables.enable.eq(working & moves & current.table & ~failed),
        ]
        with m.If(self.beyond):
            m.d.sync += said.eq(1)
        following = self.rows.payload
        with m.If(self.rows.ready):
            m.d.sync += working.eq(self.rows.valid)
            with m.If(self.rows.valid):
                m.d.sync += [
                    current.eq(following),
                    address.eq(following.source),
                    columns.eq(following.columns),
                    rows.eq(following.rows),
                    place.eq(following.place),
                    said.eq(0),
                ]
        with m.Elif(moves):
            # Where it failed, the address stays, so that it never comes back into the scratchpad.
            m.d.sync += columns.eq(columns - most)
            with m.If(~failed):
                m.d.sync += address.eq(address + taken_bytes)
            with m.If(row_ends):
                m.d.sync += [
                    columns.eq(current.columns),
                    rows.eq(rows - 1),
                    place.eq(place + current.pitch),
                ]
        flags = {name: current[name] for name in ("table", "floats", "wide", "floating")}
        last_byte = (Mux(current.wide, count << 2, count << 1) - 1)[: exact_log2(self._bus_bytes)]
        return {"valid": working, **flags, "last": row_ends, "final": last_byte, "start": place}

    def _convert(self, m: Module, lane: int, moves: Signal, loaded: Any, single: Any) -> Value:
        """An element as it is written, where the first two stages of the pipeline are."""
        entry = self.tables.data.word_select(lane, 16).as_signed()
        raw = Signal(signed(32), name=f"raw_{lane}")
        m.d.comb += raw.eq(Mux(loaded.table, entry, Value.cast(self.elements.data[lane]).as_signed()))
        m.submodules[f"integer_{lane}"] = integer = FromInteger(width=32)
        m.submodules[f"single_{lane}"] = to_single = Rounder(source=integer.exact.shape(), target=FP32)
        m.d.comb += [integer.integer.eq(raw), to_single.exact.eq(integer.exact)]
        value = Signal(32, name=f"value_{lane}", reset_less=True)
        with m.If(moves & loaded.valid):
            m.d.sync += value.eq(Mux(loaded.floating & ~loaded.floats, to_single.result, raw))
        m.submodules[f"number_{lane}"] = number = FromFloat(source=FP32)
        m.submodules[f"half_{lane}"] = to_half = Rounder(source=number.exact.shape(), target=FP16)
        m.d.comb += [number.number.eq(value), to_half.exact.eq(number.exact)]
        return Mux(single.floating & ~single.wide, Cat(to_half.result, C(0, 16)), value)
