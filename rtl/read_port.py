"""Reads of the memory: clients that share the port, and rows that are cut into the bursts that they ask for.

rows ─► BurstSplitter ─┬─ requests ─► ReadPort ─► AR ... R ─► ReadPort ─► data ─┐
                       └─ bursts: which bytes of the beats are wanted ──────────┴─► whoever wants them
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.decoder import DECODER
from rtl.axi import BOUNDARY_BYTES, INCREMENTING, MOST_BEATS, RESPONSE_OKAY, Axi4
from rtl.commands import WORK_OF
from rtl.streams import StreamQueue

__all__ = [
    "Axi4ReadChannels",
    "BurstSplitter",
    "ReadClient",
    "ReadPort",
    "burst_layout",
    "read_data_layout",
    "read_request_layout",
    "row_layout",
]

"""The kind of all bursts."""
ROW_BITS = WORK_OF["load"].field("row_bytes").width
"""Bits of a row's length."""


def read_request_layout() -> data.StructLayout:
    """A burst: `address` of its first beat, and `beats`, one less than there are. It stays within `BOUNDARY_BYTES`."""
    return data.StructLayout({"address": DECODER.address_bits, "beats": exact_log2(MOST_BEATS)})


def read_data_layout(bus_bytes: int) -> data.StructLayout:
    """A beat: `data`, whether it came with an `error`, and whether it is the `last` of its burst."""
    return data.StructLayout({"data": 8 * bus_bytes, "error": 1, "last": 1})


def row_layout(tag_bits: int) -> data.StructLayout:
    """A row of bytes in memory: `address`, `length` (one less than there are bytes), and a `tag` of whoever asks."""
    return data.StructLayout({"address": DECODER.address_bits, "length": ROW_BITS, "tag": tag_bits})


def burst_layout(bus_bytes: int, tag_bits: int) -> data.StructLayout:
    """What of a burst belongs to the row: `first`, the place of its first byte in the first beat, and `final`, that of
    its last byte in the last beat; `beats`, one less than there are; whether it `ends` the row; the row's `tag`."""
    place = exact_log2(bus_bytes)
    return data.StructLayout(
        {"first": place, "final": place, "beats": exact_log2(MOST_BEATS), "ends": 1, "tag": tag_bits}
    )


class ReadClient(wiring.Signature):
    """Reads of the memory, as the side sees it that asks: a stream of `request`, and one of `data` in the same order.

    Parameters
    ----------
    bus_bytes : int
    """

    def __init__(self, bus_bytes: int) -> None:
        self.bus_bytes = bus_bytes
        super().__init__(
            {
                "request": Out(stream.Signature(read_request_layout())),
                "data": In(stream.Signature(read_data_layout(bus_bytes))),
            }
        )


class Axi4ReadChannels(wiring.Signature):
    """The channels AR and R of `rtl.axi.Axi4`, under the same names.

    Parameters
    ----------
    data_bytes : int
    """

    def __init__(self, data_bytes: int) -> None:
        self.data_bytes = data_bytes
        members = Axi4(data_bytes).members
        super().__init__({name: members[name] for name in members if name.startswith(("ar", "r"))})


class ReadPort(wiring.Component):
    """Several clients share the read channels of a memory port.

    Requests take turns. A client gets its beats in the order of its requests; those of different clients may come in
    any order, each with the number of its client as identifier. A client that does not take a beat holds up those
    behind it.

    Latency: none, in either direction. Throughput: a request and a beat a cycle.

    Parameters
    ----------
    bus_bytes : int
    clients : int
        1 to 4.
    outstanding : int
        Bursts that may be on their way.

    Attributes
    ----------
    clients : ReadClient, in, one a client
        A `request` must stay as it is until it is taken.
    memory : Axi4ReadChannels, out
        `arvalid` does not depend on `arready`, and neither it nor the address changes until it is taken.

    Raises
    ------
    ValueError
        If the port has too few identifiers for the clients, or none may be outstanding.
    """

    def __init__(self, *, bus_bytes: int, clients: int, outstanding: int) -> None:
        most = 1 << Axi4(bus_bytes).id_bits
        if not 1 <= clients <= most:
            raise ValueError(f"clients is {clients}, must be 1 to {most}")
        if outstanding < 1:
            raise ValueError(f"outstanding is {outstanding}, must be at least 1")
        self._bus_bytes, self._outstanding = bus_bytes, outstanding
        super().__init__(
            {"clients": In(ReadClient(bus_bytes)).array(clients), "memory": Out(Axi4ReadChannels(bus_bytes))}
        )

    def elaborate(self, _platform: object) -> Module:
        """Turns on the side of requests, identifiers on the side of data."""
        m = Module()
        self._route_data(m)
        memory = self.memory
        chosen = self._turn(m)
        started, ended = Signal(), Signal()
        on_their_way = Signal(range(self._outstanding + 1))
        m.d.sync += on_their_way.eq(on_their_way + started - ended)
        m.d.comb += [
            started.eq(memory.arvalid & memory.arready),
            ended.eq(memory.rvalid & memory.rready & memory.rlast),
            memory.arid.eq(chosen),
            memory.arsize.eq(exact_log2(self._bus_bytes)),
            memory.arburst.eq(INCREMENTING),
        ]
        with m.Switch(chosen):
            for number, client in enumerate(self.clients):
                with m.Case(number):
                    may = on_their_way != self._outstanding
                    m.d.comb += [
                        memory.araddr.eq(client.request.payload.address),
                        memory.arlen.eq(client.request.payload.beats),
                        memory.arvalid.eq(client.request.valid & may),
                        client.request.ready.eq(memory.arready & may),
                    ]
        return m

    def _turn(self, m: Module) -> Signal:
        """The client whose request is on offer: the next after the one before; as long as none asks, any."""
        count = len(self.clients)
        chosen, before, held = Signal(range(count)), Signal(range(count)), Signal()
        m.d.sync += [before.eq(chosen), held.eq(self.memory.arvalid & ~self.memory.arready)]
        m.d.comb += chosen.eq(before)
        with m.If(~held), m.Switch(before):
            for last in range(count):
                with m.Case(last):
                    # The last assignment that applies is the nearest of those that follow.
                    for step in range(count - 1, 0, -1):
                        candidate = (last + step) % count
                        with m.If(self.clients[candidate].request.valid):
                            m.d.comb += chosen.eq(candidate)
        return chosen

    def _route_data(self, m: Module) -> None:
        memory = self.memory
        for client in self.clients:
            m.d.comb += [
                client.data.payload.data.eq(memory.rdata),
                client.data.payload.error.eq(memory.rresp != RESPONSE_OKAY),
                client.data.payload.last.eq(memory.rlast),
            ]
        with m.Switch(memory.rid):
            for number, client in enumerate(self.clients):
                with m.Case(number):
                    m.d.comb += [client.data.valid.eq(memory.rvalid), memory.rready.eq(client.data.ready)]
            with m.Default():
                # An answer that nobody asked for.
                m.d.comb += memory.rready.eq(1)


class BurstSplitter(wiring.Component):
    """Cuts rows into bursts of at most `MOST_BEATS` beats that stay within `BOUNDARY_BYTES`.

    Latency: none from a row to the request of its first burst; a cycle to what is said of it. Throughput: a burst a
    cycle, whether it begins a row or not.

    Parameters
    ----------
    bus_bytes : int
    outstanding : int
        Bursts of which it is remembered which of their bytes are wanted; requests wait when they are that many.
    tag_bits : int
        Bits that a row passes on to its bursts.

    Attributes
    ----------
    rows : stream of `row_layout`, in
        Taken with the request of its last burst.
    requests : stream of `read_request_layout`, out
    bursts : stream of `burst_layout`, out
        One for each request.

    Raises
    ------
    ValueError
        If none may be outstanding.
    """

    def __init__(self, *, bus_bytes: int, outstanding: int, tag_bits: int = 1) -> None:
        if outstanding < 1:
            raise ValueError(f"outstanding is {outstanding}, must be at least 1")
        self._bus_bytes, self._outstanding = bus_bytes, outstanding
        self._burst = burst_layout(bus_bytes, tag_bits)
        super().__init__(
            {
                "rows": In(stream.Signature(row_layout(tag_bits))),
                "requests": Out(stream.Signature(read_request_layout())),
                "bursts": Out(stream.Signature(self._burst)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """A burst ends with the row, or where a block of the longest burst's size does."""
        m = Module()
        m.submodules.queue = queue = StreamQueue(self._burst, depth=self._outstanding)
        wiring.connect(m, queue.sink, wiring.flipped(self.bursts))
        place_bits = exact_log2(self._bus_bytes)
        block_bits = exact_log2(min(BOUNDARY_BYTES, MOST_BEATS * self._bus_bytes))
        row, request, burst = self.rows.payload, self.requests.payload, queue.source.payload

        # Of the row of which a burst was asked for before: the next block, and the index of the last byte from there.
        within, next_block, left = Signal(), Signal(DECODER.address_bits - block_bits), Signal(ROW_BITS)
        begin = Mux(within, 0, row.address[:block_bits])
        block = Mux(within, next_block, row.address[block_bits:])
        last = Mux(within, left, row.length)
        end = Signal(ROW_BITS + 1)
        m.d.comb += [
            end.eq(begin + last),
            burst.ends.eq(~end[block_bits:].any()),
            burst.first.eq(begin[:place_bits]),
            burst.final.eq(Mux(burst.ends, end[:place_bits], self._bus_bytes - 1)),
            burst.beats.eq(
                Mux(burst.ends, end[place_bits:block_bits], ~Const(0, block_bits - place_bits)) - begin[place_bits:]
            ),
            burst.tag.eq(row.tag),
            request.address.eq(Cat(Const(0, place_bits), begin[place_bits:], block)),
            request.beats.eq(burst.beats),
            self.requests.valid.eq(self.rows.valid & queue.source.ready),
            queue.source.valid.eq(self.rows.valid & self.requests.ready),
            self.rows.ready.eq(self.requests.ready & queue.source.ready & burst.ends),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            # Whole blocks off `end` are what the next burst begins with.
            m.d.sync += [within.eq(~burst.ends), next_block.eq(block + 1), left.eq(end - (1 << block_bits))]
        return m
