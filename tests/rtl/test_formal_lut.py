"""Table lookup computes the integer product, for all weights, all activations and all times, in three lemmas:

1. `TableBuilder`: every entry is the sum of the activations with the signs of its index, for all activations.
2. `LutArray`: whatever the steps, the back-pressure and the resets, the sums are those of the recurrence `after_plane`,
   `after_total`, `sum_of` of `claims_lut` over the steps accepted, by induction over one cycle. On the way: the table
   holds what came with the first plane, a lookup returns the entry of its index and its sign, a step grows the product
   and the total as the recurrence says.
3. The recurrence itself, over the bit planes of any weights and the entries of 1., comes to the product. It is linear
   in the entries, and so in the activations: the coefficient of every activation has to be its weight, which is checked
   for all of them. That lookups treat weights one by one is seen from all patterns of a plane (binary weights).

Totals are kept in 33 bits, twice the sums, so that all of this holds in the 32 bits in which accumulators wrap around.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from array_units import small_configuration
from claims_inside import planted
from claims_lut import LutClaims, TableClaims, after_plane, after_total, looked_up, sum_of
from formal import NotInductiveError, RefutedError
from induction import prove_each, search
from numpy.typing import NDArray

from isa.instructions.types import WEIGHT_TYPES, WeightType
from isa.layouts import pack_weights, tables
from rtl.arrays import lut, precompute
from rtl.arrays.lut import LutArray
from rtl.arrays.precompute import TableBuilder
from rtl.configuration import Configuration

K = 4


def _configuration(m: int, weight_bits: int) -> Configuration:
    return small_configuration(m=m, k=K, weight_bits=weight_bits).with_unit(n=2)


@pytest.mark.parametrize("k", [1, 4, 6])
def test_every_entry_of_a_table_is_its_signed_sum_for_all_activations(k: int) -> None:
    prove_each(TableClaims(TableBuilder(k=k), k, 8))


@pytest.mark.parametrize(
    ("before", "after"), [("index | 1 << cleared] - twice", "index | 1 << cleared] + twice"), ("Const(0, 1), ", "")]
)
def test_a_builder_with_a_wrong_adder_is_refuted(before: str, after: str, tmp_path: Path) -> None:
    builder = planted(precompute, before, after, tmp_path).TableBuilder(k=K)
    with pytest.raises(RefutedError, match="entry_0"):
        search(TableClaims(builder, K, 8), "entry_0", depth=0)


@pytest.mark.parametrize(("m", "weight_bits"), [(1, 8), (2, 2)])
def test_array_follows_the_recurrence_whatever_comes_and_whenever(m: int, weight_bits: int) -> None:
    configuration = _configuration(m, weight_bits)
    claims = prove_each(LutClaims(LutArray(configuration), configuration))
    assert {f"{what}_{m - 1}_1" for what in ("table", "lookup", "product", "total", "sum")} <= set(claims)


PLANTED = {
    "shift of the wrong bit": ("self.looking.first_plane, 0, product)", "self.looking.first_plane, 0, product >> 1)"),
    "product of the group before": ("Mux(self.looking.first_plane, 0, product)", "product"),
    "sign without its 1": ("Cat(negative, before)", "Cat(0, before)"),
    "no sign": ("entry.data ^ negative.replicate(ENTRY.width).as_signed()", "entry.data"),
    "entry of another index": ("entry.addr.eq(field[:-1])", "entry.addr.eq(field[1:])"),
    "product too narrow": ("8 * ENTRY_BYTES + self._configuration.weight_bits", "8 * ENTRY_BYTES"),
    "looks while it stands still": ("looks = self.advance & self", "looks = self"),
    "table overwritten early": ("advance & step.valid & step.payload.first_plane", "step.payload.first_plane"),
    "no correction": ("Mux(self.looking.odd, 0, zero.data)", "0"),
    "correction of odd codes": ("Mux(self.looking.odd, 0, zero.data)", "zero.data"),
    "sum of the block before": ("Mux(self.adding.first, 0, total)", "total"),
    "no halving": ("Mux(self.odd, total[:32], total[1:])", "total[:32]"),
    "kind of codes too early": ("odd.eq(adding.odd)", "odd.eq(looking.odd)"),
    "adds while sums wait": ("adds = self.advance & self", "adds = self"),
    "sums overwritten": ("advance.eq(~sums.valid | sums.ready)", "advance.eq(1)"),
    "sums of nothing": ("adding.valid & adding.last)", "adding.last)"),
}
FOUND_BY = dict.fromkeys(PLANTED, "product_0_0") | {
    "table overwritten early": "table_0_0",
    "no correction": "total_0_0",
    "correction of odd codes": "total_0_0",
    "sum of the block before": "total_0_0",
    "no halving": "sum_0_0",
    "kind of codes too early": "sum_0_0",
    "adds while sums wait": "sums_wait",
    "sums overwritten": "sums_wait",
    "sums of nothing": "latency",
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_of_the_array_is_refuted(bug: str, tmp_path: Path) -> None:
    configuration = _configuration(1, 2)
    array = planted(lut, *PLANTED[bug], tmp_path).LutArray(configuration)
    with pytest.raises(RefutedError, match=FOUND_BY[bug]):
        search(LutClaims(array, configuration), FOUND_BY[bug], depth=5)


def test_a_total_without_room_for_twice_the_sums_does_not_follow(tmp_path: Path) -> None:
    """It takes thousands of steps from a reset to where this shows; induction sees it at once."""
    configuration = _configuration(1, 2)
    array = planted(lut, "SUM = signed(33)", "SUM = signed(32)", tmp_path).LutArray(configuration)
    with pytest.raises(NotInductiveError, match="total_0_"):
        prove_each(LutClaims(array, configuration))


def _choose(condition: Any, yes: Any, no: Any) -> Any:
    return np.where(condition, yes, no)


def _coefficients(codes: NDArray[np.int16], weight: WeightType, before: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the recurrence makes of the activations [K] with weights [columns, K]: coefficients [columns, K], of the
    block's sum if `before` is its total so far."""
    columns, k = codes.shape
    # Entries of activations of which one is 1, for each of them.
    entries = tables(np.eye(k, dtype=np.int8), k)[:, 0].T.astype(np.int64)
    packed = pack_weights(codes, columns, k, weight, "planes").reshape(-1)
    bits = np.unpackbits(packed, count=weight.bits * columns * k, bitorder="little").reshape(weight.bits, columns, k)
    fields = bits.astype(np.int64) @ (1 << np.arange(k))
    odd = weight.coding == "odd"
    grown, total = np.zeros((columns, k), np.int64), before
    for plane in reversed(range(weight.bits)):
        flags = SimpleNamespace(first=False, first_plane=plane == weight.bits - 1, last_plane=plane == 0, odd=odd)
        entry, negative = looked_up(entries, fields[plane], k)
        grown = after_plane(_choose, grown, (entry, negative[:, None]), flags)
        total = after_total(_choose, total, grown, entries[0], flags)
    sums: NDArray[np.int64] = sum_of(_choose, total, odd)
    return sums


def _tuples(weight: WeightType, k: int) -> NDArray[np.int16]:
    """Weights [columns, K]: all that there are of up to two bits, of more bits every code in every place."""
    if weight.coding == "odd":
        codes = np.arange(1 - (1 << weight.bits), 1 << weight.bits, 2)
    else:
        codes = np.arange(-(1 << weight.bits - 1), 1 << weight.bits - 1)
    if weight.bits <= 2:
        return np.array(list(product(codes, repeat=k)), np.int16)
    return np.array([np.roll(codes, shift) for shift in range(k)], np.int16).T


@pytest.mark.parametrize("k", [1, 2, K, 8])
@pytest.mark.parametrize("name", [item.name for item in WEIGHT_TYPES.values() if item.coding != "float"])
def test_recurrence_comes_to_the_product_for_all_weights_and_activations(name: str, k: int) -> None:
    weight = WEIGHT_TYPES[name]
    codes = _tuples(weight, min(k, 4) if weight.bits == 2 else k)
    none = np.zeros(codes.shape, np.int64)
    assert (_coefficients(codes, weight, none) == codes).all()
    # A total is that of the groups before, twice what they come to for weights in two's complement.
    present = np.arange(codes.size).reshape(codes.shape) - 7
    before = present if weight.coding == "odd" else 2 * present
    assert (_coefficients(codes, weight, before) == present + codes).all()


@pytest.mark.parametrize("entry", [-(1 << 15), (1 << 15) - 1])
@pytest.mark.parametrize("negative", [0, 1])
def test_products_of_the_largest_entries_fit_their_registers(entry: int, negative: int) -> None:
    value = 0
    for plane in range(8):
        value = int(after_plane(_choose, value, (entry, negative), SimpleNamespace(first_plane=plane == 0)))
        assert -(1 << 15 + plane + 1) <= value < 1 << 15 + plane + 1
