"""One published figure and ours, and what several of them amount to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

__all__ = ["Item", "Kind", "figures", "order_kept", "summary"]

Kind = Literal["exact", "predicted", "calibrated"]


@dataclass(frozen=True)
class Item:
    """A figure.

    Parameters
    ----------
    name : str
    published, ours : float
    unit : str
    kind : {"exact", "predicted", "calibrated"}
    group : str
        Figures of one group differ in one thing only, so that their order means something.
    """

    name: str
    published: float
    ours: float
    unit: str
    kind: Kind
    group: str

    @property
    def error(self) -> float:
        """Ours over the published one, minus 1."""
        return self.ours / self.published - 1


def figures(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of published figures, whose comments begin with #."""
    for row in pd.read_csv(path, comment="#").to_dict("records"):
        yield {str(name): value for name, value in row.items()}


def order_kept(items: Iterable[Item], least_difference: float = 0.0) -> tuple[int, int]:
    """Of the pairs within a group that the publication tells apart, how many stand in the same order, and how many
    there are.

    Parameters
    ----------
    items : iterable of Item
    least_difference : float
        Pairs that differ by a smaller share are not told apart.
    """
    groups = defaultdict(list)
    for item in items:
        groups[item.group].append(item)
    kept = total = 0
    for members in groups.values():
        for first, second in combinations(members, 2):
            published = np.log(first.published / second.published)
            if abs(published) > np.log1p(least_difference):
                total += 1
                kept += bool(published * np.log(first.ours / second.ours) > 0)
    return kept, total


def summary(items: Iterable[Item]) -> dict[str, float]:
    """Mean, median and worst absolute error."""
    errors = np.abs([item.error for item in items])
    return {
        "mean_absolute_error": float(errors.mean()),
        "median_error": float(np.median(errors)),
        "worst_error": float(errors.max()),
    }
