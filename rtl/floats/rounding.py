"""The one place where numbers are rounded: normalize, denormalize, to nearest with ties to even, overflow."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.floats.formats import EXPONENT_BITS, FP32, FloatFormat, Unrounded

__all__ = ["Rounder"]


class Rounder(wiring.Component):
    """Rounds to a floating-point format; combinational.

    Shifters that the range of the source makes needless are left out.

    Parameters
    ----------
    source : Unrounded
        What comes in.
    target : FloatFormat
        What goes out.

    Attributes
    ----------
    exact : Unrounded, in
    result : Signal, out
    """

    def __init__(self, *, source: Unrounded, target: FloatFormat) -> None:
        self._source, self._target = source, target
        super().__init__({"exact": In(source), "result": Out(target.bits)})

    def elaborate(self, _platform: object) -> Module:
        """Left until the highest bit is set or the exponent is 1; right where the exponent is below 1; round."""
        m = Module()
        source, target = self._source, self._target
        exponent = Signal(signed(EXPONENT_BITS))
        m.d.comb += exponent.eq(self.exact.exponent + target.bias - FP32.bias)
        least = source.least_exponent + target.bias - FP32.bias

        significand: Value = self.exact.significand
        if source.leading_zeros:
            significand, exponent = self._normalized(m, exponent, least)
        # One guard bit, and all below it as one.
        wanted, lost = target.fraction_bits + 2, source.width - target.fraction_bits - 2
        if lost > 1:
            significand = Cat(significand[:lost].any(), significand[lost:])
        else:
            significand = Cat(C(0, 1 - lost), significand)
        if least < 1:
            significand = self._denormalized(m, significand, exponent)
        rounded = Signal(wanted + 1)
        m.d.comb += rounded.eq(significand)

        kept = rounded[2:]
        normal = kept[-1]
        up = rounded[1] & (rounded[0] | rounded[2])
        field = Mux(normal, Mux(exponent < 1, 1, exponent), 0) if least < 1 else Mux(normal, exponent, 0)
        magnitude = Signal(target.bits - 1)
        # The carry of a fraction of ones goes into the exponent, and from the highest one to infinity.
        m.d.comb += magnitude.eq(Cat(kept[:-1], field[: target.exponent_bits]) + up)
        overflows = normal & (exponent >= target.special_exponent)
        nan, infinite = self.exact.nan, self.exact.infinite | overflows
        special = Cat(C(0, target.fraction_bits - 1), nan, C(target.special_exponent, target.exponent_bits))
        m.d.comb += self.result.eq(Cat(Mux(nan | infinite, special, magnitude), self.exact.sign))
        return m

    def _normalized(self, m: Module, exponent: Signal, least: int) -> tuple[Value, Signal]:
        """The significand shifted left, and the exponent that it has then, at least 1 if it was."""
        source = self._source
        zeros = self._leading_zeros(m)
        shift, lower = Signal.like(zeros), Signal.like(exponent)
        if least - source.leading_zeros < 1:
            room = Mux(exponent < 1, 0, exponent - 1)
            m.d.comb += shift.eq(Mux(zeros < exponent, zeros, room))
        else:
            m.d.comb += shift.eq(zeros)
        shifted = Signal(source.width)
        m.d.comb += [shifted.eq(self.exact.significand << shift), lower.eq(exponent - shift)]
        return shifted, lower

    def _leading_zeros(self, m: Module) -> Signal:
        """How many of the highest bits are zero, by halves; of zero, more than there can be otherwise."""
        levels = self._source.leading_zeros.bit_length()
        zeros = Signal(levels)
        rest: Value = self.exact.significand[-self._source.leading_zeros - 1 :]
        rest = Cat(C(0, (1 << levels) - len(rest)), rest)
        for level in reversed(range(levels)):
            half = 1 << level
            upper, part = rest[half:], Signal(half, name=f"part_{level}")
            m.d.comb += [zeros[level].eq(~upper.any()), part.eq(Mux(zeros[level], rest[:half], upper))]
            rest = part
        return zeros

    def _denormalized(self, m: Module, significand: Value, exponent: Signal) -> Value:
        """The significand shifted right to the exponent 1, what is lost in its lowest bit."""
        # Further than this nothing but the lowest bit is left.
        most = self._target.fraction_bits + 2
        shift, shifted = Signal(range(most + 1)), Signal(len(significand) + most)
        deep = exponent < 1 - most
        m.d.comb += shift.eq(Mux(deep, most, Mux(exponent < 1, 1 - exponent, 0)))
        m.d.comb += shifted.eq(Cat(C(0, most), significand) >> shift)
        return Cat(shifted[: most + 1].any(), shifted[most + 1 :])
