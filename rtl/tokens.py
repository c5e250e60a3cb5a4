"""The token counters through which engines wait for each other."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.decoder import DECODER
from isa.instructions.types import ENGINES

__all__ = ["TokenCounters", "TokenPort"]


class TokenPort(wiring.Signature):
    """How an engine takes and gives tokens, as the engine sees it.

    `want` with `wait`: it would start now if every counter in `wait` had a token. `granted`: they have, and have been
    taken. `give`: counters that get a token at the end of this cycle.
    """

    def __init__(self) -> None:
        counters = DECODER.tokens
        super().__init__({"want": Out(1), "wait": Out(counters), "granted": In(1), "give": Out(counters)})


class TokenCounters(wiring.Component):
    """The counters. Engines that want the same one at once get it in the order of `ENGINES`, one a cycle.

    Latency: what is given in a cycle can be taken in the next. Throughput: every engine takes and gives every cycle.

    Attributes
    ----------
    engine_0, engine_1, ... : TokenPort, in
        In the order of `ENGINES`.
    clear : Signal, in
        Empties all counters.
    overflow : Signal, out
        A counter has got more tokens than it holds.
    """

    def __init__(self) -> None:
        ports = {f"engine_{number}": In(TokenPort()) for number in range(len(ENGINES))}
        super().__init__(ports | {"clear": In(1), "overflow": Out(1)})

    def elaborate(self, _platform: object) -> Module:
        """One adder a counter; requests are granted from the first engine to the last."""
        m = Module()
        ports = [getattr(self, f"engine_{number}") for number in range(len(ENGINES))]
        counts = Array(
            Signal(range(DECODER.most_tokens + 1), name=f"count_{number}") for number in range(DECODER.tokens)
        )
        there = Cat(count.any() for count in counts)
        taken = Signal(DECODER.tokens)
        before = 0
        for number, port in enumerate(ports):
            mine = Signal(DECODER.tokens, name=f"taken_by_{number}")
            m.d.comb += port.granted.eq(port.want & ~(port.wait & ~(there & ~before)).any())
            m.d.comb += mine.eq(port.granted.replicate(DECODER.tokens) & port.wait)
            before = before | mine
        m.d.comb += taken.eq(before)
        too_many = []
        for number, count in enumerate(counts):
            given = sum((port.give[number] for port in ports), start=0)
            total = Signal(unsigned(len(count) + 3), name=f"total_{number}")
            m.d.comb += total.eq(count - taken[number] + given)
            m.d.sync += count.eq(total)
            too_many.append(total > DECODER.most_tokens)
            with m.If(self.clear):
                m.d.sync += count.eq(0)
        m.d.comb += self.overflow.eq(Cat(too_many).any())
        return m
