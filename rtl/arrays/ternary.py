"""The ternary lookup array: mu weights of -1, 0, 1 in one base-3 number choose one of (3^mu - 1)/2 sums, and its sign.

It stands by itself: no instruction feeds it. Numbers are those of `isa.packings.trits`: digits weight + 1, the first
weight the most significant; so are the five bits of three weights.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Shape, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.arrays.accumulators import Accumulators
from rtl.configuration import ACCUMULATOR_BYTES, ACTIVATION_BITS

__all__ = ["TernaryArray", "TernaryTable", "adder_count", "entry_count", "number_bits", "ternary_step_layout"]

LARGEST_MU = 5


def entry_count(mu: int) -> int:
    """Entries of a table: the sums that mu ternary weights form, but for zero and for what differs by its sign."""
    combinations: int = 3**mu
    return combinations // 2


def number_bits(mu: int) -> int:
    """Bits of mu ternary weights in base 3: ⌈log2 3^mu⌉."""
    combinations: int = 3**mu
    return (combinations - 1).bit_length()


def adder_count(mu: int) -> int:
    """Adders of `TernaryTable`: one for each entry that is no activation, 1, 10, 36 and 116 for mu of 2 to 5.

    None can be saved, because no two entries are equal. Entries that are summed up each by itself take mu·3^(mu-1) less
    the number of entries: 2, 14, 68 and 284 adders.
    """
    return entry_count(mu) - mu


def ternary_step_layout(*, m: int, n: int, mu: int) -> data.StructLayout:
    """What the array takes at a time.

    `first`, `last`: of the sums of M x N: they begin anew, they are complete. `inputs` [M][mu]: activations, int8.
    `numbers` [N]: mu weights of a column in base 3.
    """
    activations = data.ArrayLayout(signed(ACTIVATION_BITS), mu)
    return data.StructLayout(
        {
            "first": 1,
            "last": 1,
            "inputs": data.ArrayLayout(activations, m),
            "numbers": data.ArrayLayout(number_bits(mu), n),
        }
    )


class TernaryTable(wiring.Component):
    """The table of mu activations: every sum of them with signs -1, 0, 1 whose first sign that is not 0 is positive.

    Entry e of 1 to (3^mu - 1)/2 is the sum with the digits of e in balanced base 3. Without its leading digit e is
    another entry, or the negative of one, or nothing: so each entry takes one adder, or is an activation.

    Latency: none, mu - 1 adders behind each other. Area: `adder_count(mu)` adders.

    Parameters
    ----------
    mu : int from 1 to 5

    Attributes
    ----------
    inputs : array, in
        Activations, the first with the most significant digit.
    entries : array, out
        Entries from 1 on, in as many bits as their negatives need as well.

    Raises
    ------
    ValueError
        If mu is out of range.
    """

    def __init__(self, *, mu: int) -> None:
        _check_mu(mu)
        self._mu = mu
        inputs = data.ArrayLayout(signed(ACTIVATION_BITS), mu)
        super().__init__({"inputs": In(inputs), "entries": Out(data.ArrayLayout(_entry_shape(mu), entry_count(mu)))})

    def elaborate(self, _platform: object) -> Module:
        """An adder an entry."""
        m = Module()
        entries: list[Signal] = []
        for place, activation in enumerate(reversed(list(self.inputs))):
            others = entry_count(place)
            # 3^place less the largest of the entries made so far, up to 3^place plus that.
            sums = [activation - entry for entry in reversed(entries)]
            sums += [activation, *(activation + entry for entry in entries)]
            for index, value in enumerate(sums, start=others + 1):
                entry = Signal(_entry_shape(self._mu), name=f"entry_{index}")
                m.d.comb += [entry.eq(value), self.entries[index - 1].eq(entry)]
                entries.append(entry)
        return m


class TernaryArray(wiring.Component):
    """M tables of mu activations, each looked up by N base-3 numbers a cycle; M x N accumulators.

    A number less (3^mu - 1)/2 is the entry and its sign; numbers from 3^mu on, which no weights make, add 0. Geens et
    al. (ISPASS 2026, arXiv 2604.25183, section III-B) describe tables of this kind.

    Latency: `LATENCY_CYCLES` from the last step accepted to its sums. Throughput: a step a cycle. Area: M times
    `adder_count(mu)` adders and (3^mu - 1)/2 entries, N decoders of numbers, M·N multiplexers of as many entries,
    sign flips, and accumulators of 32 bits.

    Parameters
    ----------
    m, n : int
        Rows and columns, at least 1.
    mu : int from 1 to 5
        Weights of a number.

    Attributes
    ----------
    step : stream, in
        `ternary_step_layout`. `ready` is low only while complete sums are not taken.
    sums : stream, out
        Complete sums [M][N], int32, wrapped around.

    Raises
    ------
    ValueError
        If a parameter is outside of its range.
    """

    LATENCY_CYCLES = Accumulators.LATENCY_CYCLES + 1

    def __init__(self, *, m: int, n: int, mu: int) -> None:
        _check_mu(mu)
        self._m, self._n, self._mu = m, n, mu
        self._accumulators = Accumulators(m=m, n=n, dot=_entry_shape(mu))
        step = ternary_step_layout(m=m, n=n, mu=mu)
        sums = data.ArrayLayout(data.ArrayLayout(signed(8 * ACCUMULATOR_BYTES), n), m)
        super().__init__({"step": In(stream.Signature(step)), "sums": Out(stream.Signature(sums))})

    def elaborate(self, _platform: object) -> Module:
        """Tables and numbers are registered in one cycle and looked up in the next."""
        m = Module()
        m.submodules.accumulators = accumulators = self._accumulators
        wiring.connect(m, accumulators.sums, wiring.flipped(self.sums))
        dots, step = accumulators.dots, self.step.payload
        advance = dots.ready
        m.d.comb += self.step.ready.eq(advance)
        first = Signal(reset_less=True)
        last = Signal(reset_less=True)
        m.d.comb += [dots.payload.first.eq(first), dots.payload.last.eq(last)]
        with m.If(advance):
            m.d.sync += [dots.valid.eq(self.step.valid), first.eq(step.first), last.eq(step.last)]
        enable = Signal()
        m.d.comb += enable.eq(advance & self.step.valid)
        keys = [self._decode(m, column, enable) for column in range(self._n)]
        for row in range(self._m):
            entries = self._table(m, row, enable)
            for column, (index, negative) in enumerate(keys):
                read = entries.read_port(domain="comb")
                m.d.comb += [
                    read.addr.eq(index),
                    dots.payload.dots[row][column].eq(Mux(negative, -read.data, read.data)),
                ]
        return m

    def _table(self, m: Module, row: int, enable: Signal) -> memory.Memory:
        """The entries of a row from the cycle after `enable` on; entry 0 is 0 for ever."""
        m.submodules[f"table_{row}"] = table = TernaryTable(mu=self._mu)
        count = entry_count(self._mu)
        m.submodules[f"entries_{row}"] = entries = memory.Memory(shape=_entry_shape(self._mu), depth=1 + count, init=[])
        m.d.comb += table.inputs.eq(self.step.payload.inputs[row])
        for index, entry in enumerate(table.entries, start=1):
            write = entries.write_port()
            m.d.comb += [write.addr.eq(index), write.data.eq(entry), write.en.eq(enable)]
        return entries

    def _decode(self, m: Module, column: int, enable: Signal) -> tuple[Signal, Signal]:
        """Entry and sign that a column looks up, in the cycle after `enable`."""
        middle = entry_count(self._mu)
        number = Signal(number_bits(self._mu), name=f"number_{column}", reset_less=True)
        index = Signal(range(1 + middle), name=f"index_{column}")
        negative = Signal(name=f"negative_{column}")
        with m.If(enable):
            m.d.sync += number.eq(self.step.payload.numbers[column])
        m.d.comb += negative.eq(number < middle)
        with m.If(negative):
            m.d.comb += index.eq(middle - number)
        with m.Elif(number <= 2 * middle):
            m.d.comb += index.eq(number - middle)
        return index, negative


def _check_mu(mu: int) -> None:
    if not 1 <= mu <= LARGEST_MU:
        raise ValueError(f"mu is {mu}, must be 1 to {LARGEST_MU}")


def _entry_shape(mu: int) -> Shape:
    """Of the sums of mu activations and of their negatives."""
    return signed((mu << ACTIVATION_BITS - 1).bit_length() + 1)
