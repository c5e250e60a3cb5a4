"""The floating-point formats of the hardware, and the shape of a result before it is rounded. No logic lives here."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

__all__ = ["EXPONENT_BITS", "FP16", "FP32", "FloatFormat", "Unrounded"]

EXPONENT_BITS = 10
"""Of the exponent of a result before it is rounded, two's complement: products and quotients of fp32 fit."""


@dataclass(frozen=True)
class FloatFormat:
    """A binary interchange format of IEEE 754: fraction lowest, then the biased exponent, then the sign.

    Parameters
    ----------
    exponent_bits, fraction_bits : int
    """

    exponent_bits: int
    fraction_bits: int

    @property
    def bits(self) -> int:
        """Width of a number."""
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        """The exponent field of 1.0."""
        return (1 << self.exponent_bits - 1) - 1

    @property
    def special_exponent(self) -> int:
        """The exponent field of infinity and NaN."""
        return (1 << self.exponent_bits) - 1

    @property
    def layout(self) -> data.StructLayout:
        """Its fields."""
        return data.StructLayout({"fraction": self.fraction_bits, "exponent": self.exponent_bits, "sign": 1})


FP32 = FloatFormat(8, 23)
FP16 = FloatFormat(5, 10)


class Unrounded(data.StructLayout):
    """A result that is exact but for its lowest bit, which is set if anything was lost below it.

    The value is `significand` / 2^(width - 1) * 2^(`exponent` - 127), whatever the format it came from, with `sign`.
    `nan` goes before `infinite`, and that before the value.

    Parameters
    ----------
    width : int
        Bits of the significand.
    leading_zeros : int
        How many of its highest bits may be zero before a value that is not 0. A rounder with 0 shifts nothing left, so
        that numbers with a zero there must be so small that they round to 0.
    least_exponent : int
        The lowest exponent that comes up.
    """

    def __init__(self, width: int, *, leading_zeros: int, least_exponent: int) -> None:
        if not 0 <= leading_zeros < width:
            raise ValueError(f"leading_zeros is {leading_zeros}, must be 0 to {width - 1}")
        self.width, self.leading_zeros, self.least_exponent = width, leading_zeros, least_exponent
        members = {"significand": unsigned(width), "exponent": signed(EXPONENT_BITS)}
        super().__init__(members | {"sign": unsigned(1), "nan": unsigned(1), "infinite": unsigned(1)})
