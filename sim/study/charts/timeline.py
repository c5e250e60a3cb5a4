"""The timeline of one layer: its operations one after the other, each cut into what the array does meanwhile.

input_layernorm  ▌
q_proj            ░▓▓▓▓▓▒▒·        ░ fill  ▓ compute  ▒ stall  · drain
k_proj                     ░▓▒·
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from sim.evaluation import Result
from sim.study.charts.style import (
    KIND_COLORS,
    Chart,
    ChartGroup,
    LegendEntry,
    add_bars,
    empty_figure,
    kind_legend,
    plain,
)
from sim.study.quantities import TIME

__all__ = ["layer_timeline", "timeline_group"]

_LAYER = 0

# How each part of an operation's time is drawn, in its order: plotly's pattern, and a sign like it for the legend.
_SEGMENTS = {"fill": (".", "░"), "compute": ("", "■"), "stall": ("/", "▨"), "drain": ("x", "▩")}


def layer_timeline(result: Result, phase: str) -> pd.DataFrame:
    """Layer 0 in one step: the prefill, or the decode step in the middle of the run.

    Returns
    -------
    DataFrame, one row an operation in order (equal names of sequences of different length are one), with `name`,
    `kind`, the seconds `fill`, `compute`, `stall` and `drain`, `start_seconds`, and `bound_by` (of the longest). Empty
    if the run has no such phase.
    """
    table = result.operations
    table = table[(table["phase"] == phase) & (table["layer"] == _LAYER)]
    steps = table["step"].unique()
    if not len(steps):
        return pd.DataFrame()
    table = table[table["step"] == steps[len(steps) // 2]]
    groups = table.groupby(["name", "kind"], observed=True, sort=False)
    cycles: pd.DataFrame = groups[[f"{segment}_cycles" for segment in _SEGMENTS]].sum()
    timeline = cycles.set_axis(list(_SEGMENTS), axis=1) / (result.machine.clock_ghz * 1e9)
    ends = timeline.sum(axis=1).cumsum()
    timeline["start_seconds"] = ends.shift(fill_value=0.0)
    timeline["bound_by"] = table.loc[groups["cycles"].idxmax(), "bound_by"].tolist()
    return timeline.reset_index()


def timeline_group(results: Sequence[Result]) -> ChartGroup:
    """A timeline for each phase and machine."""
    timelines = {
        (phase, index): layer_timeline(result, phase)
        for phase in ("prefill", "decode")
        for index, result in enumerate(results)
    }
    shown = {key: timeline for key, timeline in timelines.items() if not timeline.empty}
    charts = [
        Chart(f"timeline-{phase}-{index}", _title(results[index], phase, timeline), _gantt(timeline))
        for (phase, index), timeline in shown.items()
    ]
    reading = (
        "Operations follow one another from top to bottom, in the prefill and in the decode step in the middle of the "
        "run: fill waits for the first data, compute is work, stall is waiting in between (drawn behind the work), and "
        "drain is the way out; every chart has its own time axis."
    )
    legend = [LegendEntry(segment, symbol=symbol) for segment, (_, symbol) in _SEGMENTS.items()]
    return ChartGroup(f"Timeline of layer {_LAYER}", reading, (*legend, *kind_legend(shown.values())), tuple(charts))


def _title(result: Result, phase: str, timeline: pd.DataFrame) -> str:
    return f"{result.machine.name}, {phase}: {TIME.text(_seconds(timeline))}"


def _seconds(timeline: pd.DataFrame) -> float:
    return float(timeline[list(_SEGMENTS)].to_numpy().sum())


def _gantt(timeline: pd.DataFrame) -> go.Figure:
    end = _seconds(timeline)
    unit = TIME.unit_for(end)
    positions = list(range(len(timeline)))
    colors = [KIND_COLORS[kind] for kind in timeline["kind"]]
    figure = empty_figure(60 + 18 * len(timeline))
    start = timeline["start_seconds"]
    for segment, (shape, _) in _SEGMENTS.items():
        duration = timeline[segment]
        hover = [
            f"<b>{plain(name)}</b> ({kind})<br>{segment}: {TIME.text(seconds)}<br>bound by {bound_by}"
            for name, kind, seconds, bound_by in timeline[["name", "kind", segment, "bound_by"]].itertuples(index=False)
        ]
        marker = {"color": colors, "pattern": {"shape": shape, "size": 5, "solidity": 0.4}}
        bars = {"x": (duration / unit.size).tolist(), "base": (start / unit.size).tolist(), "y": positions}
        add_bars(figure, marker, hover, orientation="h", **bars)
        start = start + duration
    figure.update_layout(barmode="overlay", bargap=0.15)
    figure.update_xaxes(title=unit.symbol, range=[0, 1.02 * end / unit.size])
    figure.update_yaxes(tickvals=positions, ticktext=[plain(name) for name in timeline["name"]], tickfont_size=11)
    return figure.update_yaxes(range=[len(timeline) - 0.4, -0.6], showgrid=False, zeroline=False)
