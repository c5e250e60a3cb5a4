"""The report of a run as one HTML page that needs nothing else: no network, no files beside it.

    Report (text, trace, results, fidelities compared) ──► figures, tables ──► templates/report.html.j2 ──► HTML

The page's words, layout and script are in the template, the figures in `sim.study.charts`; what is counted here are
the rows of the tables. Texts of the run are untrusted and escaped everywhere (jinja2's autoescape in the page, `plain`
in the charts). Nothing here writes files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from cost_models import Component
from sim.evaluation import Result
from sim.evaluation.fidelity import AGREEMENT
from sim.study.charts import chart_groups
from sim.study.quantities import AREA, ENERGY, TIME, number
from sim.timing import Machine
from workloads import Trace

__all__ = ["Agreement", "Deviation", "Report", "agreement", "render_report"]

_REASONS = ("fill", "drain", "contention")


@dataclass(frozen=True)
class Report:
    """What a report tells.

    Parameters
    ----------
    title : str
    prompt, text : str
        The prompt, and the whole text: prompt and continuation. Empty for a run that generated nothing.
    trace : Trace
        What was simulated.
    results : tuple of Result
        One a machine, all of this trace.
    comparisons : tuple of DataFrame
        For each result, in their order, what `compare_fidelities` gives for its machine.
    created, command : str
        When and by which command the run was made.
    """

    title: str
    prompt: str
    text: str
    trace: Trace
    results: tuple[Result, ...]
    comparisons: tuple[pd.DataFrame, ...]
    created: str
    command: str


@dataclass(frozen=True)
class Deviation:
    """An operation on which the fidelities do not agree: how often it runs, its share of the run's time (0 to 1), the
    worst relative error of the analytic model, and why."""

    phase: str
    name: str
    count: int
    share: float
    worst_error: float
    reason: str


@dataclass(frozen=True)
class Agreement:
    """Analytic against event on one machine.

    Parameters
    ----------
    machine : str
    share : float
        Part of the event model's time, 0 to 1, in operations on which both agree within `AGREEMENT`.
    error : float
        Analytic over event cycles of the whole run, minus 1.
    deviations : tuple of Deviation
        The other operations, largest share first.
    """

    machine: str
    share: float
    error: float
    deviations: tuple[Deviation, ...]

    def share_of(self, reason: str) -> float:
        """Part of the event model's time, 0 to 1, in operations that differ for this reason."""
        return sum(deviation.share for deviation in self.deviations if deviation.reason == reason)


def agreement(machine: str, comparison: pd.DataFrame) -> Agreement:
    """Sums up what `compare_fidelities` found; operations of one name, phase and reason are taken together.

    Equal operations count with the cycles of the one that differs most, as the comparison lists them.
    """
    times = comparison["event_cycles"] * comparison["count"]
    analytic_times = comparison["analytic_cycles"] * comparison["count"]
    total = float(times.sum())
    weighted = comparison.assign(share=times / total)
    deviating = weighted[weighted["reason"] != ""]
    deviations = [
        Deviation(
            phase=str(rows["phase"].iloc[0]),
            name=str(rows["name"].iloc[0]),
            count=int(rows["count"].sum()),
            share=float(rows["share"].sum()),
            worst_error=max(rows["error"].tolist(), key=abs),
            reason=str(rows["reason"].iloc[0]),
        )
        for _, rows in deviating.groupby(["phase", "name", "reason"], observed=True, sort=False)
    ]
    return Agreement(
        machine=machine,
        share=1 - sum(deviation.share for deviation in deviations),
        error=float(analytic_times.sum()) / total - 1,
        deviations=tuple(sorted(deviations, key=lambda deviation: -deviation.share)),
    )


def render_report(report: Report) -> str:
    """The report as one HTML document.

    Raises
    ------
    ValueError
        If there is no result, or not one comparison for each.
    """
    if not report.results:
        raise ValueError("a report needs at least one result")
    groups = chart_groups(report.results)
    figures = [json.loads(chart.figure.to_json()) | {"name": chart.name} for group in groups for chart in group.charts]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            identity=report.trace.identity,
            architecture=report.trace.architecture,
            groups=groups,
            figures=figures,
            agreements=[
                agreement(result.machine.name, comparison)
                for result, comparison in zip(report.results, report.comparisons, strict=True)
            ],
            tolerance=AGREEMENT,
            reasons=_REASONS,
            source_numbers=_source_numbers(report.results),
            plotly_js=get_plotlyjs(),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sim.study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "area": AREA.text,
        "energy": ENERGY.text,
        "time": TIME.text,
        "number": number,
        "percent": "{:.1%}".format,
        "signed_percent": _signed_percent,
    }
    environment.tests["of_another_node"] = _of_another_node
    return environment


def _signed_percent(value: float) -> str:
    """A relative error with its sign, zero without."""
    return f"{value:+.2%}" if abs(value) >= 0.5e-4 else "0.00%"


def _of_another_node(component: Component, machine: Machine) -> bool:
    """Whether a component's figures stand for another technology node than the machine's; node 0 is no logic node."""
    return component.node_nm not in (0, machine.technology_nm)


def _source_numbers(results: Sequence[Result]) -> dict[str, int]:
    """The citations of all components, numbered from 1 in the order in which they are first needed."""
    parts = (part for result in results for part in result.machine.parts.values())
    citations = dict.fromkeys(source for part in parts for source in part.component.sources)
    return {source: index for index, source in enumerate(citations, 1)}
