"""The roofline of a machine under a run: how fast it could be, and where each matrix operation stands below that.

           operations a second
      array peak ─────────────/──────────      a point under the slope waits for DRAM,
     vector peak ────────/────/──────────      one under a roof for the array or the vector unit
                        / ● /
                   ────/───/──── operations per DRAM byte

An operation is a multiplication or an addition: two for each multiply-accumulate. Source of the model: Williams,
Waterman, Patterson, "Roofline", CACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from isa import format_named
from sim.evaluation import Result
from sim.study.charts.style import (
    KIND_COLORS,
    NEUTRAL,
    Chart,
    ChartGroup,
    LegendEntry,
    empty_figure,
    kind_legend,
    plain,
)
from sim.study.quantities import number
from sim.timing import Machine
from workloads.operations import MATRIX_KINDS, NO_LAYER

__all__ = ["OPERATIONS_PER_MAC", "Roof", "roofline_group", "roofline_points", "roofs"]

OPERATIONS_PER_MAC = 2

_SYMBOLS = {"prefill": ("circle", "●"), "decode": ("diamond-open", "◇")}
_WITHOUT_DRAM = ("triangle-right-open", "▷")


@dataclass(frozen=True)
class Roof:
    """The dense peak of a unit: a machine that skips zero terms may rise above it."""

    name: str
    operations_per_second: float


def roofs(result: Result) -> tuple[Roof, ...]:
    """The array's peak for each weight format of the run that it supports, and the vector unit's peak."""
    machine, table = result.machine, result.operations
    pairs = table.loc[table["kind"] == "mpgemm", ["input_format", "weight_format"]].drop_duplicates()
    found = []
    for activations, weights in pairs.itertuples(index=False):
        weight_format = format_named(weights)
        if machine.compute.supports(format_named(activations), weight_format):
            macs_per_cycle = machine.lanes / machine.compute.pass_cycles(
                machine.compute.weight_type(weight_format).bits
            )
            found.append(Roof(f"array, {weights} weights", _operations_per_second(machine, macs_per_cycle)))
    return *found, Roof("vector unit", _operations_per_second(machine, machine.vector.lanes))


def _operations_per_second(machine: Machine, macs_per_cycle: float) -> float:
    return OPERATIONS_PER_MAC * macs_per_cycle * machine.clock_ghz * 1e9


def roofline_points(result: Result) -> pd.DataFrame:
    """The matrix operations of a run, equal names of a phase taken together over layers and steps.

    Returns
    -------
    DataFrame with `phase`, `name`, `kind`, `count`, `layers` (how many have it; 0 for what is outside the layers),
    `dram_bytes`, `operations_per_dram_byte` (infinite where no byte moves), `operations_per_second`, `unit` ("array" or
    "vector unit") and `utilization` of that unit (0 to 1).
    """
    keys = ["phase", "name", "kind"]
    table = result.operations[result.operations["kind"].isin(MATRIX_KINDS)]
    macs = table[["batch", "m", "k", "n"]].astype("float64").prod(axis=1)
    dram_bytes = table["dram_read_bytes"] + table["dram_write_bytes"]
    groups = table.assign(macs=macs, dram_bytes=dram_bytes).groupby(keys, observed=True, sort=False)
    sums = groups[["macs", "dram_bytes", "cycles", "useful_lane_cycles"]].sum()
    layers = table[table["layer"] != NO_LAYER].groupby(keys, observed=True)["layer"].nunique()
    on_array = sums["useful_lane_cycles"] > 0
    of_array = sums["useful_lane_cycles"] / (sums["cycles"] * result.machine.lanes)
    of_vector = sums["macs"] / (sums["cycles"] * result.machine.vector.lanes)
    points = pd.DataFrame(
        {
            "count": groups.size(),
            "layers": layers.reindex(sums.index, fill_value=0),
            "dram_bytes": sums["dram_bytes"],
            "operations_per_dram_byte": OPERATIONS_PER_MAC * sums["macs"] / sums["dram_bytes"],
            "operations_per_second": _operations_per_second(result.machine, 1.0) * sums["macs"] / sums["cycles"],
            "unit": on_array.map({True: "array", False: "vector unit"}),
            "utilization": of_array.where(on_array, of_vector),
        }
    )
    return points.reset_index()


def roofline_group(results: Sequence[Result]) -> ChartGroup:
    """One roofline a machine, on the same scales."""
    points = [roofline_points(result) for result in results]
    limits = _limits(results, pd.concat(points))
    charts = tuple(
        Chart(f"roofline-{index}", result.machine.name, _roofline(result, table, limits))
        for index, (result, table) in enumerate(zip(results, points, strict=True))
    )
    reading = (
        "Each point is a matrix operation (over all layers and steps): on the slope it waits for DRAM, on a flat roof "
        "its unit is the limit, and below both it loses time to unfilled lanes, fill and drain; zero terms that a "
        "machine skips can lift a point above its dense roof."
    )
    symbols = [LegendEntry(phase, symbol=symbol) for phase, (_, symbol) in _SYMBOLS.items()]
    if any((table["dram_bytes"] == 0).any() for table in points):
        symbols.append(LegendEntry("moves no DRAM bytes (drawn at the right edge)", symbol=_WITHOUT_DRAM[1]))
    return ChartGroup("Roofline", reading, (*symbols, *kind_legend(points)), charts)


@dataclass(frozen=True)
class _Limits:
    """Ends of the axes: operations per DRAM byte, operations per second."""

    left: float
    right: float
    bottom: float
    top: float


def _limits(results: Sequence[Result], points: pd.DataFrame) -> _Limits:
    """Ends that leave every point, the whole of every roof, and a line of text in sight."""
    slopes = [_dram_bytes_per_second(result) for result in results]
    peaks = [max(roof.operations_per_second for roof in roofs(result)) for result in results]
    ridges = [peak / slope for peak, slope in zip(peaks, slopes, strict=True)]
    intensities = [*points.loc[points["dram_bytes"] > 0, "operations_per_dram_byte"], *ridges]
    left, right = min(intensities) / 3, max(intensities) * 5
    bottom = min(left * min(slopes), *points["operations_per_second"]) / 2
    return _Limits(left, right, bottom, top=3 * max(*peaks, *points["operations_per_second"]))


def _dram_bytes_per_second(result: Result) -> float:
    return result.machine.dram.bandwidth_gb_per_second * 1e9


def _roofline(result: Result, points: pd.DataFrame, limits: _Limits) -> go.Figure:
    figure = empty_figure(340)
    _draw_roofs(figure, result, limits)
    moves = points["dram_bytes"] > 0
    markers = [
        _SYMBOLS[phase][0] if any_bytes else _WITHOUT_DRAM[0]
        for phase, any_bytes in zip(points["phase"], moves, strict=True)
    ]
    colors = [KIND_COLORS[kind] for kind in points["kind"]]
    figure.add_scatter(
        x=points["operations_per_dram_byte"].where(moves, limits.right).tolist(),
        y=points["operations_per_second"].tolist(),
        mode="markers",
        marker={"size": 10, "line_width": 2, "line_color": colors, "color": colors, "symbol": markers},
        hoverinfo="text",
        hovertext=[_point_text(point) for _, point in points.iterrows()],
        cliponaxis=False,
    )
    x, y = ([math.log10(end) for end in ends] for ends in ((limits.left, limits.right), (limits.bottom, limits.top)))
    figure.update_xaxes(title="operations per DRAM byte", type="log", range=x, dtick=1)
    return figure.update_yaxes(title="operations per second", type="log", range=y, dtick=1, tickformat="~s")


def _draw_roofs(figure: go.Figure, result: Result, limits: _Limits) -> None:
    """The slope up to the highest roof, every roof from where it leaves the slope, and their names."""
    slope, peaks = _dram_bytes_per_second(result), roofs(result)
    for peak in peaks:
        height = peak.operations_per_second
        _add_line(figure, [height / slope, limits.right], [height, height])
        # The array's label above its roof, the vector unit's below, in case both peaks are equal.
        anchor = "top" if peak is peaks[-1] else "bottom"
        label = f"{plain(peak.name)}: {number(height / 1e9)} Gop/s"
        _add_label(figure, label, limits.right, height, xanchor="right", yanchor=anchor)
    highest = max(peak.operations_per_second for peak in peaks)
    _add_line(figure, [limits.left, highest / slope], [limits.left * slope, highest])
    label = f"slope: DRAM, {number(slope / 1e9)} GB/s"
    _add_label(figure, label, limits.left, limits.top, xanchor="left", yanchor="top")


def _add_line(figure: go.Figure, x: list[float], y: list[float]) -> None:
    figure.add_scatter(x=x, y=y, mode="lines", line={"color": NEUTRAL, "width": 2}, hoverinfo="skip")


def _add_label(figure: go.Figure, text: str, x: float, y: float, **anchors: str) -> None:
    place = {"x": math.log10(x), "y": math.log10(y), "showarrow": False}
    figure.add_annotation(text=text, font_size=11, **place, **anchors)


def _point_text(point: pd.Series[Any]) -> str:
    """What hovering over a point shows."""
    layers = f"in {point['layers']} layers" if point["layers"] else "outside the layers"
    intensity = f"{number(point['operations_per_dram_byte'])} operations per DRAM byte"
    return "<br>".join(
        [
            f"<b>{plain(point['name'])}</b> ({point['kind']}), {point['phase']}, {layers}",
            f"{number(point['operations_per_second'] / 1e9)} Gop/s",
            intensity if point["dram_bytes"] else "moves no DRAM bytes",
            f"utilization of the {point['unit']}: {point['utilization']:.1%}",
        ]
    )
