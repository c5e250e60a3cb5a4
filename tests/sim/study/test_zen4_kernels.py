"""Predictions against kernels that were measured: near, in the same order, and slow where prefetchers are lost."""

import pytest

from sim.simd.kernel import Problem
from sim.simd.kernels import KERNELS
from sim.study.reproductions.item import Item, order_kept, summary
from sim.study.reproductions.zen4_kernels import zen4_kernels
from sim.timing.cpu.core import load_core
from sim.timing.cpu.schedule import schedule

ITEMS = list(zen4_kernels())


def of(part, items=ITEMS):
    return [item for item in items if part in item.name]


def test_rows_of_the_cores_own_calibration_are_told_from_the_rest():
    assert {item.kind for item in ITEMS} == {"calibrated", "predicted"}
    assert len([item for item in ITEMS if item.kind == "calibrated"]) < len(ITEMS) / 2


def test_four_rows_side_by_side_are_slow_from_dram_alone():
    hot, stream = (of(f"I2_S[1xN], 2560 x 2560, 1 tokens, 1 threads, {place}")[0] for place in ("hot", "stream"))
    assert stream.ours > 3 * hot.ours


def predicted(part):
    return [item for item in of(part) if item.kind == "predicted"]


@pytest.mark.parametrize(
    ("part", "median_error"),
    [("1 threads, hot", 0.10), ("2 threads, hot", 0.15)],
)
def test_what_was_not_fitted_is_near(part, median_error):
    assert summary(predicted(part))["median_error"] <= median_error


@pytest.mark.parametrize("threads", [1, 2])
def test_one_rate_of_dram_and_one_share_fit_all_kernels(threads):
    assert summary(of(f"{threads} threads, stream"))["median_error"] <= 0.15


def test_kernels_of_bitnet_cpp_are_within_a_quarter():
    assert summary([*of("I2_S"), *of("TL2"), *of("T-MAC")])["worst_error"] <= 0.25


def test_kernels_stand_in_the_measured_order():
    kept, pairs = order_kept(ITEMS, 0.1)
    assert pairs > 1000
    assert 2 * kept / pairs - 1 >= 0.85


def test_blocks_of_66_bytes_cost_loads_that_cross_lines():
    step = next(step for step in KERNELS["tq2_0"].steps(Problem(2560, 64)) if step.kind == "product")
    core = load_core("zen4")
    aligned = core.with_fields({"loads.line_split_cycles": 0})
    assert schedule(core, step.program).cycles > 1.1 * schedule(aligned, step.program).cycles


def test_order_counts_pairs_of_a_group_that_differ_enough():
    items = [
        Item("a", 1.0, 10.0, "µs", "predicted", "x"),
        Item("b", 2.0, 20.0, "µs", "predicted", "x"),
        Item("c", 2.1, 19.0, "µs", "predicted", "x"),
        Item("d", 9.0, 1.0, "µs", "predicted", "y"),
    ]
    assert order_kept(items) == (2, 3)
    assert order_kept(items, 0.1) == (2, 2)
