"""Rows are cut into bursts that AXI4 allows, and what is said of the bursts finds their bytes again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator, SimulatorContext
from compiled import Stream, compile_component

from isa.decoder import DECODER
from rtl.axi import BOUNDARY_BYTES, MOST_BEATS
from rtl.read_port import BurstSplitter, ReadPort, burst_layout, read_request_layout, row_layout

BUS, OUTSTANDING, TAG_BITS = 16, 8, 3
COMPONENT = BurstSplitter(bus_bytes=BUS, outstanding=OUTSTANDING, tag_bits=TAG_BITS)


@dataclass(frozen=True)
class Row:
    """A row of bytes."""

    address: int
    size: int
    tag: int

    @property
    def payload(self) -> int:
        """What goes in."""
        layout = row_layout(TAG_BITS)
        fields = {"address": self.address, "length": self.size - 1, "tag": self.tag}
        return sum(value << layout[name].offset for name, value in fields.items())

    @property
    def bursts(self) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
        """What comes out: requests, and what is said of them."""
        block = min(BOUNDARY_BYTES, MOST_BEATS * BUS)
        begin, end = self.address, self.address + self.size
        while begin < end:
            until = min(end, begin - begin % block + block)
            beats = (until - 1) // BUS - begin // BUS
            yield (
                {"address": begin // BUS * BUS % (1 << DECODER.address_bits), "beats": beats},
                {
                    "first": begin % BUS,
                    "final": (until - 1) % BUS,
                    "beats": beats,
                    "ends": int(until == end),
                    "tag": self.tag,
                },
            )
            begin = until


def unpacked(layout: data.StructLayout, payload: int) -> dict[str, int]:
    """Fields of a payload."""
    return {name: payload >> field.offset & ((1 << field.width) - 1) for name, field in layout}


def some_row() -> Row:
    address = random.choice(
        [random.getrandbits(48), 4096 - random.randrange(40), (1 << 48) - random.randrange(1, 5000)]
    )
    size = random.choice([1, BUS, random.randrange(1, 50), random.randrange(1, 9000), 1 << 14])
    return Row(address, size, random.getrandbits(TAG_BITS))


@pytest.mark.parametrize("paces", [(1.0, 1.0, 1.0), (0.3, 1.0, 1.0), (1.0, 0.3, 1.0), (1.0, 1.0, 0.3), (0.5, 0.5, 0.5)])
def test_rows_are_covered_by_bursts_that_axi_allows(paces: tuple[float, float, float]) -> None:
    random.seed(11)
    rows = [Row(0, 1 << 24, 0), *(some_row() for _ in range(1000))]
    expected = [burst for row in rows for burst in row.bursts]
    with compile_component(COMPONENT).simulation() as simulation:
        _, requests, bursts = simulation.exchange(
            Stream("rows", [row.payload for row in rows], paces[0]),
            Stream("requests", len(expected), paces[1]),
            Stream("bursts", len(expected), paces[2]),
        )
    assert [unpacked(read_request_layout(), payload) for payload in requests.payloads] == [one for one, _ in expected]
    assert [unpacked(burst_layout(BUS, TAG_BITS), payload) for payload in bursts.payloads] == [
        two for _, two in expected
    ]


def test_a_burst_is_asked_for_every_cycle_whatever_the_rows() -> None:
    random.seed(12)
    rows = [some_row() for _ in range(300)]
    count = sum(1 for row in rows for _ in row.bursts)
    with compile_component(COMPONENT).simulation() as simulation:
        _, requests, bursts = simulation.exchange(
            Stream("rows", [row.payload for row in rows]), Stream("requests", count), Stream("bursts", count)
        )
    assert requests.cycles.tolist() == list(range(count))
    assert bursts.cycles.tolist() == list(range(1, count + 1))


def test_requests_wait_when_as_many_bursts_as_allowed_are_remembered() -> None:
    rows = [Row(64 * number, 1, 0) for number in range(20)]
    with compile_component(COMPONENT).simulation() as simulation:
        requests = simulation.exchange(
            Stream("rows", [row.payload for row in rows]), Stream("requests", 20), cycles=100
        )[1]
    assert len(requests.payloads) == OUTSTANDING


def test_a_reset_in_the_middle_of_a_row_leaves_nothing_of_it() -> None:
    random.seed(13)
    with compile_component(COMPONENT).simulation() as simulation:
        for _ in range(30):
            simulation.exchange(
                Stream("rows", [some_row().payload] * 5), Stream("requests", 100), cycles=random.randrange(9)
            )
            simulation["rows__valid"] = 0
            simulation.reset()
            row = some_row()
            expected = list(row.bursts)
            streams = Stream("requests", len(expected)), Stream("bursts", len(expected))
            _, requests, bursts = simulation.exchange(Stream("rows", [row.payload]), *streams)
            assert [unpacked(read_request_layout(), payload) for payload in requests.payloads] == [
                a for a, _ in expected
            ]
            assert len(bursts.payloads) == len(expected)


def test_clients_take_turns_and_an_offer_stands_until_it_is_taken() -> None:
    port, seen = ReadPort(bus_bytes=BUS, clients=3, outstanding=32), list[int]()

    async def bench(context: SimulatorContext) -> None:
        clients, memory = port.clients, port.memory
        for number, client in enumerate(clients):
            context.set(client.request.payload.address, 0x1000 * number)
        context.set(clients[2].request.valid, 1)
        await context.tick()
        context.set(clients[0].request.valid, 1)
        context.set(clients[1].request.valid, 1)
        for _ in range(3):
            assert context.get(memory.arvalid)
            assert context.get(memory.araddr) == 0x2000
            await context.tick()
        context.set(memory.arready, 1)
        for _ in range(7):
            seen.append(context.get(memory.arid))
            assert context.get(memory.araddr) == 0x1000 * seen[-1]
            await context.tick()

    simulator = Simulator(port)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [2, 0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clients": 0, "outstanding": 4}, "clients is 0, must be 1 to 4"),
        ({"clients": 5, "outstanding": 4}, "clients is 5, must be 1 to 4"),
        ({"clients": 2, "outstanding": 0}, "outstanding is 0, must be at least 1"),
    ],
)
def test_ports_that_cannot_be_built_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReadPort(bus_bytes=BUS, **arguments)


def test_a_splitter_without_bursts_is_refused() -> None:
    with pytest.raises(ValueError, match="outstanding is 0"):
        BurstSplitter(bus_bytes=BUS, outstanding=0)
