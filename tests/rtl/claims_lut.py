"""What is claimed of the table precompute unit and of the LUT array, for all operands and all times.

The array's part is a recurrence over bit planes, written once (`after_plane`) so that what is proved of the hardware
and what is shown of the recurrence itself cannot part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Assume, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for
from claims_inside import Inside, claim

from isa.layouts import ENTRY_BYTES
from rtl.arrays.lut import FLAGS
from rtl.configuration import Configuration
from rtl.interfaces import step_layout, sums_layout

__all__ = ["LutClaims", "TableClaims", "after_plane", "looked_up", "sum_of"]

Choose = Callable[[Any, Any, Any], Any]
"""The second if the first holds, else the third: `Mux`, or its like for numbers."""

ENTRY_BITS = 8 * ENTRY_BYTES
STAGE = data.StructLayout({"valid": 1, **dict.fromkeys(FLAGS, 1)})
TOTAL = signed(33)


def looked_up(entries: Sequence[Any], field: Any, k: int) -> tuple[Any, Any]:
    """The entry that a field of K bits stands for, and whether its negative: the highest bit is the sign, the others
    are the index."""
    return entries[field & (1 << k - 1) - 1], field >> k - 1


def after_plane(choose: Choose, product: Any, lookup: tuple[Any, Any], flags: Any) -> Any:
    """The product of a group after a plane of it; planes come highest first."""
    (entry, negative), doubled = lookup, choose(flags.first_plane, 0, 2 * product)
    return choose(negative, doubled - entry, doubled + entry)


def after_total(choose: Choose, total: Any, product: Any, entry_0: Any, flags: Any) -> Any:
    """The total of a block after a plane of one of its groups, `product` being that of the group after this plane.

    To twice the products of weights in two's complement, less the sum of the activations, belongs entry 0, which is
    the negative of that sum.
    """
    correction = choose(flags.first_plane, choose(flags.odd, 0, entry_0), 0)
    return choose(flags.first, 0, total) + choose(flags.last_plane, product, correction)


def sum_of(choose: Choose, total: Any, odd: Any) -> Any:
    """What a block comes to."""
    return choose(odd, total, total >> 1)


@dataclass(frozen=True)
class _Stages:
    """What the claims about lanes need to know of the flow of steps."""

    accepted: Value
    advance: Value
    started: Sequence[Value]
    looking: data.View
    adding: data.View
    odd: Value
    planes: Value
    most_planes: int


class TableClaims(wiring.Component):
    """Every entry is the sum of the activations with the signs that its index says.

    Shown by induction over the bits that are clear: the entry of no clear bit is the sum of all activations less the
    last, and every other is that of one bit more less twice this bit's activation. Sums of many terms, added up in two
    orders, are beyond the solver. For the same reason it is claimed in no more bits than the largest sum needs: an
    entry that equals its sum there, and is extended from there by its sign, equals its sum.

    Parameters
    ----------
    builder : wiring.Component
        A `TableBuilder`.
    k, activation_bits : int
        Its parameters.
    """

    def __init__(self, builder: wiring.Component, k: int, activation_bits: int) -> None:
        self._builder, self._k = builder, k
        self._sum_bits = bits_for(k << activation_bits - 1) + 1
        super().__init__({"activations": In(data.ArrayLayout(signed(activation_bits), k))})

    def elaborate(self, _platform: object) -> Module:
        """The builder beside the definition of each entry."""
        m = Module()
        m.submodules.builder = self._builder
        m.d.comb += self._builder.activations.eq(self.activations)
        entries, every = self._builder.entries, (1 << self._k - 1) - 1
        *others, last = (self.activations[place] for place in range(self._k))
        for index in range(every + 1):
            expected = Signal(signed(self._sum_bits), name=f"expected_{index}")
            clear = [place for place in range(self._k - 1) if not index >> place & 1]
            if clear:
                m.d.comb += expected.eq(entries[index | 1 << clear[0]] - 2 * self.activations[clear[0]])
            else:
                m.d.comb += expected.eq(sum(others, Const(0)) - last)
            claim(m, f"entry_{index}", entries[index] == expected)
        return m


class LutClaims(wiring.Component):
    """An array whose steps are free but for what is said of them in `rtl.interfaces.step_layout`, and whose sums are
    taken at any time.

    What the array holds is compared, in every cycle, with the recurrence over the steps that it has accepted: the steps
    that are still on their way are imagined to be finished.

    Parameters
    ----------
    array : wiring.Component
        A `LutArray`.
    configuration : Configuration
        Its parameter.
    """

    def __init__(self, array: wiring.Component, configuration: Configuration) -> None:
        self._array, self._configuration = array, configuration
        super().__init__(
            {
                "step": In(stream.Signature(step_layout(configuration))),
                "sums": Out(stream.Signature(sums_layout(configuration))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Claims about the flow of steps here, about the numbers lane by lane."""
        m = Module()
        inside = Inside(self._array)
        m.submodules.array = inside.fragment
        wiring.connect(m, wiring.flipped(self.step), self._array.step)
        wiring.connect(m, self._array.sums, wiring.flipped(self.sums))
        accepted, advance = Signal(), Signal()
        m.d.comb += [
            accepted.eq(self.step.valid & self.step.ready),
            advance.eq(~self.sums.valid | self.sums.ready),
        ]
        # Whether a step has come to each of the stages since the reset: registers hold anything before.
        started = [Signal(name=f"started_{stage}") for stage in range(3)]
        m.d.sync += started[0].eq(started[0] | accepted)
        with m.If(advance):
            m.d.sync += [started[1].eq(started[0]), started[2].eq(started[1])]
        planes = self._assume_order(m, accepted, started[0])
        looking, adding = (data.View(STAGE, inside.inputs(name)[0]) for name in ("looking", "adding"))
        self._claim_flow(m, accepted, advance, looking, adding)
        odd = [Signal(name=f"odd_{stage}") for stage in (2, 3)]
        with m.If(advance):
            m.d.sync += [odd[0].eq(looking.odd), odd[1].eq(odd[0])]
        claim(m, "kind_of_codes", ~self.sums.valid | (odd[1] == inside.register("odd")))
        for number, (name, stage) in enumerate((("looking", looking), ("adding", adding))):
            legal = (~stage.first | stage.first_plane) & (stage.odd | ~stage.first_plane | ~stage.last_plane)
            before, now = started[number + 1], started[number]
            claim(m, f"steps_in_order_{name}", ~stage.valid | (now & legal & (before | stage.first)))
            claim(m, f"started_{name}", now == (stage.valid | before))
        claim(m, "kind_of_codes_adding", ~adding.valid | (odd[0] == adding.odd))
        stages = _Stages(accepted, advance, started, looking, adding, odd[1], planes, self._configuration.weight_bits)
        for row in range(self._configuration.unit.m):
            self._claim_row(m, inside, row, stages)
        return m

    def _assume_order(self, m: Module, accepted: Value, started: Value) -> Signal:
        """What the array may rely on; the planes of the group that have been accepted."""
        step, most = self.step.payload, self._configuration.weight_bits
        between_blocks, between_groups = Signal(init=1), Signal(init=1)
        odd, planes, now = Signal(), Signal(range(most + 1)), Signal(range(most + 2))
        m.d.comb += now.eq(Mux(step.first_plane, 0, planes) + 1)
        with m.If(accepted):
            m.d.sync += [
                between_blocks.eq(step.last),
                between_groups.eq(step.last_plane),
                odd.eq(step.odd),
                planes.eq(now),
            ]
        rules = [
            step.first == between_blocks,
            step.first_plane == between_groups,
            ~step.last | step.last_plane,
            (now < most) | step.last_plane,
            between_blocks | (step.odd == odd),
            step.odd | ~step.first_plane | ~step.last_plane,
        ]
        m.d.comb += [Assume(~self.step.valid | rule) for rule in rules]
        claim(m, "planes_in_range", (planes <= most) & ((planes < most) | between_groups))
        claim(m, "blocks_of_whole_groups", (~between_blocks | between_groups) & (started | between_blocks))
        return planes

    def _claim_flow(self, m: Module, accepted: Value, advance: Value, looking: data.View, adding: data.View) -> None:
        """Nothing is lost or doubled, and sums wait until they are taken."""
        claim(m, "ready_unless_sums_wait", self.step.ready == advance)
        blocks, waiting, before = Signal(range(4)), Signal(), Signal.like(Value.cast(self.sums.payload))
        m.d.sync += [
            blocks.eq(blocks + (accepted & self.step.payload.last) - (self.sums.valid & self.sums.ready)),
            waiting.eq(self.sums.valid & ~self.sums.ready),
            before.eq(self.sums.payload),
        ]
        claim(
            m,
            "as_many_blocks_given_as_taken",
            blocks == (looking.valid & looking.last) + (adding.valid & adding.last) + self.sums.valid,
        )
        claim(m, "sums_wait", ~waiting | (self.sums.valid & (self.sums.payload.as_value() == before)))
        # A block's last step is followed through the stages by nothing but the handshakes.
        last = [Signal(name=f"last_{stage}") for stage in (1, 2, 3)]
        with m.If(advance):
            m.d.sync += [last[0].eq(accepted & self.step.payload.last), last[1].eq(last[0]), last[2].eq(last[1])]
        claim(m, "latency", self.sums.valid == last[2])
        claim(m, "latency_adding", (adding.valid & adding.last) == last[1])
        claim(m, "latency_looking", (looking.valid & looking.last) == last[0])

    def _claim_row(self, m: Module, inside: Inside, row: int, stages: _Stages) -> None:
        """The table of a row, and its lanes."""
        step, k = self.step.payload, self._configuration.unit.k
        count = self._configuration.table_entries
        given = data.View(data.ArrayLayout(signed(ENTRY_BITS), count), step.inputs[row])
        kept = [Signal(signed(ENTRY_BITS), reset_less=True, name=f"entry_{row}_{index}") for index in range(count)]
        words = inside.words(f"row_{row}.table")
        with m.If(stages.accepted & step.first_plane):
            m.d.sync += [entry.eq(given[index]) for index, entry in enumerate(kept)]
        for index, (word, entry) in enumerate(zip(words, kept, strict=True)):
            claim(m, f"table_{row}_{index}", word == entry)
        entries = Array(Mux(step.first_plane, given[index], entry) for index, entry in enumerate(kept))
        looking, adding, started = stages.looking, stages.adding, stages.started
        correction = inside.register(f"row_{row}.correction")
        claim(m, f"no_correction_{row}", ~(adding.valid & adding.first_plane & adding.odd) | (correction == 0))
        weights = inside.register("weights")
        for column in range(self._configuration.unit.n):
            lookup = looked_up(entries, step.weights.word_select(column, k), k)
            name = f"{row}_{column}"
            # After the steps that have been accepted, and after those of them that have gone on by a stage, or by two.
            shape = signed(ENTRY_BITS + self._configuration.weight_bits)
            products = [Signal(shape, reset_less=True, name=f"product_{name}_{stage}") for stage in range(2)]
            totals = [Signal(TOTAL, reset_less=True, name=f"total_{name}_{stage}") for stage in range(3)]
            product = Signal(shape)
            m.d.comb += product.eq(after_plane(Mux, products[0], lookup, step))
            found = Signal(signed(ENTRY_BITS), reset_less=True, name=f"found_{name}")
            negative = Signal(reset_less=True, name=f"negative_{name}")
            with m.If(stages.accepted):
                m.d.sync += [found.eq(lookup[0]), negative.eq(lookup[1])]
                m.d.sync += products[0].eq(product)
                m.d.sync += totals[0].eq(after_total(Mux, totals[0], product, entries[0], step))
            with m.If(stages.advance):
                m.d.sync += [products[1].eq(products[0]), totals[1].eq(totals[0]), totals[2].eq(totals[1])]
            claim(m, f"product_{name}", ~started[1] | (inside.register(f"row_{row}.product_{column}") == products[1]))
            claim(m, f"total_{name}", ~started[2] | (inside.register(f"row_{row}.sum_{column}") == totals[2]))
            # The steps between: what they look up, and what they add.
            coming = looked_up(Array(words), weights.word_select(column, k), k)
            looks_up = (coming[0] == found) & (coming[1] == negative)
            claim(m, f"lookup_{name}", ~looking.valid | looks_up)
            looked = after_plane(Mux, products[1], (found, negative), looking)
            to_add = after_total(Mux, totals[1], products[0], words[0], looking)
            added = after_total(Mux, totals[2], products[1], correction, adding)
            for what, ever, stage, old, new, after in (
                ("looked_up", started[0], looking, products[1], products[0], looked),
                ("to_be_added", started[0], looking, totals[1], totals[0], to_add),
                ("added", started[1], adding, totals[2], totals[1], added),
            ):
                result = after[: len(new)].as_signed()
                claim(m, f"{what}_{name}", ~ever | (new == Mux(stage.valid, result, old)))
            expected = sum_of(Mux, totals[2], stages.odd)[:32].as_signed()
            claim(m, f"sum_{name}", ~self.sums.valid | (self.sums.payload[row][column] == expected))
