"""The one call that makes a component: what it accepts, what it refuses, and that it may be shared."""

import doctest
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cost_models.library
from cost_models import component, component_classes
from cost_models.component import Choice, WholeNumber
from isa import InputError

SMALLEST = {
    name: {
        attribute: rule.smallest if isinstance(rule, WholeNumber) else rule.names[0]
        for attribute, rule in described.attributes.items()
    }
    for name, described in component_classes().items()
}
LARGEST = {
    name: {
        attribute: rule.largest if isinstance(rule, WholeNumber) else rule.names[-1]
        for attribute, rule in described.attributes.items()
    }
    for name, described in component_classes().items()
}


@pytest.mark.parametrize("name", component_classes())
@pytest.mark.parametrize("corner", [SMALLEST, LARGEST], ids=["smallest", "largest"])
def test_every_class_answers_over_the_whole_range_that_it_declares(
    name: str, corner: dict[str, dict[str, int | str]]
) -> None:
    made = component(name, **corner[name])
    assert made.class_name == name
    assert dict(made.attributes) == corner[name]
    assert tuple(made.energy_pj) == component_classes()[name].actions
    assert all(np.isfinite(value) and value >= 0 for value in (made.area_um2, *made.energy_pj.values()))
    assert made.sources


def test_an_unknown_class_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        component("lut_arary", m=2, n=64, k=4)
    assert all(name in str(caught.value) for name in component_classes())


def test_an_unknown_attribute_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"component lut_array: lanes: .* one of m, n, k"):
        component("lut_array", m=2, n=64, k=4, lanes=512)


def test_a_missing_attribute_is_refused_with_what_it_takes() -> None:
    with pytest.raises(InputError, match=r"component lut_array: k: .* a whole number from 1 to 16"):
        component("lut_array", m=2, n=64)


def test_an_unknown_dram_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="one of ddr4-3200, lpddr4-2400, hbm2"):
        component("dram", technology="ddr4")


@given(
    value=st.one_of(
        st.integers(max_value=15),
        st.integers(min_value=2**40 + 1),
        st.floats(),
        st.booleans(),
        st.text(),
        st.none(),
        st.lists(st.integers()),
    )
)
def test_a_value_that_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(InputError) as caught:
        component("sram", bytes=value)
    assert caught.value.field == "bytes"


def test_a_boolean_is_refused_even_when_the_equal_number_was_asked_for_before() -> None:
    component("vector_unit", lanes=1)
    with pytest.raises(InputError):
        component("vector_unit", lanes=True)


@pytest.mark.parametrize("value", [3, None, ["hbm2"]])
def test_a_choice_takes_names_only(value: object) -> None:
    with pytest.raises(InputError):
        Choice(("hbm2",)).check(value, "component dram", "technology")


def test_numpy_integers_are_sizes() -> None:
    assert component("sram", bytes=np.int64(65536)) is component("sram", bytes=65536)


def test_the_same_question_gives_the_same_object_in_any_order() -> None:
    assert component("lut_array", k=4, m=2, n=64) is component("lut_array", m=2, n=64, k=4)


def test_a_shared_component_cannot_be_changed() -> None:
    shared = component("sram", bytes=65536)
    with pytest.raises(FrozenInstanceError):
        shared.area_um2 = 0.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        shared.energy_pj["read_byte"] = 0.0  # type: ignore[index]
    with pytest.raises(TypeError):
        shared.attributes["bytes"] = 1  # type: ignore[index]


@pytest.mark.parametrize("name", component_classes())
def test_a_component_travels_to_a_worker_process(name: str) -> None:
    sent = component(name, **SMALLEST[name])
    received = pickle.loads(pickle.dumps(sent))  # noqa: S301 - our own bytes
    assert received == sent
    assert hash(received) == hash(sent)


def test_the_examples_of_the_documentation_run() -> None:
    results = doctest.testmod(cost_models.library)
    assert results.attempted > 0
    assert results.failed == 0
