"""Published figures: each has its source, and a bad data file is refused with the place of the fault."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models import PublishedFigure, component, component_classes, published_figures
from cost_models.figures import figure, figures_named, read_figures
from isa import InputError

GOOD = """
citation = "Somebody, 2024"
node_nm = 28

[[figure]]
name = "adder area"
value = 3.5
unit = "um2"
at = { bits = 8 }
where = "Table 1"
"""


def test_every_figure_names_its_source_and_node() -> None:
    figures = published_figures()
    assert all(item.source and item.name and item.value > 0 for item in figures)
    assert {item.node_nm for item in figures} == {0, 7, 28, 45}
    assert len({(item.name, item.at) for item in figures}) == len(figures)


def test_every_source_of_a_component_is_a_listed_figure() -> None:
    listed = {item.source for item in published_figures()}
    made = [
        component("lut_array", m=2, n=64, k=4),
        component("table_precompute", k=4, activation_bits=8),
        component("int8_mac_array", lanes=512),
        component("bit_serial_array", lanes=512),
        component("vector_unit", lanes=16),
        component("sram", bytes=65536),
        component("dram", technology="hbm2"),
    ]
    assert {item.class_name for item in made} == set(component_classes())
    used = {source for item in made for source in item.sources}
    assert used <= listed
    assert all(item.sources for item in made)


def test_the_list_of_figures_cannot_be_changed_by_its_reader() -> None:
    published_figures().clear()
    assert published_figures()


def test_a_figure_file_reads_as_written(tmp_path: Path) -> None:
    file = tmp_path / "somebody.toml"
    file.write_text(GOOD)
    assert read_figures(file) == [
        PublishedFigure("adder area", 3.5, "um2", 28, "Somebody, 2024: Table 1", (("bits", 8),))
    ]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("value = 3.5", "value = -3.5", "figure.0.value"),
        ("value = 3.5", "value = 0", "figure.0.value"),
        ("value = 3.5", "value = nan", "figure.0.value"),
        ("value = 3.5", "value = inf", "figure.0.value"),
        ("value = 3.5", "value = true", "figure.0.value"),
        ("value = 3.5", 'value = "3.5"', "figure.0.value"),
        ("value = 3.5", "valeu = 3.5", "figure.0.value"),
        ('where = "Table 1"', 'where = "Table 1"\npage = 3', "figure.0.page"),
        ('unit = "um2"', 'unit = "um^2"', "figure.0.unit"),
        ('where = "Table 1"', "", "figure.0.where"),
        ('where = "Table 1"', 'where = ""', "figure.0.where"),
        ("bits = 8", "bits = -8", "figure.0.at.bits"),
        ("node_nm = 28", "node_nm = -28", "node_nm"),
        ("node_nm = 28", "", "node_nm"),
        ("[[figure]]", "[[figures]]", "figure"),
        ("[[figure]]", "[[figure]", "file"),
    ],
)
def test_a_fault_in_a_figure_file_is_refused_with_its_place(tmp_path: Path, old: str, new: str, place: str) -> None:
    file = tmp_path / "somebody.toml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_figures(file)
    assert caught.value.source == str(file)
    assert caught.value.field.startswith(place)


def test_the_same_figure_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "somebody.toml"
    file.write_text(GOOD + GOOD[GOOD.index("[[figure]]") :])
    with pytest.raises(InputError, match=r"adder area: found twice for \{'bits': 8\}"):
        read_figures(file)


@pytest.mark.parametrize("text", ["x = " + "[" * 5000, "x = " + "1" * 5000, "x = 1e999999"])
def test_extreme_toml_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "extreme.toml"
    file.write_text(text)
    with pytest.raises(InputError):
        read_figures(file)


def test_a_missing_figure_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_figures(tmp_path / "nobody.toml")


@given(content=st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail_in_another_way(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed-figures.toml"
    file.write_bytes(content)
    with pytest.raises(InputError):
        read_figures(file)


def test_a_law_cannot_take_a_figure_in_the_wrong_unit() -> None:
    with pytest.raises(InputError, match="found um2, expected mm2"):
        figure("lut_array area", "mm2")


def test_a_law_cannot_take_one_of_several_figures() -> None:
    with pytest.raises(InputError, match="3 figures"):
        figure("sram area", "mm2")


def test_an_unknown_figure_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"one of .*sram area"):
        figures_named("sram aera", "mm2")
