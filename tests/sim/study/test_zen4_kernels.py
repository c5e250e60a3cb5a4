"""Predictions against kernels that were measured: near, in the same order, and slow where prefetchers are lost."""

from sim.study.reproductions.item import Item, order_kept, summary
from sim.study.reproductions.zen4_kernels import zen4_kernels

ITEMS = list(zen4_kernels())


def of(part, items=ITEMS):
    return [item for item in items if part in item.name]


def test_rows_of_the_cores_own_calibration_are_told_from_the_rest():
    assert {item.kind for item in ITEMS} == {"calibrated", "predicted"}
    assert len([item for item in ITEMS if item.kind == "calibrated"]) <= 3


def test_four_rows_side_by_side_are_slow_from_dram_alone():
    hot, stream = (of(f"I2_S[1xN], 2560 x 2560, 1 tokens, 1 threads, {place}")[0] for place in ("hot", "stream"))
    assert stream.ours > 3 * hot.ours


def test_i2_s_is_near():
    found = summary(of("I2_S"))
    assert found["median_error"] <= 0.1
    assert found["worst_error"] <= 0.25


def test_order_counts_pairs_of_a_group_that_differ_enough():
    items = [
        Item("a", 1.0, 10.0, "µs", "predicted", "x"),
        Item("b", 2.0, 20.0, "µs", "predicted", "x"),
        Item("c", 2.1, 19.0, "µs", "predicted", "x"),
        Item("d", 9.0, 1.0, "µs", "predicted", "y"),
    ]
    assert order_kept(items) == (2, 3)
    assert order_kept(items, 0.1) == (2, 2)
