"""What arrays share behind their lanes: a balanced tree of adders, and the accumulators that sum up one step after the
other. What a lane multiplies, and how, is the subject of the arrays themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.configuration import ACCUMULATOR_BYTES

__all__ = ["Accumulators", "adder_tree"]


def adder_tree(values: Sequence[Value]) -> Value:
    """The sum of signed values by a tree of two-input adders, a bit wider every level: ⌈log2 count⌉ levels.

    Raises
    ------
    ValueError
        If there is no value.
    """
    if not values:
        raise ValueError("an adder tree needs at least one value")
    while len(values) > 1:
        pairs = [left + right for left, right in zip(values[::2], values[1::2], strict=False)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0]


class Accumulators(wiring.Component):
    """M x N accumulators of 32 bits that wrap around, behind a register for what is added next.

    Latency: `LATENCY_CYCLES` from the last dots accepted to their sums. Throughput: dots every cycle; the sums of one
    block may be followed by the first dots of the next without a gap.

    Parameters
    ----------
    m, n : int
        Rows and columns, at least 1.
    dot : Shape
        Of what is added: signed, 2 to 32 bits.

    Attributes
    ----------
    dots : stream, in
        `first`, `last`: of the sums of M x N: they begin anew, they are complete. `dots` [M][N]: what is added.
        `ready` is low only while complete sums are not taken (and depends on `sums.ready` of the same cycle).
    sums : stream, out
        Complete sums [M][N], int32, from registers.

    Raises
    ------
    ValueError
        If a parameter is outside of its range.
    """

    LATENCY_CYCLES = 2

    def __init__(self, *, m: int, n: int, dot: Shape) -> None:
        for name, value in (("m", m), ("n", n)):
            if value < 1:
                raise ValueError(f"{name} is {value}, must be at least 1")
        bits = 8 * ACCUMULATOR_BYTES
        if not (dot.signed and 2 <= dot.width <= bits):
            raise ValueError(f"dot is {dot!r}, must be signed, of 2 to {bits} bits")
        self._m, self._n, self._dot = m, n, dot
        added = data.StructLayout({"first": 1, "last": 1, "dots": data.ArrayLayout(data.ArrayLayout(dot, n), m)})
        sums = data.ArrayLayout(data.ArrayLayout(signed(bits), n), m)
        super().__init__({"dots": In(stream.Signature(added)), "sums": Out(stream.Signature(sums))})

    def elaborate(self, _platform: object) -> Module:
        """Both stages; they stand still together."""
        m = Module()
        advance = Signal()
        taken = Signal()
        adding = Signal()
        first = Signal(reset_less=True)
        last = Signal(reset_less=True)
        m.d.comb += [
            advance.eq(~self.sums.valid | self.sums.ready),
            self.dots.ready.eq(advance),
            taken.eq(advance & self.dots.valid),
        ]
        added = Signal()
        m.d.comb += added.eq(advance & adding)
        with m.If(advance):
            m.d.sync += [
                adding.eq(self.dots.valid),
                first.eq(self.dots.payload.first),
                last.eq(self.dots.payload.last),
                self.sums.valid.eq(adding & last),
            ]
        # Registers of their own rather than parts of one wide register, which simulates slowly.
        for row in range(self._m):
            for column in range(self._n):
                dot = Signal(self._dot, name=f"dot_{row}_{column}", reset_less=True)
                total = Signal(signed(8 * ACCUMULATOR_BYTES), name=f"sum_{row}_{column}", reset_less=True)
                with m.If(taken):
                    m.d.sync += dot.eq(self.dots.payload.dots[row][column])
                with m.If(added):
                    m.d.sync += total.eq(Mux(first, 0, total) + dot)
                m.d.comb += self.sums.payload[row][column].eq(total)
        return m
