"""Who takes the time and the energy: bars by operation type, by layer and by component.

by type, by component:  one horizontal bar a machine         by layer: one column a layer, a chart a machine
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from sim.evaluation import Result
from sim.evaluation.activity import energy_per_action_pj
from sim.evaluation.result import ACTION_PREFIX
from sim.study.charts.style import (
    COMPONENT_COLORS,
    KIND_COLORS,
    Chart,
    ChartGroup,
    LegendEntry,
    add_bars,
    empty_figure,
    kind_legend,
    plain,
    wrapped,
)
from sim.study.quantities import ENERGY, TIME, Ladder
from workloads.operations import NO_LAYER

__all__ = ["bar_groups", "component_energies_pj"]

_MOST_LAYER_TICKS = 10
_LAYER_STRIDES = tuple(digit * 10**power for power in range(5) for digit in (1, 2, 5))
"""How many layers may lie between two ticks."""


@dataclass(frozen=True)
class _Quantity:
    """What a bar's length means: a column of the summed operations."""

    name: str
    column: str
    ladder: Ladder


_TIME = _Quantity("Time", "seconds", TIME)
_ENERGY = _Quantity("Energy", "energy_pj", ENERGY)


def bar_groups(results: Sequence[Result]) -> tuple[ChartGroup, ...]:
    """Time by operation type and layer; energy by operation type, layer and component."""
    tables = [_summed(result) for result in results]
    return (
        _by_type(_TIME, results, tables),
        _by_layer(_TIME, results, tables),
        _by_type(_ENERGY, results, tables),
        _by_layer(_ENERGY, results, tables),
        _by_component(results, tables),
    )


def component_energies_pj(result: Result, operations: pd.DataFrame) -> dict[str, float]:
    """Energy of each of the machine's components, pJ, over rows with the action columns of the result."""
    energies = dict.fromkeys(result.machine.parts, 0.0)
    for action, energy_pj in energy_per_action_pj(result.machine).items():
        if ACTION_PREFIX + action in operations:
            energies[action.partition(".")[0]] += energy_pj * float(operations[ACTION_PREFIX + action].sum())
    return energies


def _summed(result: Result) -> pd.DataFrame:
    table = result.by_operation()
    return table.assign(seconds=table["cycles"] / (result.machine.clock_ghz * 1e9))


def _by_type(quantity: _Quantity, results: Sequence[Result], tables: Sequence[pd.DataFrame]) -> ChartGroup:
    charts = []
    for phase in ("prefill", "decode"):
        rows = [table[table["phase"] == phase] for table in tables]
        if not rows[0].empty:
            bars = [_sums(part, quantity.column) for part in rows]
            figure = _machine_bars(results, bars, KIND_COLORS, quantity.ladder)
            charts.append(Chart(f"{quantity.column}-by-type-{phase}", phase.capitalize(), figure))
    reading = (
        "Each bar is what a machine takes in that phase, cut into the types of operation: the shorter the better, and "
        "the widest piece is what to improve first."
    )
    return ChartGroup(f"{quantity.name} by operation type", reading, kind_legend(tables), tuple(charts))


def _by_component(results: Sequence[Result], tables: Sequence[pd.DataFrame]) -> ChartGroup:
    bars = [component_energies_pj(result, table) for result, table in zip(results, tables, strict=True)]
    names = dict.fromkeys(name for bar in bars for name in reversed(bar))
    colors = {name: COMPONENT_COLORS[index % len(COMPONENT_COLORS)] for index, name in enumerate(names)}
    reading = "Each bar is a machine's energy over the whole run, cut into the components of the machine that spend it."
    legend = tuple(LegendEntry(name.replace("_", " "), color) for name, color in colors.items())
    chart = Chart("energy_pj-by-component", "Whole run", _machine_bars(results, bars, colors, ENERGY))
    return ChartGroup("Energy by component", reading, legend, (chart,))


def _machine_bars(
    results: Sequence[Result], bars: Sequence[Mapping[str, float]], colors: Mapping[str, str], ladder: Ladder
) -> go.Figure:
    """One horizontal bar a machine, with its total behind it; pieces in the order of the colors."""
    totals = [sum(bar.values()) for bar in bars]
    unit = ladder.unit_for(max(totals))
    positions = list(range(len(bars)))
    figure = empty_figure(64 + 44 * len(bars))
    for piece, color in colors.items():
        values = [bar.get(piece, 0.0) for bar in bars]
        hover = [
            f"{plain(result.machine.name)}<br>{plain(piece)}: {ladder.text(value)} ({value / total:.1%})"
            for result, value, total in zip(results, values, totals, strict=True)
        ]
        if any(values):
            add_bars(
                figure, {"color": color}, hover, x=[value / unit.size for value in values], y=positions, orientation="h"
            )
    figure.add_scatter(
        x=[total / unit.size for total in totals],
        y=positions,
        text=[f" {ladder.text(total)}" for total in totals],
        mode="text",
        textposition="middle right",
        hoverinfo="skip",
    )
    labels = [wrapped(result.machine.name) for result in results]
    figure.update_layout(barmode="stack", bargap=0.3)
    figure.update_xaxes(title=unit.symbol, range=[0, 1.3 * max(totals) / unit.size])
    return figure.update_yaxes(tickvals=positions, ticktext=labels, autorange="reversed", showgrid=False)


def _sums(operations: pd.DataFrame, column: str) -> dict[str, float]:
    """Sums of a column by kind of operation."""
    sums = operations.groupby("kind", observed=True)[column].sum()
    return {str(kind): float(value) for kind, value in sums.items()}


def _by_layer(quantity: _Quantity, results: Sequence[Result], tables: Sequence[pd.DataFrame]) -> ChartGroup:
    layers = [
        table.groupby(["layer", "kind"], observed=True)[quantity.column].sum().unstack().fillna(0.0) for table in tables
    ]
    largest = max(float(values.sum(axis=1).max()) for values in layers)
    charts = tuple(
        Chart(f"{quantity.column}-by-layer-{index}", result.machine.name, _columns(quantity.ladder, values, largest))
        for index, (result, values) in enumerate(zip(results, layers, strict=True))
    )
    reading = (
        "Each column is one layer over the whole run, on the same scale for all machines; “outside” is what belongs to "
        "no layer (embedding, final norm, head)."
    )
    return ChartGroup(f"{quantity.name} by layer", reading, kind_legend(tables), charts)


def _columns(ladder: Ladder, values: pd.DataFrame, largest: float) -> go.Figure:
    """One column for each row of `values` (a layer), a piece for each of its columns (a kind of operation)."""
    unit = ladder.unit_for(largest)
    layers = values.index.tolist()
    stride = next(stride for stride in _LAYER_STRIDES if len(layers) <= stride * _MOST_LAYER_TICKS)
    places = [-stride if layer == NO_LAYER else layer for layer in layers]
    figure = empty_figure(260)
    for kind, color in KIND_COLORS.items():
        if kind in values:
            pieces = values[kind].tolist()
            hover = [
                f"{_layer_text(layer, 'layer ')}<br>{kind}: {ladder.text(piece)}"
                for layer, piece in zip(layers, pieces, strict=True)
            ]
            add_bars(figure, {"color": color}, hover, x=places, y=[piece / unit.size for piece in pieces])
    # Gaps of less than a pixel would show as a pattern that means nothing.
    figure.update_layout(barmode="stack", bargap=0.15 if stride == 1 else 0)
    ticks = {place: _layer_text(layer) for place, layer in zip(places, layers, strict=True) if place % stride == 0}
    figure.update_xaxes(tickvals=list(ticks), ticktext=list(ticks.values()), tickangle=0, title="layer")
    figure.update_xaxes(showgrid=False, zeroline=False)
    return figure.update_yaxes(title=unit.symbol, range=[0, 1.05 * largest / unit.size])


def _layer_text(layer: int, prefix: str = "") -> str:
    return "outside" if layer == NO_LAYER else f"{prefix}{layer}"
