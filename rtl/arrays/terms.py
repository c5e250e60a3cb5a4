"""Weights as radix-4 Booth terms, lane by lane and cycle by cycle: what a term-serial array feeds into its lanes.

A term is a sign and a shift, (-1)^negative · 2^shift, or nothing. Terms are the digits of `isa.recoding.booth_strings`.
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.recoding import booth_strings

__all__ = ["DenseTerms", "NonZeroTerms", "TermFeeder", "significances", "term_layout"]


def significances(bits: int) -> tuple[int, ...]:
    """The powers of two that the digits of codes of so many bits are multiplied by, the lowest first."""
    return booth_strings(np.zeros(0, np.int8), bits).significances


def term_layout(largest_shift: int) -> data.StructLayout:
    """A term: `present`, 0 where there is none; `negative`; `shift`."""
    return data.StructLayout({"present": 1, "negative": 1, "shift": range(largest_shift + 1)})


class TermFeeder(wiring.Component):
    """Terms of the codes of all lanes, one a lane and cycle, from registers or straight from the codes.

    Parameters
    ----------
    lanes : int
    width : int
        Bits of a code in two's complement.
    bits : int
        Bits in which weights are stored, 1 to 8: no code has more digits than the widest of these.
    largest_shift : int
        Of a term.

    Attributes
    ----------
    codes : array, in
        The codes; they stand still until all their terms have been taken.
    enable : in
        The terms of this cycle are taken.
    terms : array, out
        A term a lane.
    first, last : out
        Whether the terms are the first, the last of these codes.

    Raises
    ------
    ValueError
        If there is no lane, or the bits are out of range.
    """

    def __init__(self, *, lanes: int, width: int, bits: int, largest_shift: int) -> None:
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}, must be at least 1")
        self.digits, self.largest_shift = len(significances(bits)), largest_shift
        if not 1 <= width <= 2 * self.digits:
            raise ValueError(f"width is {width}, must be 1 to {2 * self.digits}")
        super().__init__(
            {
                "codes": In(data.ArrayLayout(signed(width), lanes)),
                "enable": In(1),
                "terms": Out(data.ArrayLayout(term_layout(largest_shift), lanes)),
                "first": Out(1),
                "last": Out(1),
            }
        )

    def windows(self, code: Value) -> list[Value]:
        """Three bits for each digit, the lowest below the digit's own two."""
        padded = Cat(0, code, *[code[-1]] * (2 * self.digits - len(code)))
        return [padded[2 * digit : 2 * digit + 3] for digit in range(self.digits)]


class DenseTerms(TermFeeder):
    """All digits, the lowest first, zero or not: every code takes as many cycles as the widest.

    Every lane has the digit of the same significance, so that its shift is 0 or 1 and the sum of the lanes can be
    shifted in place of each of them.
    """

    def __init__(self, *, lanes: int, width: int, bits: int) -> None:
        super().__init__(lanes=lanes, width=width, bits=bits, largest_shift=1)
        self.position = Signal(range(self.digits))

    def scaled(self, total: Value) -> Value:
        """A sum of this cycle's terms at the significance that they have in common."""
        return total << Cat(Const(0, 1), self.position)

    def elaborate(self, _platform: object) -> Module:
        """A counter, and the window that it points at of every lane."""
        m = Module()
        position = self.position
        m.d.comb += [
            self.first.eq(position == 0),
            self.last.eq(position == self.digits - 1),
        ]
        with m.If(self.enable):
            m.d.sync += position.eq(Mux(self.last, 0, position + 1))
        for lane, term in enumerate(self.terms):
            window = Signal(3, name=f"window_{lane}")
            windows = self.windows(Value.cast(self.codes[lane]))
            with m.Switch(position):
                for digit, choice in enumerate(windows):
                    with m.Case(digit):
                        m.d.comb += window.eq(choice)
            m.d.comb += [
                term.present.eq(~_is_zero(window)),
                term.negative.eq(window[2]),
                term.shift.eq(_is_double(window)),
            ]
        return m


class NonZeroTerms(TermFeeder):
    """The next digit of each lane that is not zero; lanes wait for the one with the most of them.

    Codes take as many cycles as the largest number of non-zero digits among them, at least 1. A term's shift has its
    digit's significance in it.
    """

    def __init__(self, *, lanes: int, width: int, bits: int) -> None:
        largest_shift = significances(bits)[-1] + 1
        super().__init__(lanes=lanes, width=width, bits=bits, largest_shift=largest_shift)

    def scaled(self, total: Value) -> Value:
        """A sum of this cycle's terms: as it is."""
        return total

    def elaborate(self, _platform: object) -> Module:
        """A bit a digit says that its term is to come; of those of a lane the lowest comes next."""
        m = Module()
        begun = Signal()
        m.d.comb += self.first.eq(~begun)
        more = []
        for lane, term in enumerate(self.terms):
            windows = self.windows(Value.cast(self.codes[lane]))
            pending = Signal(self.digits, name=f"pending_{lane}")
            rest = Signal(self.digits, name=f"rest_{lane}")
            # The lowest digit is never left for later.
            waiting = Signal(self.digits - 1, name=f"waiting_{lane}", reset_less=True)
            m.d.comb += [
                pending.eq(Mux(begun, Cat(0, waiting), Cat(~_is_zero(window) for window in windows))),
                rest.eq(pending & (pending - 1)),
                term.present.eq(pending.any()),
            ]
            for digit, window in reversed(list(enumerate(windows))):
                with m.If(pending[digit]):
                    m.d.comb += [
                        term.negative.eq(window[2]),
                        term.shift.eq(2 * digit + _is_double(window)),
                    ]
            with m.If(self.enable):
                m.d.sync += waiting.eq(rest[1:])
            more.append(rest.any())
        m.d.comb += self.last.eq(~Cat(more).any())
        with m.If(self.enable):
            m.d.sync += begun.eq(~self.last)
        return m


def _is_zero(window: Value) -> Value:
    return window.matches("000", "111")


def _is_double(window: Value) -> Value:
    """Whether the digit is 2 or -2."""
    return window.matches("011", "100")
