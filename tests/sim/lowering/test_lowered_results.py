"""Programs compute the product: any shape, machine and cut, in any order of the engines, equals numpy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowering_cases import case_of, cases, considered_cuts, in_cut, lowered_case, small_machine

from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from sim.functional.interpreter import random_order
from sim.functional.lowered import interpreted, run_lowered
from sim.lowering import lower
from sim.timing.product import MatrixProduct, Scaling


def check(case, lowered, order):
    results = run_lowered(lowered, case.operands, interpreted(order))
    assert results.dtype == case.expected.dtype
    assert (results == case.expected).all()


@settings(max_examples=60)
@given(case=cases(), data=st.data())
def test_any_product_in_any_cut_equals_numpy_whatever_the_order_of_engines(case, data):
    """The interpreter would also report a ring whose place is filled before it is free, or read before it is full."""
    lowered = lowered_case(case)
    cuts = considered_cuts(lowered)
    number = data.draw(st.integers(-1, len(cuts.tile_m) - 1), "cut, -1 for the mapper's")
    order = random_order(data.draw(st.integers(0, 999), "order"))
    check(case, lowered if number < 0 else in_cut(lowered, cuts.take(number)), order)


SCALINGS = {
    "none": None,
    "tensor": Scaling("tensor", element="fp16"),
    "row": Scaling("row", rule="divide"),
    "group": Scaling("group", 12, element="fp16"),
}


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("form", ["fused", "separate", "none", "mac", "bit-serial"])
def test_cuts_from_the_first_to_the_last_that_is_considered_compute_the_product(form, scaling):
    kind, changes = ("lut", {"compute.precompute": form}) if form in ("fused", "separate", "none") else (form, {})
    machine = small_machine(kind, 2, 8, 3, 1 << 11, **changes)
    unit = machine.compute if scaling != "group" else machine.compute.within_groups(12)
    weight = WEIGHT_TYPES["int8" if kind == "mac" else "ternary"]
    result = "fp32" if SCALINGS[scaling] else "int32"
    product = MatrixProduct(5, 29, 19, 2, ACTIVATION_TYPES["int8"], weight, result, SCALINGS[scaling])
    case = case_of(machine, unit, product, 3)
    lowered = lower(machine, unit, product)
    cuts = considered_cuts(lowered)
    count = len(cuts.tile_m)
    for number in {*range(0, count, max(1, count // 10)), count - 1}:
        check(case, in_cut(lowered, cuts.take(number)), random_order(number))
