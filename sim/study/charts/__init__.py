"""The charts of a report, as plotly figures with the sentence that says how to read each.

    Result ──► bars (who takes the time and the energy), roofline (how far from the peaks), timeline (one layer)

`style` holds what they share: colors, layout, and the types that a page shows. A page colors text, grid and background
itself; the figures leave these open.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.evaluation import Result
from sim.study.charts.bars import bar_groups
from sim.study.charts.roofline import roofline_group
from sim.study.charts.style import Chart, ChartGroup, LegendEntry
from sim.study.charts.timeline import timeline_group

__all__ = ["Chart", "ChartGroup", "LegendEntry", "chart_groups"]


def chart_groups(results: Sequence[Result]) -> tuple[ChartGroup, ...]:
    """All charts of a report, in their order; their size does not depend on the number of steps.

    Parameters
    ----------
    results : at least one, all of the same trace
    """
    return (*bar_groups(results), roofline_group(results), timeline_group(results))
