"""What is claimed of the token counters, for all that engines may ask and give."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from claims_inside import Inside, claim

from isa.decoder import DECODER
from isa.instructions.types import ENGINES

__all__ = ["TokenClaims"]


class TokenClaims(wiring.Component):
    """Counters whose engines are free.

    Parameters
    ----------
    counters : wiring.Component
        A `TokenCounters`.
    most_tokens : int
        That a counter holds.
    """

    def __init__(self, counters: wiring.Component, most_tokens: int = DECODER.most_tokens) -> None:
        self._counters, self._most_tokens = counters, most_tokens
        masks = data.ArrayLayout(DECODER.tokens, len(ENGINES))
        super().__init__({"want": In(len(ENGINES)), "wait": In(masks), "give": In(masks), "clear": In(1)})

    def elaborate(self, _platform: object) -> Module:
        """The counters beside a balance of each, which is what was given less what was taken."""
        m = Module()
        inside = Inside(self._counters)
        m.submodules.counters = inside.fragment
        engines = range(len(ENGINES))
        ports = [getattr(self._counters, f"engine_{engine}") for engine in engines]
        granted = [port.granted for port in ports]
        m.d.comb += self._counters.clear.eq(self.clear)
        for engine, port in enumerate(ports):
            m.d.comb += [
                port.want.eq(self.want[engine]),
                port.wait.eq(self.wait[engine]),
                port.give.eq(self.give[engine]),
            ]
        # Once too many tokens were said to be there, counts mean nothing until they are cleared.
        counting = Signal(init=1)
        balances, beyond = [], []
        for counter in range(DECODER.tokens):
            balance = Signal(range(self._most_tokens + 1), name=f"balance_{counter}")
            takers = [granted[engine] & self.wait[engine][counter] for engine in engines]
            after = Signal(range(self._most_tokens + len(ENGINES) + 1), name=f"after_{counter}")
            given = sum((self.give[engine][counter] for engine in engines), start=Value.cast(0))
            m.d.comb += after.eq(balance + given - sum(takers, start=Value.cast(0)))
            m.d.sync += balance.eq(Mux(self.clear, 0, after))
            balances.append(balance)
            beyond.append(after > self._most_tokens)
            claim(m, f"conserved_{counter}", ~counting | (inside.register(f"count_{counter}") == balance))
            claim(m, f"one_taker_{counter}", sum(takers, start=Value.cast(0)) <= 1)
            claim(m, f"there_{counter}", ~counting | ~Cat(takers).any() | balance.any())
        m.d.sync += counting.eq(self.clear | (counting & ~self._counters.overflow))
        claim(m, "overflow_is_said", ~counting | (self._counters.overflow == Cat(beyond).any()))
        there = Cat(balance.any() for balance in balances)
        could = Cat(self.want[engine] & ~(self.wait[engine] & ~there).any() for engine in engines)
        claim(m, "granted_to_those_who_want", ~(Cat(granted) & ~self.want).any())
        claim(m, "somebody_goes_on", ~counting | ~could.any() | Cat(granted).any())
        before: Value = Value.cast(0)
        for engine in engines:
            contested = (self.wait[engine] & before).any()
            claim(m, f"denied_for_a_reason_{engine}", ~counting | (granted[engine] == (could[engine] & ~contested)))
            before = before | Mux(granted[engine], self.wait[engine], 0)
        return m
