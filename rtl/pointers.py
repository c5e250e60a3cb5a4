"""The address registers of the front end: a base each, and an offset that may go round in a ring."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from isa.decoder import DECODER

__all__ = ["READS", "Pointers"]

READS = max(sum(field.kind == "pointer" for field in word.fields) for word in DECODER.words)
"""Pointers that one instruction names."""


class Pointers(wiring.Component):
    """Reads some pointers, and sets or steps one, every cycle.

    What is kept of a pointer is its address (base + offset), its offset and its ring, so that an address is read
    without an addition. A step of a ring goes round once at most.

    Latency: addresses in the same cycle; what is set or stepped is read from the next cycle on.

    Attributes
    ----------
    read_0, read_1, ... : Signal, in
        Numbers of pointers.
    address_0, address_1, ... : Signal, out
        Their byte addresses.
    target : Signal, in
        The pointer that is set or stepped.
    set, step : Signal, in
        Which of both, if any.
    base, ring : Signal, in
        Of `set`: the base, in bytes, and the size that the offset wraps at, or 0.
    stride : Signal, in
        Of `step`: what is added, signed.
    too_far : Signal, out
        The step is larger than the ring of `target`.
    """

    def __init__(self) -> None:
        number, address = range(DECODER.pointers), unsigned(DECODER.address_bits)
        reads = {f"read_{port}": In(number) for port in range(READS)}
        reads |= {f"address_{port}": Out(address) for port in range(READS)}
        super().__init__(
            {
                **reads,
                "target": In(number),
                "set": In(1),
                "step": In(1),
                "base": In(address),
                "ring": In(address),
                "stride": In(signed(DECODER.address_bits)),
                "too_far": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Three memories with one write port; every read is combinational."""
        m = Module()
        bits = DECODER.address_bits

        def registers(name: str) -> memory.Memory:
            m.submodules[name] = registers = memory.Memory(shape=unsigned(bits), depth=DECODER.pointers, init=[])
            return registers

        addresses, offsets, rings = registers("addresses"), registers("offsets"), registers("rings")
        for port in range(READS):
            read = addresses.read_port(domain="comb")
            m.d.comb += [
                read.addr.eq(getattr(self, f"read_{port}")),
                getattr(self, f"address_{port}").eq(read.data),
            ]
        old = [each.read_port(domain="comb") for each in (addresses, offsets, rings)]
        address, offset, ring = (read.data for read in old)
        m.d.comb += [read.addr.eq(self.target) for read in old]
        # Offsets without a ring may be negative.
        moved, around = Signal(signed(bits + 2)), Signal(signed(bits + 2))
        m.d.comb += [moved.eq(offset.as_signed() + self.stride), around.eq(moved)]
        with m.If(ring.any()):
            m.d.comb += [moved.eq(offset + self.stride), around.eq(moved)]
            with m.If(moved < 0):
                m.d.comb += around.eq(moved + ring)
            with m.Elif(moved >= ring):
                m.d.comb += around.eq(moved - ring)
        m.d.comb += self.too_far.eq(ring.any() & ((self.stride > ring) | (-self.stride > ring)))
        news = (
            (addresses, self.base, address + around - offset),
            (offsets, 0, around),
            (rings, self.ring, ring),
        )
        for each, when_set, when_stepped in news:
            write = each.write_port()
            m.d.comb += [write.addr.eq(self.target), write.en.eq(self.set | self.step), write.data.eq(when_stepped)]
            with m.If(self.set):
                m.d.comb += write.data.eq(when_set)
        return m
