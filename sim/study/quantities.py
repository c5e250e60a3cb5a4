"""Quantities for people: a value in the unit that suits its size, three significant digits, thousands separators.

Results keep one unit a quantity (seconds, pJ, µm²); only what is read by people goes through here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["AREA", "ENERGY", "TIME", "Ladder", "Unit", "number"]


@dataclass(frozen=True)
class Unit:
    """A unit, and how much of the ladder's base unit it is."""

    symbol: str
    size: float


@dataclass(frozen=True)
class Ladder:
    """The units of one quantity, ascending; values that come in are in the base unit."""

    units: tuple[Unit, ...]

    def unit_for(self, largest: float) -> Unit:
        """The largest unit in which a value is at least 1; the smallest unit if it is in none."""
        fitting = [unit for unit in self.units if abs(largest) >= unit.size]
        return fitting[-1] if fitting else self.units[0]

    def text(self, value: float) -> str:
        """The value and its unit: `TIME.text(0.0227)` is "22.7 ms"."""
        unit = self.unit_for(value)
        return f"{number(value / unit.size)} {unit.symbol}"


TIME = Ladder((Unit("ns", 1e-9), Unit("µs", 1e-6), Unit("ms", 1e-3), Unit("s", 1.0)))
"""From seconds."""
ENERGY = Ladder((Unit("pJ", 1.0), Unit("nJ", 1e3), Unit("µJ", 1e6), Unit("mJ", 1e9), Unit("J", 1e12)))
"""From picojoules."""
AREA = Ladder((Unit("mm²", 1e6),))
"""From square micrometres."""


def number(value: float) -> str:
    """Three significant digits, more before the point if there are more: "0.00912", "22.7", "10,730"."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, digits)}f}"
