"""Memories: the published points come out exactly, the law between them is smooth and grows with size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models import component

KIBIBYTE = 1024
sizes = st.integers(16, 2**32)


@pytest.mark.parametrize(
    ("kibibytes", "read_pj", "area_mm2"), [(64, 12.6, 0.088), (512, 35.6, 0.661), (2048, 68.2, 2.59)]
)
def test_sram_gives_the_published_points_exactly(kibibytes: int, read_pj: float, area_mm2: float) -> None:
    memory = component("sram", bytes=kibibytes * KIBIBYTE)
    assert memory.energy_pj["read_byte"] * 16 == pytest.approx(read_pj, rel=1e-12)
    assert memory.area_um2 == pytest.approx(area_mm2 * 1e6, rel=1e-12)
    assert (memory.node_nm, memory.kind) == (28, "published")


def test_sram_between_two_points_is_their_geometric_mean_at_the_geometric_mean_size() -> None:
    memory = component("sram", bytes=1024 * KIBIBYTE)
    assert memory.energy_pj["read_byte"] * 16 == pytest.approx((35.6 * 68.2) ** 0.5)
    assert memory.area_um2 == pytest.approx((0.661 * 2.59) ** 0.5 * 1e6)
    assert memory.kind == "predicted"


def test_sram_beyond_the_points_follows_the_nearest_pair() -> None:
    smaller, larger = component("sram", bytes=8 * KIBIBYTE), component("sram", bytes=8192 * KIBIBYTE)
    assert smaller.energy_pj["read_byte"] * 16 == pytest.approx(12.6**2 / 35.6)
    assert larger.energy_pj["read_byte"] * 16 == pytest.approx(68.2**2 / 35.6)
    assert smaller.kind == larger.kind == "predicted"


@given(one=sizes, other=sizes)
def test_a_larger_sram_has_more_area_and_costs_more_a_byte(one: int, other: int) -> None:
    small, large = (component("sram", bytes=size) for size in sorted((one, other)))
    assert small.area_um2 <= large.area_um2
    assert small.energy_pj["read_byte"] <= large.energy_pj["read_byte"]
    assert (small.area_um2 < large.area_um2) == (one != other)


@given(size=sizes)
def test_one_more_byte_of_sram_changes_little(size: int) -> None:
    memory, next_larger = component("sram", bytes=size), component("sram", bytes=size + 1)
    assert next_larger.area_um2 / memory.area_um2 < 1 + 2 / size
    assert next_larger.energy_pj["read_byte"] / memory.energy_pj["read_byte"] < 1 + 2 / size


@given(size=sizes)
def test_writing_sram_costs_what_reading_costs(size: int) -> None:
    energy_pj = component("sram", bytes=size).energy_pj
    assert energy_pj["write_byte"] == energy_pj["read_byte"]


@pytest.mark.parametrize(("technology", "pj_per_bit"), [("ddr4-3200", 10.3), ("lpddr4-2400", 9.7), ("hbm2", 2.25)])
def test_dram_transfers_at_the_published_energy_and_takes_no_chip_area(technology: str, pj_per_bit: float) -> None:
    memory = component("dram", technology=technology)
    assert memory.energy_pj == {"read_byte": pytest.approx(8 * pj_per_bit), "write_byte": pytest.approx(8 * pj_per_bit)}
    assert (memory.area_um2, memory.node_nm, memory.kind) == (0, 0, "published")
