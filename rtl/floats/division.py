"""Division: many dividends by one divisor, in lockstep, two bits of all quotients a cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.floats.formats import EXPONENT_BITS, FP32, Unrounded

__all__ = ["DIVIDE_CYCLES", "Divider"]

_SIGNIFICAND_BITS = FP32.fraction_bits + 1
# Of a quotient in (1/2, 2): the bits of the result and a guard bit, below a first one that may be 0.
_QUOTIENT_BITS = _SIGNIFICAND_BITS + 2
_BITS_PER_CYCLE = 2
# Subnormal numbers are shifted by 16, 8, 4, 2 and 1.
_SHIFTS = tuple(1 << level for level in reversed(range((_SIGNIFICAND_BITS - 1).bit_length())))

DIVIDE_CYCLES = 1 + len(_SHIFTS) + _QUOTIENT_BITS // _BITS_PER_CYCLE
"""From one division to the next."""

OPERAND = Unrounded(_SIGNIFICAND_BITS, leading_zeros=_SIGNIFICAND_BITS - 1, least_exponent=1)
QUOTIENT = Unrounded(_QUOTIENT_BITS + 1, leading_zeros=1, least_exponent=1 - (_SIGNIFICAND_BITS - 1) - 254 + FP32.bias)


class Divider(wiring.Component):
    """Quotients of fp32 numbers.

    Latency and cycles from one division to the next: `DIVIDE_CYCLES`. Area: a lane has registers for remainder,
    quotient and exponent, and two subtractors of 25 bits.

    Parameters
    ----------
    lanes : int
        Dividends, at least 1.

    Attributes
    ----------
    start : Signal, in
        Take the operands; not again within `DIVIDE_CYCLES`.
    dividends : ArrayLayout of Unrounded, in
    divisor : Unrounded, in
        Of 24 bits, the highest of which may be 0.
    exact : ArrayLayout of Unrounded, out
        Meaningful in the cycle of `done`.
    done : Signal, out
        For one cycle, `DIVIDE_CYCLES` after `start`.
    works : Signal, out
        From the cycle after `start` to that of `done`.
    """

    def __init__(self, *, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}, must be at least 1")
        super().__init__(
            {
                "start": In(1),
                "dividends": In(data.ArrayLayout(OPERAND, lanes)),
                "divisor": In(OPERAND),
                "exact": Out(data.ArrayLayout(QUOTIENT, lanes)),
                "done": Out(1),
                "works": Out(1),
            }
        )
        self._lanes = lanes

    def elaborate(self, _platform: object) -> Module:
        """Count the cycles; the divisor is normalized once for all lanes."""
        m = Module()
        phase = Signal(range(DIVIDE_CYCLES + 1))
        with m.If(self.start):
            m.d.sync += phase.eq(1)
        with m.Elif(self.done):
            m.d.sync += phase.eq(0)
        with m.Elif(self.works):
            m.d.sync += phase.eq(phase + 1)
        m.d.comb += [self.done.eq(phase == DIVIDE_CYCLES), self.works.eq(phase.any())]
        divisor = _Operand(m, "divisor", self.start, phase, self.divisor)
        for lane in range(self._lanes):
            dividend = _Operand(m, f"dividend_{lane}", self.start, phase, self.dividends[lane])
            self._divide(m, lane, phase, dividend, divisor)
        return m

    def _divide(self, m: Module, lane: int, phase: Signal, dividend: _Operand, divisor: _Operand) -> None:
        """Restoring division: the divisor is subtracted wherever the remainder is not below it."""
        quotient = Signal(_QUOTIENT_BITS, name=f"quotient_{lane}", reset_less=True)
        remainder, bits = dividend.significand, []
        for step in range(_BITS_PER_CYCLE):
            difference = Signal(signed(len(remainder) + 1), name=f"difference_{lane}_{step}")
            following = Signal.like(dividend.significand, name=f"remainder_{lane}_{step}")
            m.d.comb += [
                difference.eq(remainder - divisor.significand),
                following.eq(Mux(difference < 0, remainder, difference) << 1),
            ]
            remainder = following
            bits.append(~difference[-1])
        with m.If((phase > len(_SHIFTS)) & ~self.done):
            m.d.sync += [dividend.significand.eq(remainder), quotient.eq(Cat(*reversed(bits), quotient))]
        exact = self.exact[lane]
        m.d.comb += [
            exact.significand.eq(
                Cat(dividend.significand.any() & ~divisor.infinite, Mux(divisor.infinite, 0, quotient))
            ),
            exact.exponent.eq(dividend.exponent - divisor.exponent + FP32.bias),
            exact.sign.eq(dividend.sign ^ divisor.sign),
            exact.nan.eq(
                (dividend.nan | divisor.nan) | (dividend.infinite & divisor.infinite) | (dividend.zero & divisor.zero)
            ),
            exact.infinite.eq(dividend.infinite | divisor.zero),
        ]


class _Operand:
    """Registers that hold a number and normalize it: of a finite one that is not zero, the highest bit is set and the
    exponent is that of this bit."""

    def __init__(self, m: Module, name: str, start: Signal, phase: Signal, number: Any) -> None:
        # One bit more for a remainder, which is below twice the divisor.
        self.significand = Signal(_SIGNIFICAND_BITS + 1, name=f"{name}_significand", reset_less=True)
        self.exponent = Signal(signed(EXPONENT_BITS), name=f"{name}_exponent", reset_less=True)
        self.sign, self.nan, self.infinite, self.zero = (
            Signal(name=f"{name}_{flag}", reset_less=True) for flag in ("sign", "nan", "infinite", "zero")
        )
        with m.If(start):
            m.d.sync += [
                self.significand.eq(number.significand),
                self.exponent.eq(number.exponent),
                self.sign.eq(number.sign),
                self.nan.eq(number.nan),
                self.infinite.eq(number.infinite),
                self.zero.eq(~number.significand.any()),
            ]
        for cycle, shift in enumerate(_SHIFTS, 1):
            highest = self.significand[_SIGNIFICAND_BITS - shift : _SIGNIFICAND_BITS]
            with m.If((phase == cycle) & ~highest.any()):
                m.d.sync += [
                    self.significand.eq(self.significand << shift),
                    self.exponent.eq(self.exponent - shift),
                ]
