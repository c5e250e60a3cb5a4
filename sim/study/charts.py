"""The charts of a report: what each shows, how to read it, and its plotly figure.

What comes in are results; what comes out are figures without colors of text, grid and background, which belong to the
page that shows them. Names from outside (machines, operations) are escaped here, because plotly reads text as markup.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from sim.study.quantities import ENERGY, TIME, Ladder, number
from sim.study.roofline import roofline_points, roofs
from sim.timing import Result
from sim.timing.activity import energy_per_action_pj
from sim.timing.result import ACTION_PREFIX
from workloads.operations import KINDS, NO_LAYER

__all__ = ["KIND_COLORS", "Chart", "ChartGroup", "LegendEntry", "chart_groups", "component_energies_pj"]

# Ten hues that stay apart for the color-blind and against white and black (the scheme observable10 of D3).
_COLORS = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951"),
    *("#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0"),
)
KIND_COLORS: dict[str, str] = dict(
    zip(
        ("mpgemm", "attention", "gemm", "norm", "quantize", "softmax", "rope", "elementwise", "residual", "embedding"),
        _COLORS,
        strict=True,
    )
)
"""The color of each kind of operation, in every chart."""

_SEGMENT_COLORS = {"fill": "#97bbf5", "compute": "#3ca951", "stall": "#ff725c", "drain": "#9498a0"}
_PHASES = {"prefill": ("circle", "●"), "decode": ("diamond-open", "◇")}
_OFF_CHART = ("triangle-right-open", "▷")
_LAYER_TICKS = 10
_NEUTRAL = "#888888"


@dataclass(frozen=True)
class LegendEntry:
    """What a color (or a symbol) stands for."""

    label: str
    color: str = _NEUTRAL
    symbol: str = "■"


@dataclass(frozen=True)
class Chart:
    """One figure under its title; `name` is unique in the report."""

    name: str
    title: str
    figure: go.Figure


@dataclass(frozen=True)
class ChartGroup:
    """Charts that are read in the same way, and the sentence that says how."""

    title: str
    reading: str
    legend: tuple[LegendEntry, ...]
    charts: tuple[Chart, ...]


def chart_groups(results: Sequence[Result]) -> tuple[ChartGroup, ...]:
    """All charts of a report in their order; their size does not depend on the number of steps."""
    summed = [_summed(result) for result in results]
    return (
        _by_type("Time", "seconds", TIME, results, summed),
        _by_layer("Time", "seconds", TIME, results, summed),
        _by_type("Energy", "energy_pj", ENERGY, results, summed),
        _by_layer("Energy", "energy_pj", ENERGY, results, summed),
        _by_component(results, summed),
        _rooflines(results),
        _timelines(results),
    )


def component_energies_pj(result: Result, operations: pd.DataFrame) -> dict[str, float]:
    """Energy of each component of the machine over some rows of the result, pJ."""
    energies = dict.fromkeys(result.machine.parts, 0.0)
    for action, energy_pj in energy_per_action_pj(result.machine).items():
        if ACTION_PREFIX + action in operations:
            energies[action.partition(".")[0]] += energy_pj * float(operations[ACTION_PREFIX + action].sum())
    return energies


def _summed(result: Result) -> pd.DataFrame:
    table = result.by_operation()
    return table.assign(seconds=table["cycles"] / (result.machine.clock_ghz * 1e9))


def _kinds(tables: Iterable[pd.DataFrame]) -> tuple[LegendEntry, ...]:
    present = {kind for table in tables for kind in table["kind"].unique()}
    return tuple(LegendEntry(kind, KIND_COLORS[kind]) for kind in KINDS if kind in present)


def _by_type(
    quantity: str, column: str, ladder: Ladder, results: Sequence[Result], summed: Sequence[pd.DataFrame]
) -> ChartGroup:
    charts = []
    for phase in _PHASES:
        tables = [table[table["phase"] == phase] for table in summed]
        if not all(table.empty for table in tables):
            bars = [table.groupby("kind", observed=True)[column].sum().to_dict() for table in tables]
            figure = _stacked_bars(results, bars, KIND_COLORS, ladder)
            charts.append(Chart(f"{column}-type-{phase}", phase.capitalize(), figure))
    reading = (
        f"Each bar is a machine's {quantity.lower()} in that phase, cut into the types of operation that took it: a "
        "shorter bar is better, and its widest piece is what to improve first."
    )
    return ChartGroup(f"{quantity} by operation type", reading, _kinds(summed), tuple(charts))


def _by_component(results: Sequence[Result], summed: Sequence[pd.DataFrame]) -> ChartGroup:
    bars = [component_energies_pj(result, table) for result, table in zip(results, summed, strict=True)]
    names = dict.fromkeys(name for bar in bars for name in reversed(bar))
    colors = {name: _COLORS[index % len(_COLORS)] for index, name in enumerate(names)}
    reading = (
        "Each bar is a machine's energy over the whole run, cut into the components that spent it: memory against "
        "arithmetic."
    )
    legend = tuple(LegendEntry(name.replace("_", " "), color) for name, color in colors.items())
    chart = Chart("energy_pj-component", "Prefill and decode", _stacked_bars(results, bars, colors, ENERGY))
    return ChartGroup("Energy by component", reading, legend, (chart,))


def _stacked_bars(
    results: Sequence[Result], bars: Sequence[Mapping[str, float]], colors: Mapping[str, str], ladder: Ladder
) -> go.Figure:
    """One horizontal bar a machine, pieces in the order of the colors."""
    totals = [sum(bar.values()) for bar in bars]
    unit = ladder.unit_for(max(totals))
    positions = list(range(len(bars)))
    figure = go.Figure()
    for label, color in colors.items():
        values = [bar.get(label, 0.0) for bar in bars]
        if any(values):
            hover = [
                f"{_text(result.machine.name)}<br>{_text(label)}: {ladder.text(value)} ({value / total:.1%})"
                for result, value, total in zip(results, values, totals, strict=True)
                if total
            ]
            widths = [value / unit.size for value in values]
            _add_bars(figure, color, hover, x=widths, y=positions, orientation="h")
    figure.add_scatter(
        x=[total / unit.size for total in totals],
        y=positions,
        text=[f" {ladder.text(total)}" for total in totals],
        mode="text",
        textposition="middle right",
        hoverinfo="skip",
    )
    labels = ["<br>".join(map(_text, textwrap.wrap(result.machine.name, 16))) for result in results]
    figure.update_layout(**_layout(70 + 44 * len(bars)), barmode="stack", bargap=0.3)
    figure.update_xaxes(title=unit.symbol, range=[0, 1.3 * max(totals) / unit.size])
    return figure.update_yaxes(tickvals=positions, ticktext=labels, autorange="reversed", showgrid=False)


def _by_layer(
    quantity: str, column: str, ladder: Ladder, results: Sequence[Result], summed: Sequence[pd.DataFrame]
) -> ChartGroup:
    charts = [
        Chart(f"{column}-layer-{index}", result.machine.name, _layer_bars(table, column, ladder))
        for index, (result, table) in enumerate(zip(results, summed, strict=True))
    ]
    reading = (
        f"Each column is the {quantity.lower()} of one layer over the whole run; “outside” is what belongs to no layer "
        "(embedding, final norm, head). Each machine has its own scale."
    )
    return ChartGroup(f"{quantity} by layer", reading, _kinds(summed), tuple(charts))


def _layer_bars(table: pd.DataFrame, column: str, ladder: Ladder) -> go.Figure:
    values = table.pivot_table(index="layer", columns="kind", values=column, aggfunc="sum", fill_value=0, observed=True)
    unit = ladder.unit_for(float(values.sum(axis=1).max()))
    layers = [int(layer) for layer in values.index]
    names = {layer: "outside" if layer == NO_LAYER else str(layer) for layer in layers}
    figure = go.Figure()
    for kind in (kind for kind in KINDS if kind in values):
        hover = [
            f"{'outside the layers' if layer == NO_LAYER else f'layer {layer}'}<br>{kind}: {ladder.text(value)}"
            for layer, value in values[kind].items()
        ]
        heights = [value / unit.size for value in values[kind]]
        _add_bars(figure, KIND_COLORS[kind], hover, x=layers, y=heights)
    stride = max(1, -(-len(layers) // _LAYER_TICKS))
    ticks = [layer for layer in layers if layer == NO_LAYER or layer % stride == 0]
    figure.update_layout(**_layout(260), barmode="stack", bargap=0.15)
    figure.update_xaxes(
        title="layer", tickvals=ticks, ticktext=[names[tick] for tick in ticks], showgrid=False, tickangle=0
    )
    return figure.update_yaxes(title=unit.symbol)


def _rooflines(results: Sequence[Result]) -> ChartGroup:
    charts = [
        Chart(f"roofline-{index}", result.machine.name, _roofline(result)) for index, result in enumerate(results)
    ]
    reading = (
        "Each point is a matrix operation (of all layers and steps): one on the slope waits for DRAM, one on a flat "
        "roof keeps its unit busy, and one below both loses time to unfilled lanes, fill and drain; zero terms that a "
        "machine skips can lift a point above its dense roof."
    )
    points = pd.concat([roofline_points(result) for result in results])
    legend = (
        *(LegendEntry(phase, symbol=symbol) for phase, (_, symbol) in _PHASES.items()),
        *((LegendEntry("moves no DRAM bytes", symbol=_OFF_CHART[1]),) if (points["dram_bytes"] == 0).any() else ()),
        *_kinds([points]),
    )
    return ChartGroup("Roofline", reading, legend, tuple(charts))


def _roofline(result: Result) -> go.Figure:
    bytes_per_second = result.machine.dram.bandwidth_gb_per_second * 1e9
    peaks, points = roofs(result), roofline_points(result)
    highest = max(peak.operations_per_second for peak in peaks)
    ridges = [peak.operations_per_second / bytes_per_second for peak in peaks]
    finite = points.loc[points["dram_bytes"] > 0, "operations_per_dram_byte"].tolist()
    left, right = min([*finite, *ridges]) / 3, max([*finite, *ridges]) * 4
    bottom = min([left * bytes_per_second, *(points["operations_per_second"] / 2)])
    figure = go.Figure()
    slope = [left, highest / bytes_per_second], [left * bytes_per_second, highest]
    _add_roof(figure, *slope, f"DRAM {number(bytes_per_second / 1e9)} GB/s", "solid")
    for peak, ridge in zip(peaks, ridges, strict=True):
        height = peak.operations_per_second
        label = f"{_text(peak.name)}: {number(height / 1e9)} Gop/s"
        dash = "dot" if peak is peaks[-1] else "solid"
        _add_roof(figure, [ridge, right], [height, height], label, dash)
        figure.add_annotation(
            **dict(x=math.log10(right), y=math.log10(height), text=label),
            **dict(showarrow=False, xanchor="right", yanchor="bottom", font_size=11),
        )
    figure.add_scatter(
        x=points["operations_per_dram_byte"].where(points["dram_bytes"] > 0, right).tolist(),
        y=points["operations_per_second"].tolist(),
        mode="markers",
        marker={
            "size": 10,
            "line_width": 1.5,
            "color": [KIND_COLORS[kind] for kind in points["kind"]],
            "symbol": [
                _PHASES[phase][0] if size else _OFF_CHART[0]
                for phase, size in zip(points["phase"], points["dram_bytes"], strict=True)
            ],
        },
        hoverinfo="text",
        hovertext=[_point_text(point) for point in points.to_dict("records")],
        cliponaxis=False,
    )
    figure.update_layout(**_layout(340))
    figure.update_xaxes(
        title="operations per DRAM byte", type="log", range=[math.log10(left), math.log10(right)], dtick=1
    )
    limits = [math.log10(bottom), math.log10(highest * 2.5)]
    return figure.update_yaxes(title="operations per second", type="log", range=limits, dtick=1, tickformat="~s")
