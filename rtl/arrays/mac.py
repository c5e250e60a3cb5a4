"""The baseline: an array of multipliers, INT8 activations by low-bit integer weights, with adder trees."""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.arrays.accumulators import Accumulators, adder_tree
from rtl.arrays.codes import activations_of, check_kind, weight_width, weights_of
from rtl.configuration import ACTIVATION_BITS, Configuration
from rtl.interfaces import step_layout, sums_layout

__all__ = ["MacArray"]


class MacArray(wiring.Component):
    """M x N cells, each the dot product of K activations and K weights a cycle: K multipliers, one adder tree, one
    accumulator. Rows share weights, columns share activations.

    Latency: `LATENCY_CYCLES` from the last step accepted to its sums. Throughput: a step a cycle, whatever the weights.
    Area: M·N·K multipliers of 8 x `weight_bits` bits, M·N·K adders, of which M·N are accumulators of 32 bits.

    Parameters
    ----------
    configuration : Configuration
        Of kind "mac": M, N, K and `weight_bits`, 1 to 8, in which all weights are stored (INT8 x INT2, INT4, INT8 ...).

    Attributes
    ----------
    step : stream, in
        `rtl.interfaces.step_layout`: K activations of M rows and K codes of N columns; `odd` is looked at where a
        weight type of the configuration is odd (one bit), the marks of planes never are. `ready` is low only while
        complete sums are not taken.
    sums : stream, out
        Complete sums [M][N], int32, wrapped around.

    Raises
    ------
    UnsupportedConfiguration
        If the configuration is one of another kind of array.
    """

    LATENCY_CYCLES = Accumulators.LATENCY_CYCLES

    def __init__(self, configuration: Configuration) -> None:
        check_kind(configuration, "mac")
        self._configuration = configuration
        super().__init__(
            {
                "step": In(stream.Signature(step_layout(configuration))),
                "sums": Out(stream.Signature(sums_layout(configuration))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Multipliers and trees before the accumulators."""
        m = Module()
        unit, step = self._configuration.unit, self.step.payload
        dot = signed(ACTIVATION_BITS + weight_width(self._configuration) + (unit.k - 1).bit_length())
        m.submodules.accumulators = accumulators = Accumulators(m=unit.m, n=unit.n, dot=dot)
        wiring.connect(m, accumulators.sums, wiring.flipped(self.sums))
        m.d.comb += [
            accumulators.dots.valid.eq(self.step.valid),
            self.step.ready.eq(accumulators.dots.ready),
            accumulators.dots.payload.first.eq(step.first),
            accumulators.dots.payload.last.eq(step.last),
        ]
        weights = weights_of(m, step, self._configuration)
        for row, activations in enumerate(activations_of(step, self._configuration)):
            for column in range(unit.n):
                products = [a * w for a, w in zip(activations, weights[column], strict=True)]
                m.d.comb += accumulators.dots.payload.dots[row][column].eq(adder_tree(products))
        return m
