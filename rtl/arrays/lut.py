"""The LUT array: M half tables, N lookups in each a cycle, weights one bit plane a cycle (LUT Tensor Core, ISCA 2025,
arXiv 2408.06003, section 3). Tables are made elsewhere (`rtl.arrays.precompute`), and steps come from
`rtl.engines.array`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.layouts import ENTRY_BYTES
from rtl.configuration import Configuration, UnsupportedConfiguration
from rtl.interfaces import step_layout, sums_layout

__all__ = ["LutArray"]

ENTRY = signed(8 * ENTRY_BYTES)

# Twice the sums: what is left after the halving wraps around in 32 bits as the accumulators do.
SUM = signed(33)

FLAGS = ("first", "last", "first_plane", "last_plane", "odd")


class LutArray(wiring.Component):
    """M x N sums of table lookups: those of `isa.layouts.table_sums`, int32.

        step ─┬─ weights ──► [register] ── field: entry, sign ─┐
              └─ inputs ───► [ table ] ── N read ports ────► ± ─► 2p + lookup ► [p] ─► + ► [sum] ──► sums
                                  └── entry 0 ──────────────► [correction] ────────────┘

    Planes come highest first: p doubles and grows by a lookup, and at the last plane the sum grows by p, so that there
    is no shifter. Of weights in two's complement the sum is half that of the odd numbers 2w + 1 and of entry 0, which
    is the negative of what the activations add up to (`table_sums`, Notes); entry 0 is added with the first plane,
    when the sum's adder is free. Such weights have at least two planes.

    Latency: `LATENCY_CYCLES` from the last step accepted to its sums. Throughput: a step a cycle.

    Area: M memories of 2^(K-1) entries with N read ports; per lane an adder of 16 + b bits and one of 33.

    Parameters
    ----------
    configuration : Configuration
        Of a LUT array: M, N, K, and the most bit planes b (`weight_bits`).

    Attributes
    ----------
    step : stream, in
        A bit plane. `inputs`, the tables of M rows, is looked at with the first plane only; `first` is set in the first
        step of a block of sums and `last` in the last. `ready` is low only while complete sums are not taken (and
        depends on `sums.ready` of the same cycle).
    sums : stream, out
        Complete sums [M][N], from registers.

    Raises
    ------
    UnsupportedConfiguration
        If it is no LUT array.
    """

    LATENCY_CYCLES = 3

    def __init__(self, configuration: Configuration) -> None:
        if not configuration.looks_up_tables:
            raise UnsupportedConfiguration("unit.kind", configuration.unit.kind, "lut")
        self._configuration = configuration
        super().__init__(
            {
                "step": In(stream.Signature(step_layout(configuration))),
                "sums": Out(stream.Signature(sums_layout(configuration))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Three stages that stand still together, the last two of them in the rows."""
        m = Module()
        unit = self._configuration.unit
        step, sums = self.step, self.sums
        advance, odd = Signal(), Signal()
        looking, adding = Signal(_STAGE), Signal(_STAGE)
        weights = Signal(self._configuration.plane_bits, reset_less=True)
        m.d.comb += [advance.eq(~sums.valid | sums.ready), step.ready.eq(advance)]
        with m.If(advance):
            m.d.sync += [
                looking.valid.eq(step.valid),
                *(looking[flag].eq(step.payload[flag]) for flag in FLAGS),
                adding.eq(looking),
                sums.valid.eq(adding.valid & adding.last),
                odd.eq(adding.odd),
            ]
        with m.If(advance & step.valid):
            m.d.sync += weights.eq(step.payload.weights)
        for index in range(unit.m):
            m.submodules[f"row_{index}"] = row = _Row(self._configuration)
            m.d.comb += [
                row.load.eq(advance & step.valid & step.payload.first_plane),
                row.table.eq(step.payload.inputs[index]),
                row.advance.eq(advance),
                row.looking.eq(looking),
                row.adding.eq(adding),
                row.weights.eq(weights),
                row.odd.eq(odd),
            ]
            m.d.comb += [sums.payload[index][column].eq(row.sums[column]) for column in range(unit.n)]
        return m


_STAGE = data.StructLayout({"valid": 1, **dict.fromkeys(FLAGS, 1)})


class _Row(wiring.Component):
    """A table and its N lanes."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        super().__init__(
            {
                "load": In(1),
                "table": In(data.ArrayLayout(ENTRY, configuration.table_entries)),
                "advance": In(1),
                "looking": In(_STAGE),
                "adding": In(_STAGE),
                "weights": In(configuration.plane_bits),
                "odd": In(1),
                "sums": Out(data.ArrayLayout(signed(32), configuration.unit.n)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """One memory with a combinational read port a lane, which simulates ten times as fast as multiplexers; its
        lookups of a cycle come after its writes of the cycle before."""
        m = Module()
        unit, entries = self._configuration.unit, self._configuration.table_entries
        # A memory of one entry would have an address of no bits, which Verilog cannot write down.
        m.submodules.table = table = memory.Memory(shape=ENTRY, depth=max(2, entries), init=[])
        for index in range(entries):
            written = table.write_port()
            m.d.comb += [written.addr.eq(index), written.data.eq(self.table[index]), written.en.eq(self.load)]
        zero = table.read_port(domain="comb")
        correction = Signal(ENTRY, reset_less=True)
        looks = self.advance & self.looking.valid
        with m.If(looks & self.looking.first_plane):
            m.d.sync += correction.eq(Mux(self.looking.odd, 0, zero.data))
        wide = signed(8 * ENTRY_BYTES + self._configuration.weight_bits)
        adds = self.advance & self.adding.valid & (self.adding.first_plane | self.adding.last_plane)
        for column in range(unit.n):
            field = self.weights.word_select(column, unit.k)
            entry = table.read_port(domain="comb")
            product = Signal(wide, reset_less=True, name=f"product_{column}")
            total = Signal(SUM, reset_less=True, name=f"sum_{column}")
            negative = field[-1]
            m.d.comb += entry.addr.eq(field[:-1])
            with m.If(looks):
                # A negative lookup is its inverse and 1 more, which goes where the doubled p has a 0.
                lookup = entry.data ^ negative.replicate(ENTRY.width).as_signed()
                before = Mux(self.looking.first_plane, 0, product)
                m.d.sync += product.eq(Cat(negative, before).as_signed() + lookup)
            with m.If(adds):
                more = Mux(self.adding.last_plane, product, correction)
                m.d.sync += total.eq(Mux(self.adding.first, 0, total) + more)
            m.d.comb += self.sums[column].eq(Mux(self.odd, total[:32], total[1:]))
        return m
