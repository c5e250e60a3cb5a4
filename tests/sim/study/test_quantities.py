"""Quantities for people: right unit, right digits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.study.quantities import AREA, ENERGY, TIME, Ladder, number

SYMBOL_SIZES = {unit.symbol: unit.size for ladder in (TIME, ENERGY, AREA) for unit in ladder.units}


@pytest.mark.parametrize(
    ("ladder", "value", "text"),
    [
        (TIME, 0.0227, "22.7 ms"),
        (TIME, 3.52e-5, "35.2 µs"),
        (TIME, 86_400.0, "86,400 s"),
        (TIME, 2e-10, "0.200 ns"),
        (ENERGY, 733_463_561.9, "733 µJ"),
        (ENERGY, 0.7925, "0.792 pJ"),
        (AREA, 571_459.1, "0.571 mm²"),
        (AREA, 0.0, "0 mm²"),
    ],
)
def test_a_quantity_is_written_in_the_unit_that_suits_it(ladder: Ladder, value: float, text: str) -> None:
    assert ladder.text(value) == text


def test_numbers_have_thousands_separators_and_no_exponent() -> None:
    assert number(10_730.2) == "10,730"
    assert number(0.000789) == "0.000789"
    assert number(float("inf")) == "inf"


@given(st.floats(1e-9, 1e15), st.sampled_from([TIME, ENERGY, AREA]))
def test_what_is_written_is_the_value_to_three_digits(value: float, ladder: Ladder) -> None:
    digits, symbol = ladder.text(value).split(" ")
    written = float(digits.replace(",", "")) * SYMBOL_SIZES[symbol]
    assert written == pytest.approx(value, rel=0.005)
