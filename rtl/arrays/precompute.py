"""The table precompute unit: the half table of K activations in one go. Where tables lie, and who asks for them, is the
subject of `rtl.engines.table`; how they are looked up, that of `rtl.arrays.lut`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.layouts import ENTRY_BYTES, LARGEST_TABLE_GROUP
from rtl.configuration import ACTIVATION_BITS

__all__ = ["TableBuilder", "adder_count"]


def adder_count(k: int) -> int:
    """Adders (subtractors included) of a `TableBuilder`: 2^(K-1) + K - 2, and of one activation one negation.

    Notes
    -----
    There is no way with fewer, shifts and signs being free. All entries differ, in more than a sign or a shift, so each
    takes an adder of its own. Of those that are made the first has all K activations in it, which takes K - 1 adders,
    and none of the K - 2 before the last of these makes an entry.

    Examples
    --------
    Entry by entry it would be 2^(K-1) · (K - 1), and all 2^K sums of a full table are twice that.

    >>> [(k, adder_count(k), (k - 1) << k - 1, (k - 1) << k) for k in (2, 4, 8)]
    [(2, 2, 2, 4), (4, 10, 24, 48), (8, 134, 896, 1792)]
    """
    return 1 if k == 1 else (1 << k - 1) + k - 2


class TableBuilder(wiring.Component):
    """The half table of K activations (`isa.layouts.tables`): entry i is their sum, activation j positive where bit j
    of i is set and negative elsewhere, the last always negative.

    The entry with all bits set is added up in a tree; every other is one that has a bit more, less twice that bit's
    activation. Area: `adder_count(k)` adders.

    Latency: none (combinational; ⌈log2 K⌉ + K - 1 adders deep). Throughput: a table a cycle.

    Parameters
    ----------
    k : int
        Activations of a table, 1 to `LARGEST_TABLE_GROUP`.
    activation_bits : int
        Width of an activation, 1 to 8 bits: entries have room for no more.

    Attributes
    ----------
    activations : Signal, in
        [K], two's complement.
    entries : Signal, out
        [2^(K-1)], int16, sign-extended from the bits that the sums need.

    Raises
    ------
    ValueError
        If a parameter is outside of its range.
    """

    def __init__(self, *, k: int, activation_bits: int = ACTIVATION_BITS) -> None:
        if not 1 <= k <= LARGEST_TABLE_GROUP:
            raise ValueError(f"k is {k}, must be 1 to {LARGEST_TABLE_GROUP}")
        if not 1 <= activation_bits <= ACTIVATION_BITS:
            raise ValueError(f"activation_bits is {activation_bits}, must be 1 to {ACTIVATION_BITS}")
        self._k, self._activation_bits = k, activation_bits
        super().__init__(
            {
                "activations": In(data.ArrayLayout(signed(activation_bits), k)),
                "entries": Out(data.ArrayLayout(signed(8 * ENTRY_BYTES), 1 << k - 1)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """The first entry, then one adder for each of the others."""
        m = Module()
        largest = self._k << self._activation_bits - 1
        inputs = [self.activations[index] for index in range(self._k)]
        every = (1 << self._k - 1) - 1
        entries = [Signal(range(-largest, largest + 1), name=f"entry_{index}") for index in range(every + 1)]
        m.d.comb += entries[every].eq(_last_negative(inputs))
        for index in reversed(range(every)):
            cleared = _lowest_clear_bit(index)
            twice = Cat(Const(0, 1), inputs[cleared]).as_signed()
            m.d.comb += entries[index].eq(entries[index | 1 << cleared] - twice)
        m.d.comb += [self.entries[index].eq(entry) for index, entry in enumerate(entries)]
        return m


def _last_negative(inputs: list[Value]) -> Value:
    """The sum of all but the last, less the last."""
    *others, last = inputs
    if not others:
        return -last
    values = [others[-1] - last, *others[:-1]]
    while len(values) > 1:
        pairs = [left + right for left, right in zip(values[::2], values[1::2], strict=False)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0]


def _lowest_clear_bit(index: int) -> int:
    return (~index & index + 1).bit_length() - 1
