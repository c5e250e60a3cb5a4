"""The arithmetic of the scale engine, a column a lane. Addresses, order and hazards are the subject of `engines.scale`.

cycle   1          2               3       4         5       6     7
column ─┐
row ────┴─ latch ─ multiply,divide ─ round ┐
accumulator ────── to fp32 ────────────────┴ multiply ─ round ┐
present ───────────────────────────────────────────── latch ──┴ add ─ round ─► result
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import C, Cat, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.clock_gate import add_gated_domain
from rtl.floats import FP16, FP32, Divider, FloatProduct, FloatSum, FromFloat, FromInteger, Rounder

__all__ = ["ScaleLanes"]

# Added to any number, it gives that number.
_NOTHING = 1 << FP32.bits - 1


class ScaleLanes(wiring.Component):
    """Accumulators times factors of columns and a row, plus what is there: the order of `isa.instructions.Scale`.

    Every register waits for the step of its cycle, and the clock of all for the first of them, so that nothing moves
    while nothing is scaled.

    Latency: what comes in cycle 1 gives `results` in cycle 7, `DIVIDE_CYCLES` - 1 later where it divides.
    Throughput: a step a cycle, every `DIVIDE_CYCLES` where it divides.

    Parameters
    ----------
    lanes : int

    Attributes
    ----------
    valid : Signal, in
        This is cycle 1 of a step.
    accumulators : ArrayLayout, in
        In cycle 1.
    column_scales, row_scale : Signal, in
        In cycle 1; from the lowest bit on.
    halves, one : Signal, in
        In cycle 1: column scales are fp16; all columns have the first.
    divides, adds : Signal, in
        In cycle 1: over the row's scale; to what is present.
    divided : Signal, out
        This is cycle 3 of a step that divides.
    present : ArrayLayout, in
        In cycle 5.
    results : ArrayLayout, out
        In cycle 7.
    """

    def __init__(self, *, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}, must be at least 1")
        self._lanes = lanes
        words = data.ArrayLayout(32, lanes)
        inputs = {"valid": 1, "column_scales": 32 * lanes, "row_scale": 32}
        flags = dict.fromkeys(("halves", "one", "divides", "adds"), 1)
        super().__init__(
            {name: In(width) for name, width in (inputs | flags).items()}
            | {"accumulators": In(words), "present": In(words), "results": Out(words), "divided": Out(1)}
        )

    def elaborate(self, _platform: object) -> Module:
        """The row's scale once, everything else a lane each."""
        m = Module()
        works = Signal()
        add_gated_domain(m, "lanes", opens=self.valid | works)
        m.submodules.divider = divider = DomainRenamer("lanes")(Divider(lanes=self._lanes))
        # Whether there is a step in each cycle.
        valid = [self.valid, *(Signal(name=f"valid_{cycle}") for cycle in (2, 3, 4, 5, 6))]
        self._valid = dict(enumerate(valid, 1))
        multiplied = Signal()
        m.d.comb += [valid[2].eq(multiplied | divider.done), self.divided.eq(divider.done)]
        m.d.lanes += [later.eq(earlier) for earlier, later in pairwise(valid) if later is not valid[2]]

        row = self._register(m, 1, "row", self.row_scale)
        halves, divides = (self._register(m, 1, name, getattr(self, name)) for name in ("halves", "divides"))
        adds = self._register(m, 1, "adds_2", self.adds)
        for cycle in (2, 3, 4):
            adds = self._register(m, cycle, f"adds_{cycle + 1}", adds)
        m.submodules.row = row_number = FromFloat(source=FP32)
        m.d.comb += [
            row_number.number.eq(row),
            divider.start.eq(valid[1] & divides),
            divider.divisor.eq(row_number.exact),
        ]
        m.d.lanes += multiplied.eq(valid[1] & ~divides)
        m.d.comb += works.eq(Cat(*valid[1:]).any() | divider.works)
        for lane in range(self._lanes):
            column = self._column(m, lane, halves)
            m.d.comb += divider.dividends[lane].eq(column)
            factor = self._factor(m, lane, column, row_number.exact, divider)
            scaled = self._scaled(m, lane, factor)
            self._add(m, lane, scaled, adds)
        return m

    def _register(self, m: Module, cycle: int, name: str, value: Any) -> Any:
        """What a value was in a cycle, from the next on."""
        register = Signal(value.shape(), name=name, reset_less=True)
        with m.If(self._valid[cycle]):
            m.d.lanes += register.eq(value)
        return register

    def _rounded(self, m: Module, name: str, exact: Any) -> Value:
        rounder = Rounder(source=exact.shape(), target=FP32)
        m.submodules[name] = rounder
        m.d.comb += rounder.exact.eq(exact)
        return rounder.result

    def _column(self, m: Module, lane: int, halves: Signal) -> Any:
        """The column's scale as a number, whichever type it has; no rounding is needed for either."""
        wide, narrow = self.column_scales.word_select(lane, 32), self.column_scales.word_select(lane, 16)
        if lane:
            wide = Mux(self.one, self.column_scales[:32], wide)
            narrow = Mux(self.one, self.column_scales[:16], narrow)
        bits = self._register(m, 1, f"column_{lane}", Mux(self.halves, narrow, wide))
        m.submodules[f"wide_{lane}"] = wide_number = FromFloat(source=FP32)
        m.submodules[f"narrow_{lane}"] = narrow_number = FromFloat(source=FP16)
        m.d.comb += [wide_number.number.eq(bits), narrow_number.number.eq(bits[: FP16.bits])]
        number = Signal(wide_number.exact.shape(), name=f"number_{lane}")
        more = C(0, FP32.fraction_bits - FP16.fraction_bits)
        with m.If(halves):
            narrow_exact = narrow_number.exact
            m.d.comb += [
                number.significand.eq(Cat(more, narrow_exact.significand)),
                *(getattr(number, name).eq(getattr(narrow_exact, name)) for name in _BESIDES_SIGNIFICAND),
            ]
        with m.Else():
            m.d.comb += number.eq(wide_number.exact)
        return number

    def _factor(self, m: Module, lane: int, column: Any, row: Any, divider: Divider) -> Value:
        """Column scale times or over row scale, in cycle 4."""
        m.submodules[f"factor_product_{lane}"] = product = FloatProduct(a=column.shape(), b=row.shape())
        m.d.comb += [product.a.eq(column), product.b.eq(row)]
        exact = Signal(product.exact.shape(), name=f"factor_exact_{lane}")
        product_register = self._register(m, 2, f"factor_product_register_{lane}", product.exact)
        quotient = divider.exact[lane]
        more = C(0, product.exact.shape().width - quotient.shape().width)
        with m.If(divider.done):
            m.d.comb += [
                exact.significand.eq(Cat(more, quotient.significand)),
                *(getattr(exact, name).eq(getattr(quotient, name)) for name in _BESIDES_SIGNIFICAND),
            ]
        with m.Else():
            m.d.comb += exact.eq(product_register)
        return self._register(m, 3, f"factor_{lane}", self._rounded(m, f"factor_rounder_{lane}", exact))

    def _scaled(self, m: Module, lane: int, factor: Value) -> Value:
        """The accumulator times the factor, in cycle 6."""
        raw = self._register(m, 1, f"accumulator_{lane}", Value.cast(self.accumulators[lane]))
        m.submodules[f"integer_{lane}"] = integer = FromInteger(width=32)
        m.d.comb += integer.integer.eq(raw)
        single = self._rounded(m, f"integer_rounder_{lane}", integer.exact)
        for cycle in (2, 3):
            single = self._register(m, cycle, f"accumulator_{cycle}_{lane}", single)
        m.submodules[f"accumulator_number_{lane}"] = a = FromFloat(source=FP32)
        m.submodules[f"factor_number_{lane}"] = b = FromFloat(source=FP32)
        m.submodules[f"product_{lane}"] = product = FloatProduct(a=a.exact.shape(), b=b.exact.shape())
        m.d.comb += [a.number.eq(single), b.number.eq(factor), product.a.eq(a.exact), product.b.eq(b.exact)]
        exact = self._register(m, 4, f"product_register_{lane}", product.exact)
        return self._register(m, 5, f"scaled_{lane}", self._rounded(m, f"product_rounder_{lane}", exact))

    def _add(self, m: Module, lane: int, scaled: Value, adds: Value) -> None:
        """What is there added to what was scaled, or nothing."""
        before = Mux(adds, self.present[lane], _NOTHING)
        m.submodules[f"sum_{lane}"] = total = FloatSum()
        m.d.comb += [total.a.eq(self._register(m, 5, f"present_{lane}", before)), total.b.eq(scaled)]
        exact = self._register(m, 6, f"sum_register_{lane}", total.exact)
        m.d.comb += self.results[lane].eq(self._rounded(m, f"sum_rounder_{lane}", exact))


_BESIDES_SIGNIFICAND = ("exponent", "sign", "nan", "infinite")
