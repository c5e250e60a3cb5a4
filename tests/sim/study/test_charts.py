"""The charts add up to the results that they show, and stay legible and small."""

from dataclasses import replace
from itertools import repeat

import pytest

from sim.evaluation import Result, simulate
from sim.study.charts import ChartGroup, chart_groups
from sim.study.charts.bars import component_energies_pj
from sim.study.charts.roofline import roofline_points, roofs
from sim.study.charts.style import KIND_COLORS
from sim.study.charts.timeline import layer_timeline
from sim.study.quantities import ENERGY, TIME
from sim.timing import load_machine, shipped_machines
from workloads import shape_only_trace
from workloads.catalog import load_model_architecture
from workloads.operations import KINDS

SEGMENTS = ["fill", "compute", "stall", "drain"]


def results_of(model: str, decode_steps: int = 3, prefill_tokens: int = 5, machines: int = 3) -> tuple[Result, ...]:
    trace = shape_only_trace(
        load_model_architecture(model),
        prefill_tokens=prefill_tokens,
        decode_steps=decode_steps,
        context_tokens=5,
        weight_format="ternary",
    )
    return tuple(simulate(load_machine(name), trace, "analytic") for name in list(shipped_machines())[:machines])


@pytest.fixture(scope="module")
def results() -> tuple[Result, ...]:
    return results_of("tern-18m")


@pytest.fixture(scope="module")
def groups(results: tuple[Result, ...]) -> dict[str, ChartGroup]:
    return groups_of(results)


def groups_of(results: tuple[Result, ...]) -> dict[str, ChartGroup]:
    return {group.title: group for group in chart_groups(results)}


def base_units(group: ChartGroup, axis: str) -> list[float]:
    """All bar lengths of a group in seconds or pJ, from the unit that each chart's axis names."""
    lengths = []
    for chart in group.charts:
        symbol = getattr(chart.figure.layout, f"{axis}axis").title.text
        unit = next(unit for unit in (*TIME.units, *ENERGY.units) if unit.symbol == symbol)
        lengths += [length * unit.size for bar in chart.figure.data if bar.type == "bar" for length in bar[axis]]
    return lengths


def test_every_kind_of_operation_has_its_own_color() -> None:
    assert set(KIND_COLORS) == set(KINDS)
    assert len(set(KIND_COLORS.values())) == len(KINDS)


@pytest.mark.parametrize(("by", "axis"), [("operation type", "x"), ("layer", "y")])
def test_bars_add_up_to_the_time_and_energy_of_the_run(
    results: tuple[Result, ...], groups: dict[str, ChartGroup], by: str, axis: str
) -> None:
    time, energy = (base_units(groups[f"{quantity} by {by}"], axis) for quantity in ("Time", "Energy"))
    assert sum(time) == pytest.approx(sum(result.seconds for result in results))
    assert sum(energy) == pytest.approx(sum(result.energy_pj for result in results))


def test_a_kind_of_operation_has_one_color_in_all_charts(groups: dict[str, ChartGroup]) -> None:
    colored = {title: set[tuple[str, str]]() for title in groups}
    for group in groups.values():
        colored[group.title] |= {(entry.label, entry.color) for entry in group.legend if entry.label in KINDS}
        for trace in (trace for chart in group.charts for trace in chart.figure.data if trace.hovertext):
            colors = repeat(trace.marker.color) if isinstance(trace.marker.color, str) else trace.marker.color
            for text, color in zip(trace.hovertext, colors, strict=False):
                colored[group.title] |= {
                    (kind, color) for kind in KINDS if f"<br>{kind}: " in text or f"({kind})" in text
                }
    for title, found in colored.items():
        assert found <= set(KIND_COLORS.items()), title
        assert found or title == "Energy by component"


def test_component_energies_add_up_to_the_energy_of_the_run(
    results: tuple[Result, ...], groups: dict[str, ChartGroup]
) -> None:
    for result in results:
        energies = component_energies_pj(result, result.operations)
        assert energies.keys() == result.machine.parts.keys()
        assert sum(energies.values()) == pytest.approx(result.energy_pj)
    lengths = base_units(groups["Energy by component"], "x")
    assert sum(lengths) == pytest.approx(sum(result.energy_pj for result in results))


def test_no_dense_operation_stands_above_its_roof_or_the_slope(results: tuple[Result, ...]) -> None:
    for result in results:
        peaks = {roof.name: roof.operations_per_second for roof in roofs(result)}
        assert list(peaks) == ["array, ternary weights", "vector unit"]
        points = roofline_points(result)
        assert {"self_attn.scores", "mlp.down_proj", "head"} <= set(points["name"])
        peak = points["unit"].map({"array": peaks["array, ternary weights"], "vector unit": peaks["vector unit"]})
        assert (points["operations_per_second"] <= peak * (1 + 1e-9)).all()
        slope = points["operations_per_dram_byte"] * result.machine.dram.bandwidth_gb_per_second * 1e9
        assert (points["operations_per_second"] <= slope).all()
        assert points["utilization"].between(0, 1).all()


def test_roof_of_the_lut_array_is_two_operations_a_lane_and_bit_plane(results: tuple[Result, ...]) -> None:
    result = next(result for result in results if result.machine.name == "lut-m2n64k4")
    lanes, bit_planes_of_ternary = 2 * 64 * 4, 2
    assert roofs(result)[0].operations_per_second == 2 * lanes / bit_planes_of_ternary * 1e9


def test_points_count_layers_and_not_steps(results: tuple[Result, ...]) -> None:
    points = roofline_points(results[0]).set_index(["phase", "name"])
    assert points.loc[("decode", "mlp.up_proj"), ["count", "layers"]].tolist() == [3 * 6, 6]
    assert points.loc[("decode", "head"), ["count", "layers"]].tolist() == [3, 0]


def test_what_moves_no_dram_bytes_is_drawn_at_the_edge_and_says_so(results: tuple[Result, ...]) -> None:
    operations = results[0].operations.copy()
    rows = operations["name"] == "self_attn.q_proj"
    operations.loc[rows, ["dram_read_bytes", "dram_write_bytes"]] = 0
    group = groups_of((replace(results[0], operations=operations),))["Roofline"]
    figure = group.charts[0].figure
    points = figure.data[-1]
    edge = [
        (text, symbol)
        for x, text, symbol in zip(points.x, points.hovertext, points.marker.symbol, strict=True)
        if x == pytest.approx(10 ** figure.layout.xaxis.range[1])
    ]
    assert len(edge) == 2
    assert all("moves no DRAM bytes" in text and "q_proj" in text and "triangle" in symbol for text, symbol in edge)
    assert any("no DRAM bytes" in entry.label for entry in group.legend)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_timeline_is_one_layer_of_one_step_without_gaps(results: tuple[Result, ...], phase: str) -> None:
    for result in results:
        timeline = layer_timeline(result, phase)
        table = result.operations
        step = 0 if phase == "prefill" else 2  # of the decode steps 1, 2 and 3
        expected = table[(table["step"] == step) & (table["layer"] == 0)]
        assert timeline["name"].tolist() == expected["name"].tolist()
        ends = timeline["start_seconds"] + timeline[SEGMENTS].sum(axis=1)
        assert ends.iloc[:-1].tolist() == pytest.approx(timeline["start_seconds"].iloc[1:].tolist())
        assert ends.iloc[-1] == pytest.approx(expected["cycles"].sum() / (result.machine.clock_ghz * 1e9))


def test_segments_of_a_timeline_join_in_the_chart(groups: dict[str, ChartGroup]) -> None:
    chart = groups["Timeline of layer 0"].charts[0]
    for before, after in zip(chart.figure.data, chart.figure.data[1:], strict=False):
        ends = [base + length for base, length in zip(before.base, before.x, strict=True)]
        assert ends == pytest.approx(list(after.base))


@pytest.mark.parametrize(("prefill_tokens", "decode_steps", "absent"), [(0, 2, "prefill"), (4, 0, "decode")])
def test_a_phase_that_did_not_run_has_no_chart(prefill_tokens: int, decode_steps: int, absent: str) -> None:
    groups = chart_groups(results_of("tern-18m", decode_steps, prefill_tokens, machines=1))
    assert not any(absent in chart.name for group in groups for chart in group.charts)
    assert all(group.charts for group in groups)


def test_layers_of_a_deep_model_are_all_drawn_with_few_ticks() -> None:
    results = results_of("llama-2-70b", decode_steps=1, machines=1)
    figure = groups_of(results)["Time by layer"].charts[0].figure
    assert all(len(bar.x) == len(set(bar.x)) == 81 for bar in figure.data)
    assert figure.layout.xaxis.ticktext[:3] == ("outside", "0", "10")
    assert len(figure.layout.xaxis.tickvals) <= 11


def test_charts_do_not_grow_with_the_number_of_steps() -> None:
    def numbers(decode_steps: int) -> int:
        groups = chart_groups(results_of("tern-18m", decode_steps, machines=1))
        return sum(len(trace.x) for group in groups for chart in group.charts for trace in chart.figure.data)

    assert numbers(3) == numbers(40)
