"""What testbenches of `load_path.MemoryPath` share: its inputs at rest, a memory that hesitates, the rules of AXI4."""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import Any

from cocotb import start_soon
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiBus, AxiRam
from stream_agents import StreamEnd, obeys_stream_rules, parameters, start_clock

__all__ = [
    "BAD",
    "BUS",
    "GIVEN",
    "MEMORY_BYTES",
    "FixedLatencyMemory",
    "hesitating_memory",
    "obeys_channel_rules",
    "set_up",
]

MEMORY_BYTES = 1 << 14
GIVEN = parameters()
BUS = GIVEN["bus_bytes"]
BAD = range(0x3000, 0x3100)
"""Addresses that the memory answers with an error."""


async def set_up(dut: HierarchyObject) -> None:
    """Clock, reset, and watchers of the rules."""
    inputs = [f"{end}__{part}" for end in ("command", "other__request") for part in ("valid", "payload")]
    inputs += [f"store__aw{name}" for name in ("id", "addr", "len", "size", "burst", "valid")]
    inputs += [f"store__w{name}" for name in ("data", "strb", "last", "valid")]
    for name in (*inputs, "other__data__ready", "store__bready", "engine_reset", "stop"):
        getattr(dut, name).value = 0
    await start_clock(dut)
    start_soon(obeys_channel_rules(dut))
    start_soon(obeys_stream_rules(StreamEnd(dut, "other__data"), dut.engine_reset))


def hesitating_memory(dut: HierarchyObject, probability: float) -> Any:
    """A memory of random bytes that pauses with this probability on every channel; not at `BAD` addresses."""
    memory = AxiRam(AxiBus.from_prefix(dut, "m_axi_"), dut.clk, dut.rst, size=MEMORY_BYTES)
    memory.write(0, random.randbytes(MEMORY_BYTES))
    plain = memory.read_if._read

    async def read(address: int, length: int) -> bytes:
        if address % MEMORY_BYTES // BUS * BUS in BAD:
            raise ValueError("no such address")
        return bytes(await plain(address, length))

    memory.read_if._read = read
    memory.read_if.log.setLevel("ERROR")
    for interface, channels in ((memory.read_if, ("ar", "r")), (memory.write_if, ("aw", "w", "b"))):
        for channel in channels:
            pauses = (random.random() < probability for _ in itertools.count())
            getattr(interface, f"{channel}_channel").set_pause_generator(pauses)
    return memory


class FixedLatencyMemory:
    """A memory that answers a burst a fixed time after it was asked, a beat a cycle, one burst after the other."""

    def __init__(self, dut: HierarchyObject, latency_cycles: int) -> None:
        self.dut, self.latency_cycles = dut, latency_cycles
        self.content = random.randbytes(MEMORY_BYTES)
        self.asked_at: list[int] = []
        self.beat_at: list[int] = []
        self._beats: deque[tuple[int, int, int, bool]] = deque()

    def read(self, address: int, length: int) -> bytes:
        """Its bytes."""
        return self.content[address : address + length]

    async def serve(self) -> None:
        """Run forever beside a test."""
        dut, cycle = self.dut, 0
        dut.m_axi__arready.value = 1
        dut.m_axi__rresp.value = dut.m_axi__rvalid.value = 0
        while True:
            await FallingEdge(dut.clk)
            cycle += 1
            if dut.m_axi__arvalid.value:
                self.asked_at.append(cycle)
                address, beats = int(dut.m_axi__araddr.value), int(dut.m_axi__arlen.value) + 1
                for beat in range(beats):
                    at = (address + beat * BUS) % MEMORY_BYTES
                    self._beats.append((cycle + self.latency_cycles, int(dut.m_axi__arid.value), at, beat == beats - 1))
            if dut.m_axi__rvalid.value and dut.m_axi__rready.value:
                self.beat_at.append(cycle)
                self._beats.popleft()
            await RisingEdge(dut.clk)
            due = bool(self._beats) and self._beats[0][0] <= cycle + 1
            dut.m_axi__rvalid.value = due
            if due:
                _, number, at, last = self._beats[0]
                dut.m_axi__rid.value, dut.m_axi__rlast.value = number, last
                dut.m_axi__rdata.value = int.from_bytes(self.read(at, BUS), "little")


async def obeys_channel_rules(dut: HierarchyObject) -> None:
    """What AXI4 asks of a manager: offers are kept up; bursts stay within 4 KiB, and their last beats say so."""
    parts = {"aw": ("id", "addr", "len", "size", "burst"), "w": ("data", "strb", "last")}
    parts["ar"] = parts["aw"]
    offered = dict.fromkeys(parts)
    owed, beats = deque[int](), deque([0])
    while True:
        await FallingEdge(dut.clk)
        for channel, names in parts.items():
            valid, ready = (bool(getattr(dut, f"m_axi__{channel}{name}").value) for name in ("valid", "ready"))
            shown = {name: int(getattr(dut, f"m_axi__{channel}{name}").value) for name in names} if valid else None
            if offered[channel] is not None:
                assert shown == offered[channel], f"{channel}: the offer was not kept up"
            offered[channel] = shown if valid and not ready else None
            if not valid or not ready:
                continue
            assert shown is not None
            if channel == "w":
                beats[-1] += 1
                if shown["last"]:
                    beats.append(0)
                continue
            end = shown["addr"] + (shown["len"] + 1) * BUS - 1
            assert shown["addr"] % BUS == 0
            assert shown["addr"] // 4096 == end // 4096, "a burst beyond 4 KiB"
            assert shown["len"] < 64
            assert (1 << shown["size"], shown["burst"]) == (BUS, 1)
            if channel == "aw":
                owed.append(shown["len"] + 1)
        # Beats may be ahead of their address, or behind.
        while owed and len(beats) > 1:
            assert beats.popleft() == owed.popleft(), "a burst of another length"
        assert not owed or beats[0] < owed[0], "the last beat of a burst does not say so"
