"""Compute units: the published points come out as printed, and the laws agree with what the papers found."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models import component
from cost_models.logic import half_table_additions, lut_array_gates

shapes = st.fixed_dictionaries({"m": st.integers(1, 64), "n": st.integers(1, 512), "k": st.integers(1, 10)})


def test_lut_array_reaches_the_published_efficiency_at_one_weight_bit() -> None:
    """LUT Tensor Core: Table 3 prints 63.78 TOPS/W at W1A8; Table 2's power gives 63.1."""
    lookup_pj = component("lut_array", m=2, n=64, k=4).energy_pj["lookup"]
    tops_per_watt = 2 * 4 / lookup_pj
    assert tops_per_watt == pytest.approx(63.1, abs=0.05)
    assert tops_per_watt == pytest.approx(63.78, rel=0.02)


def test_sixteen_lut_arrays_have_the_area_of_the_a100_with_four_times_the_throughput() -> None:
    """LUT Tensor Core, Table 1, A100-LUT-4X: 0.187 mm² a multiprocessor is printed, 16 arrays of Table 2 give 0.192."""
    area_mm2 = 16 * component("lut_array", m=2, n=64, k=4).area_um2 / 1e6
    assert area_mm2 == pytest.approx(0.192, abs=0.0005)
    assert area_mm2 == pytest.approx(0.187, rel=0.03)


def test_lut_array_is_published_at_its_point_and_predicted_elsewhere() -> None:
    assert component("lut_array", m=2, n=64, k=4).kind == "published"
    assert component("lut_array", m=2, n=64, k=3).kind == "predicted"
    assert component("lut_array", m=4, n=32, k=4).kind == "predicted"


def test_gates_of_the_published_array_are_its_parts_in_cells_of_asap7() -> None:
    """ASAP7: multiplexer 2.25 times a NAND2, XOR 2.25, full adder 3.5, flip-flop 5; entries of 10 bits."""
    gates = lut_array_gates(2, 64, 4)
    assert gates.tables == pytest.approx(2 * 8 * 10 * 5)
    assert gates.weights == pytest.approx(64 * 4 * 5)
    assert gates.multiplexers == pytest.approx(128 * 7 * 10 * 2.25)
    assert gates.sign_flips == pytest.approx(128 * 10 * 2.25)
    assert gates.accumulators == pytest.approx(128 * 32 * (3.5 + 5))


def test_the_smallest_lut_array_of_512_products_is_the_shape_that_the_paper_chose() -> None:
    sizes = [2**power for power in range(10)]
    designs = [
        (component("lut_array", m=m, n=n, k=k).area_um2, m, n, k)
        for m in sizes
        for n in sizes
        for k in sizes
        if m * n * k == 512 and k <= 16
    ]
    assert min(designs)[1:] == (2, 64, 4)


def test_groups_of_four_activations_cost_the_least_area_a_product() -> None:
    area_per_product = {k: component("lut_array", m=2, n=64, k=k).area_um2 / (2 * 64 * k) for k in range(1, 9)}
    assert min(area_per_product, key=lambda k: area_per_product[k]) == 4


def test_a_half_table_saves_the_area_that_the_paper_reports() -> None:
    """LUT Tensor Core, Table 2: 17,271.71 µm² with full tables, 12,780.05 with half tables and no negation."""
    half = lut_array_gates(2, 64, 4)
    with_full_table = half.total + half.tables + half.multiplexers * (15 - 7) / 7 - half.sign_flips
    assert with_full_table / half.total == pytest.approx(17271.71 / 12780.05, rel=0.05)


@given(shape=shapes, axis=st.sampled_from("mnk"))
def test_a_larger_lut_array_has_more_area_and_uses_more_energy_a_cycle(shape: dict[str, int], axis: str) -> None:
    small = component("lut_array", **shape)
    larger = {**shape, axis: shape[axis] + 1}
    large = component("lut_array", **larger)
    assert large.area_um2 > small.area_um2
    small_pj_per_cycle = small.energy_pj["lookup"] * shape["m"] * shape["n"]
    assert large.energy_pj["lookup"] * larger["m"] * larger["n"] > small_pj_per_cycle


def test_a_half_table_of_four_takes_twelve_additions() -> None:
    assert half_table_additions(4) == {2: 4, 4: 8}
    assert half_table_additions(4).total() == 12
    assert half_table_additions(1).total() == 0


@given(k=st.integers(1, 16))
def test_no_other_split_of_the_group_needs_fewer_additions(k: int) -> None:
    @cache
    def fewest(size: int) -> int:
        if size == 1:
            return 0
        return (1 << (size - 1)) + min(fewest(left) + fewest(size - left) for left in range(1, size))

    assert half_table_additions(k).total() == fewest(k)


def test_table_energy_is_that_of_its_additions() -> None:
    """Four 9-bit and eight 10-bit additions, linear between Horowitz's 0.03 pJ at 8 and 0.1 pJ at 32 bits."""
    slope = (0.1 - 0.03) / 24
    expected_pj = 4 * (0.03 + slope) + 8 * (0.03 + 2 * slope)
    table = component("table_precompute", k=4, activation_bits=8)
    assert table.energy_pj["table"] == pytest.approx(expected_pj)
    assert (table.node_nm, table.kind) == (45, "predicted")


def test_two_table_builders_are_what_the_fused_array_lacks() -> None:
    builder = component("table_precompute", k=4, activation_bits=8)
    assert component("lut_array", m=2, n=64, k=4).area_um2 + 2 * builder.area_um2 == pytest.approx(12780.05)


@given(k=st.integers(2, 15), bits=st.integers(1, 15))
def test_larger_and_wider_tables_cost_more(k: int, bits: int) -> None:
    table = component("table_precompute", k=k, activation_bits=bits)
    for larger in (
        component("table_precompute", k=k + 1, activation_bits=bits),
        component("table_precompute", k=k, activation_bits=bits + 1),
    ):
        assert larger.area_um2 > table.area_um2
        assert larger.energy_pj["table"] > table.energy_pj["table"] > 0


def test_a_group_of_one_activation_needs_no_table_builder() -> None:
    table = component("table_precompute", k=1, activation_bits=8)
    assert (table.area_um2, table.energy_pj["table"]) == (0, 0)


def test_int8_array_reaches_the_published_efficiency_and_density() -> None:
    """A100: 624 TOPS from 108 multiprocessors at 1.41 GHz, 19.94 TOPS/W and 17.73 TOPS/mm² at 28 nm."""
    lanes_per_multiprocessor = 2048
    array = component("int8_mac_array", lanes=lanes_per_multiprocessor)
    assert 2 / array.energy_pj["multiply_accumulate"] == pytest.approx(19.94)
    assert array.area_um2 / 1e6 == pytest.approx(624 / 17.73 / 108, rel=0.001)
    assert (array.node_nm, array.kind) == (28, "published")


def test_lut_array_beats_the_int8_array_at_two_weight_bits_in_area_and_energy() -> None:
    """The claim of LUT Tensor Core's Table 1, without memories: two lookups of four products against four INT8 ones."""
    lut, mac = component("lut_array", m=2, n=64, k=4), component("int8_mac_array", lanes=256)
    assert lut.area_um2 < mac.area_um2
    assert 2 * lut.energy_pj["lookup"] < 4 * mac.energy_pj["multiply_accumulate"]


def test_bit_serial_element_has_its_published_area_and_power() -> None:
    element = component("bit_serial_array", lanes=4)
    assert element.area_um2 == 1793.7
    assert 4 * element.energy_pj["lane_cycle"] == pytest.approx(0.586)
    assert element.kind == "published"


@given(lanes=st.integers(1, 100_000))
def test_bit_serial_lanes_come_in_whole_elements(lanes: int) -> None:
    array = component("bit_serial_array", lanes=lanes)
    elements = array.area_um2 / component("bit_serial_array", lanes=4).area_um2
    assert elements == pytest.approx(round(elements))
    assert lanes <= 4 * round(elements) < lanes + 4
    assert array.kind == ("published" if lanes % 4 == 0 else "predicted")


def test_vector_lane_has_its_published_area_and_power() -> None:
    lane = component("vector_unit", lanes=1)
    assert (lane.area_um2, lane.energy_pj["operation"]) == (1968.7, 0.77)


@given(
    name=st.sampled_from(["int8_mac_array", "bit_serial_array", "vector_unit"]),
    lanes=st.integers(1, 100_000),
    more=st.integers(4, 1000),
)
def test_more_lanes_take_more_area_at_the_same_energy_an_action(name: str, lanes: int, more: int) -> None:
    small, large = component(name, lanes=lanes), component(name, lanes=lanes + more)
    assert large.area_um2 > small.area_um2
    assert large.energy_pj == small.energy_pj
