"""The addition of a store in the mode `accumulate`: the elements of two words, one after the other.

Programs that are fast add in the accumulator scratchpad; here an adder for one element is enough.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.floats import FP16, FP32, FloatSum, FromFloat, Rounder

__all__ = ["ElementAdder"]


class ElementAdder(wiring.Component):
    """Adds the elements of two words: integers that wrap around, or floats.

    Latency: two cycles an element. Area: one adder.

    Parameters
    ----------
    bus_bytes : int
        Of a word, at least 4.

    Attributes
    ----------
    start : Signal, in
        Take the operands.
    present, added : Signal, in
        Words; elements do not cross their ends.
    wide, floating : Signal, in
        Elements of 4 bytes, and floats; they stay as they are until `done`.
    done : Signal, out
        The sums are there, until the next start.
    sums : Signal, out
    """

    def __init__(self, *, bus_bytes: int) -> None:
        if bus_bytes < 4 or bus_bytes & (bus_bytes - 1):
            raise ValueError(f"bus_bytes is {bus_bytes}, must be a power of two of at least 4")
        self._bits = 8 * bus_bytes
        super().__init__(
            {
                "start": In(1),
                "present": In(self._bits),
                "added": In(self._bits),
                "wide": In(1),
                "floating": In(1),
                "done": Out(1),
                "sums": Out(self._bits),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """The words move to the right, an element at a time; its sum comes in from the left."""
        m = Module()
        present, added = Signal(self._bits, reset_less=True), Signal(self._bits, reset_less=True)
        left, rounds = Signal(range(self._bits // 16 + 1)), Signal()
        m.submodules.adder = total = FloatSum()
        for operand, word, name in ((total.a, present, "present"), (total.b, added, "added")):
            m.submodules[f"{name}_half"] = half = FromFloat(source=FP16)
            m.submodules[f"{name}_single"] = single = Rounder(source=half.exact.shape(), target=FP32)
            m.d.comb += [
                half.number.eq(word[: FP16.bits]),
                single.exact.eq(half.exact),
                operand.eq(Mux(self.wide, word[: FP32.bits], single.result)),
            ]
        exact, integer = Signal(total.exact.shape(), reset_less=True), Signal(32, reset_less=True)
        results = []
        for target in (FP32, FP16):
            m.submodules[f"rounder_{target.bits}"] = rounder = Rounder(source=total.exact.shape(), target=target)
            m.d.comb += rounder.exact.eq(exact)
            results.append(rounder.result)
        wide_sum = Mux(self.floating, results[0], integer)
        narrow_sum = Mux(self.floating, results[1], integer[:16])
        with m.If(self.start):
            m.d.sync += [
                present.eq(self.present),
                added.eq(self.added),
                left.eq(Mux(self.wide, self._bits // 32, self._bits // 16)),
                rounds.eq(0),
            ]
        with m.Elif(left.any()):
            m.d.sync += rounds.eq(~rounds)
            with m.If(rounds):
                m.d.sync += [
                    left.eq(left - 1),
                    present.eq(Mux(self.wide, Cat(present[32:], wide_sum), Cat(present[16:], narrow_sum))),
                    added.eq(Mux(self.wide, added[32:], added[16:])),
                ]
            with m.Else():
                m.d.sync += [exact.eq(total.exact), integer.eq(present[:32] + added[:32])]
        m.d.comb += [self.done.eq(~left.any()), self.sums.eq(present)]
        return m
