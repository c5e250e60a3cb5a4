"""The term-serial array in the manner of BitMoD: weights come as Booth terms, one a lane and cycle."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.arrays.accumulators import Accumulators, adder_tree
from rtl.arrays.codes import activations_of, check_kind, weight_width, weights_of
from rtl.arrays.terms import DenseTerms, NonZeroTerms, TermFeeder, significances
from rtl.configuration import ACTIVATION_BITS, Configuration
from rtl.interfaces import step_layout, sums_layout

__all__ = ["BitSerialArray"]


class BitSerialArray(wiring.Component):
    """M x N cells of K lanes. A lane shifts its activation by the term of its weight and gives it a sign; an adder tree
    sums up the lanes, an accumulator the terms. Rows share the terms, columns the activations.

    Follows BitMoD (HPCA 2025, section IV-B) for integer activations: their exponents, and the alignment that these
    need, fall away. Its dequantization of groups happens behind the array: a program multiplies group by group (an
    `lmma` each), and the scale engine scales and adds up the sums.

    Dense, a step takes as many cycles as the widest code has digits, ⌈weight_bits / 2⌉, and what the tree gives is
    shifted once by the significance that all lanes have in common. Where zero terms are skipped, every lane takes its
    next non-zero term (Bit-Pragmatic, MICRO 2017) and shifts by itself; the step ends when the last of its N x K lanes
    is done, after at least one cycle.

    Latency: `LATENCY_CYCLES` from the last step accepted to its sums. Throughput: a step in the cycles said above, with
    no cycle between steps.

    Parameters
    ----------
    configuration : Configuration
        Of kind "bit-serial": M, N, K, `weight_bits` (1 to 8) and `skips_zero_terms`.

    Attributes
    ----------
    step : stream, in
        `rtl.interfaces.step_layout`, read as the multiply-accumulate array does. A step is worked on while it is
        offered, and accepted in the cycle of its last terms; besides, `ready` is low while complete sums are not taken.
    sums : stream, out
        Complete sums [M][N], int32, wrapped around.

    Raises
    ------
    UnsupportedConfiguration
        If the configuration is one of another kind of array.
    """

    LATENCY_CYCLES = Accumulators.LATENCY_CYCLES

    def __init__(self, configuration: Configuration) -> None:
        check_kind(configuration, "bit-serial")
        self._configuration = configuration
        super().__init__(
            {
                "step": In(stream.Signature(step_layout(configuration))),
                "sums": Out(stream.Signature(sums_layout(configuration))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Terms, lanes and trees before the accumulators."""
        m = Module()
        configuration = self._configuration
        unit, step = configuration.unit, self.step.payload
        width, bits = weight_width(configuration), configuration.weight_bits
        feeder = NonZeroTerms if configuration.skips_zero_terms else DenseTerms
        m.submodules.terms = terms = feeder(lanes=unit.n * unit.k, width=width, bits=bits)
        # Two bits more than the product of activation and highest power: the sign, and the tree's growth.
        dot = signed(ACTIVATION_BITS + significances(bits)[-1] + 2 + (unit.k - 1).bit_length())
        m.submodules.accumulators = accumulators = Accumulators(m=unit.m, n=unit.n, dot=dot)
        wiring.connect(m, accumulators.sums, wiring.flipped(self.sums))
        m.d.comb += [
            terms.enable.eq(self.step.valid & accumulators.dots.ready),
            self.step.ready.eq(terms.last & accumulators.dots.ready),
            accumulators.dots.valid.eq(self.step.valid),
            accumulators.dots.payload.first.eq(step.first & terms.first),
            accumulators.dots.payload.last.eq(step.last & terms.last),
        ]
        weights = weights_of(m, step, configuration)
        m.d.comb += [
            terms.codes[column * unit.k + lane].eq(weights[column][lane])
            for column in range(unit.n)
            for lane in range(unit.k)
        ]
        for row, activations in enumerate(activations_of(step, configuration)):
            for column in range(unit.n):
                products = [
                    _product(m, f"{row}_{column}_{lane}", activation, terms.terms[column * unit.k + lane], terms)
                    for lane, activation in enumerate(activations)
                ]
                m.d.comb += accumulators.dots.payload.dots[row][column].eq(terms.scaled(adder_tree(products)))
        return m


def _product(m: Module, name: str, activation: Value, term: data.View, terms: TermFeeder) -> Signal:
    """Activation times term."""
    shifted = Signal(signed(ACTIVATION_BITS + terms.largest_shift), name=f"shifted_{name}")
    product = Signal(signed(len(shifted) + 1), name=f"product_{name}")
    m.d.comb += [
        shifted.eq(activation << term.shift),
        product.eq(Mux(term.present, Mux(term.negative, -shifted, shifted), 0)),
    ]
    return product
