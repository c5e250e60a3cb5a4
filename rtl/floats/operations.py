"""Operations on floating-point numbers without their rounding: products, sums, and numbers of other types."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.floats.formats import FP32, FloatFormat, Unrounded

__all__ = ["FloatProduct", "FloatSum", "FromFloat", "FromInteger"]

SUM = Unrounded(28, leading_zeros=27, least_exponent=2)

# What a sum keeps of the smaller number below the larger one's lowest bit: two bits, and one for all that follow.
_GUARD_BITS = 3


def _significand(number: data.View) -> Value:
    """The fraction with the bit before it, which is 0 in a subnormal number."""
    return Cat(number.fraction, number.exponent.any())


def _exponent(number: data.View) -> Value:
    """The exponent of the bit before the fraction: subnormal numbers have that of the least normal ones."""
    return number.exponent | ~number.exponent.any()


class FloatProduct(wiring.Component):
    """The product of two numbers, all bits of it; combinational.

    Parameters
    ----------
    a, b : Unrounded
        Shapes of the numbers, that of `FromFloat` for example.

    Attributes
    ----------
    a, b : Unrounded, in
    exact : Unrounded, out
    """

    def __init__(self, *, a: Unrounded, b: Unrounded) -> None:
        width = a.width + b.width
        # A product of numbers in [1, 2) is below 4: the highest bit has the exponent 1 and is often 0.
        least = a.least_exponent + b.least_exponent + 1 - FP32.bias
        exact = Unrounded(width, leading_zeros=width - 1, least_exponent=least)
        super().__init__({"a": In(a), "b": In(b), "exact": Out(exact)})

    def elaborate(self, _platform: object) -> Module:
        """Multiply significands, add exponents."""
        m = Module()
        a, b = self.a, self.b
        no_number = (a.infinite & ~b.significand.any()) | (~a.significand.any() & b.infinite)
        m.d.comb += [
            self.exact.significand.eq(a.significand * b.significand),
            self.exact.exponent.eq(a.exponent + b.exponent + (1 - FP32.bias)),
            self.exact.sign.eq(a.sign ^ b.sign),
            self.exact.nan.eq(a.nan | b.nan | no_number),
            self.exact.infinite.eq(a.infinite | b.infinite),
        ]
        return m


class FloatSum(wiring.Component):
    """The sum of two fp32 numbers; combinational.

    It serves fp16 as well: numbers that were fp16 are rounded to fp16 once. Where software adds them in fp32 first, it
    rounds twice to the same result, because 24 bits are at least twice 11 and two more (Figueroa, When is double
    rounding innocuous?, SIGNUM 1995).

    Attributes
    ----------
    a, b : Signal, in
    exact : Unrounded, out
    """

    def __init__(self) -> None:
        super().__init__({"a": In(FP32.bits), "b": In(FP32.bits), "exact": Out(SUM)})

    def elaborate(self, _platform: object) -> Module:
        """Shift the smaller one right by the difference of the exponents; add or subtract."""
        m = Module()
        swapped = Signal()
        bits = [Signal(FP32.layout, name=name) for name in ("large", "small")]
        large, small = bits
        m.d.comb += [
            swapped.eq(self.b[:-1] > self.a[:-1]),
            large.as_value().eq(Mux(swapped, self.b, self.a)),
            small.as_value().eq(Mux(swapped, self.a, self.b)),
        ]
        exponent, distance, shift = Signal(FP32.exponent_bits), Signal(FP32.exponent_bits), Signal(5)
        m.d.comb += [
            exponent.eq(_exponent(large)),
            distance.eq(exponent - _exponent(small)),
            shift.eq(Mux(distance[5:].any(), ~0, distance)),
        ]
        most = (1 << len(shift)) - 1
        width = FP32.fraction_bits + 1 + _GUARD_BITS
        shifted, aligned = Signal(width - 1 + most), Signal(width)
        m.d.comb += [
            shifted.eq(Cat(C(0, most + _GUARD_BITS - 1), _significand(small)) >> shift),
            aligned.eq(Cat(shifted[:most].any(), shifted[most:])),
        ]
        subtracts, total = Signal(), Signal(width + 1)
        whole = Cat(C(0, _GUARD_BITS), _significand(large))
        infinite = large.exponent == FP32.special_exponent
        # Infinities of both signs; a NaN is never the smaller one.
        opposed = subtracts & (small.exponent == FP32.special_exponent)
        m.d.comb += [
            subtracts.eq(large.sign ^ small.sign),
            total.eq(Mux(subtracts, whole - aligned, whole + aligned)),
            self.exact.significand.eq(total),
            self.exact.exponent.eq(exponent + 1),
            self.exact.sign.eq(large.sign & (total.any() | ~subtracts)),
            self.exact.nan.eq(infinite & (large.fraction.any() | opposed)),
            self.exact.infinite.eq(infinite),
        ]
        return m


class FromInteger(wiring.Component):
    """A two's complement integer as a number; combinational.

    Parameters
    ----------
    width : int
        Bits of the integer.

    Attributes
    ----------
    integer : Signal, in
    exact : Unrounded, out
    """

    def __init__(self, *, width: int) -> None:
        if width < 2:
            raise ValueError(f"width is {width}, must be at least 2")
        exponent = FP32.bias + width - 1
        self._layout = Unrounded(width, leading_zeros=width - 1, least_exponent=exponent)
        super().__init__({"integer": In(signed(width)), "exact": Out(self._layout)})

    def elaborate(self, _platform: object) -> Module:
        """Sign and magnitude."""
        m = Module()
        m.d.comb += [
            self.exact.sign.eq(self.integer < 0),
            self.exact.significand.eq(Mux(self.integer < 0, -self.integer, self.integer)),
            self.exact.exponent.eq(self._layout.least_exponent),
        ]
        return m


class FromFloat(wiring.Component):
    """A number of a floating-point format, to be rounded to another; combinational.

    From fp32 only to narrower formats, of which its subnormal numbers are all rounded to 0.

    Parameters
    ----------
    source : FloatFormat

    Attributes
    ----------
    number : Signal, in
    exact : Unrounded, out
        The significand of a subnormal number begins with zeros.
    """

    def __init__(self, *, source: FloatFormat) -> None:
        self._source = source
        zeros = source.fraction_bits if source.exponent_bits < FP32.exponent_bits else 0
        least = 1 + FP32.bias - source.bias
        layout = Unrounded(source.fraction_bits + 1, leading_zeros=zeros, least_exponent=least)
        super().__init__({"number": In(source.bits), "exact": Out(layout)})

    def elaborate(self, _platform: object) -> Module:
        """Its fields."""
        m = Module()
        number = data.View(self._source.layout, self.number)
        special = number.exponent == self._source.special_exponent
        m.d.comb += [
            self.exact.significand.eq(_significand(number)),
            self.exact.exponent.eq(_exponent(number) + FP32.bias - self._source.bias),
            self.exact.sign.eq(number.sign),
            self.exact.nan.eq(special & number.fraction.any()),
            self.exact.infinite.eq(special),
        ]
        return m
