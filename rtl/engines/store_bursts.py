"""The write channels of the memory port, as the store engine uses them: which bursts its rows make."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.decoder import DECODER
from rtl.axi import BOUNDARY_BYTES, MOST_BEATS, Axi4
from rtl.commands import command_layout

__all__ = ["Axi4WriteChannels", "WriteBursts", "burst_block_bytes", "write_address_layout", "written_layout"]

ROW_BITS = command_layout("store")["columns"].width + 2
"""Bits of a row's length in bytes: elements of up to 4 bytes."""


def burst_block_bytes(bus_bytes: int) -> int:
    """Bursts end where blocks of this size do."""
    return min(BOUNDARY_BYTES, MOST_BEATS * bus_bytes)


def written_layout() -> data.StructLayout:
    """Rows of bytes that are written: `target` of the first, `rows` and `length`, both one less than there are, and
    `pitch` from one to the next; or, if `waits`, none that are known here."""
    command = command_layout("store")
    sizes = {"target": command["target"], "rows": command["rows"], "pitch": command["pitch_bytes"]}
    return data.StructLayout({**{name: field.width for name, field in sizes.items()}, "length": ROW_BITS, "waits": 1})


def write_address_layout() -> data.StructLayout:
    """A burst: `address` of its first beat, `beats`, one less than there are, and whether it is the `last` of all."""
    return data.StructLayout({"address": DECODER.address_bits, "beats": exact_log2(MOST_BEATS), "last": 1})


class Axi4WriteChannels(wiring.Signature):
    """The channels AW, W and B of `rtl.axi.Axi4`, under the same names.

    Parameters
    ----------
    data_bytes : int
    """

    def __init__(self, data_bytes: int) -> None:
        self.data_bytes = data_bytes
        members = Axi4(data_bytes).members
        super().__init__({name: members[name] for name in members if name.startswith(("aw", "w", "b"))})


class WriteBursts(wiring.Component):
    """Cuts rows into bursts of whole beats, each of which ends with its row or where a block of `burst_block_bytes`
    does.

    Latency: none. Throughput: a burst a cycle.

    Parameters
    ----------
    bus_bytes : int

    Attributes
    ----------
    rows : stream of `written_layout`, in
        Taken with the last burst; what `waits`, with `resumes`.
    resumes : Signal, in
    bursts : stream of `write_address_layout`, out
    """

    def __init__(self, *, bus_bytes: int) -> None:
        self._bus_bytes = bus_bytes
        super().__init__(
            {
                "rows": In(stream.Signature(written_layout())),
                "resumes": In(1),
                "bursts": Out(stream.Signature(write_address_layout())),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Registers hold what is left of the row, and of the rows, once a burst of it is taken."""
        m = Module()
        place_bits, block_bits = exact_log2(self._bus_bytes), exact_log2(burst_block_bytes(self._bus_bytes))
        rows, burst = self.rows.payload, self.bursts.payload
        begun, row_address, left = Signal(), Signal(DECODER.address_bits), Signal(rows.rows.shape())
        within, next_block = Signal(), Signal(DECODER.address_bits - block_bits)
        row_left = Signal(ROW_BITS)

        address, rows_after = Mux(begun, row_address, rows.target), Mux(begun, left, rows.rows)
        begin = Mux(within, 0, address[:block_bits])
        block = Mux(within, next_block, address[block_bits:])
        end, row_ends = Signal(ROW_BITS + 1), Signal()
        final = Mux(row_ends, end[place_bits:block_bits], ~Const(0, block_bits - place_bits))
        m.d.comb += [
            end.eq(begin + Mux(within, row_left, rows.length)),
            row_ends.eq(~end[block_bits:].any()),
            burst.address.eq(Cat(Const(0, place_bits), begin[place_bits:], block)),
            burst.beats.eq(final - begin[place_bits:]),
            burst.last.eq(row_ends & ~rows_after.any()),
            self.bursts.valid.eq(self.rows.valid & ~rows.waits),
            self.rows.ready.eq(Mux(rows.waits, self.resumes, self.bursts.ready & burst.last)),
        ]
        with m.If(self.bursts.valid & self.bursts.ready):
            m.d.sync += [within.eq(~row_ends), next_block.eq(block + 1), row_left.eq(end - (1 << block_bits))]
            with m.If(row_ends):
                m.d.sync += [begun.eq(~burst.last), row_address.eq(address + rows.pitch), left.eq(rows_after - 1)]
        return m
