"""The laws of memories: scratchpad SRAM and off-chip DRAM.

Registers inside a compute array belong to that array (`cost_models.logic`). Bandwidth and latency are no cost: the
timing models have them.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from cost_models.component import Component
from cost_models.figures import PublishedFigure, figures_named

__all__ = ["SRAM_BYTES_PER_READ", "dram", "dram_technologies", "sram"]

# The published figures are of a 128-bit port; no smaller memory is described.
SRAM_BYTES_PER_READ = 16
BITS_PER_BYTE = 8
UM2_PER_MM2 = 1e6


def sram(bytes: int) -> Component:  # noqa: A002 - the attribute's name in machine files
    """SRAM scratchpad of that many bytes; actions "read_byte" and "write_byte".

    Parameters
    ----------
    bytes : int
        Capacity; 16 or more, one access.

    Notes
    -----
    CACTI at 28 nm for 64, 512 and 2048 KiB with one 128-bit port; between and beyond them a power law of the size
    through the two nearest points ("predicted"). A write is taken to cost what a read costs. A byte costs a sixteenth
    of a full 128-bit access: narrower accesses are dearer than this says.
    """
    read_figures = figures_named("sram read of 128 bit", "pJ")
    area_figures = figures_named("sram area", "mm2")
    byte_pj = _power_law(bytes, _points(read_figures)) / SRAM_BYTES_PER_READ
    return Component(
        class_name="sram",
        attributes={"bytes": bytes},
        area_um2=_power_law(bytes, _points(area_figures)) * UM2_PER_MM2,
        energy_pj={"read_byte": byte_pj, "write_byte": byte_pj},
        node_nm=read_figures[0].node_nm,
        kind="published" if bytes in dict(_points(read_figures)) else "predicted",
        sources=tuple(item.source for item in (*read_figures, *area_figures)),
    )


def _points(figures: tuple[PublishedFigure, ...]) -> list[tuple[int, float]]:
    """(bytes, value) of each figure, smallest first."""
    return sorted((int(dict(item.at)["bytes"]), item.value) for item in figures)


def _power_law(size: int, points: list[tuple[int, float]]) -> float:
    """Log-log interpolation through two or more points, extrapolated along the outermost pair; exact at the points."""
    anchor = max(bisect_right(points, size, key=lambda point: point[0]) - 1, 0)
    left = min(anchor, len(points) - 2)
    (left_size, left_value), (right_size, right_value) = points[left : left + 2]
    exponent = math.log(right_value / left_value) / math.log(right_size / left_size)
    anchor_size, anchor_value = points[anchor]
    return float(anchor_value * (size / anchor_size) ** exponent)


def dram(technology: str) -> Component:
    """Off-chip DRAM; actions "read_byte" and "write_byte"; no area on the chip.

    Parameters
    ----------
    technology : str
        One of `dram_technologies()`.

    Notes
    -----
    Energy of streaming access to open rows, from supply currents. Random access of 64 to 128 bytes costs about twice
    (HBM2, LPDDR4) to three times (DDR4) as much. A write is taken to cost what a read costs.
    """
    transfer = next(item for item in _transfers() if dict(item.at)["technology"] == technology)
    byte_pj = transfer.value * BITS_PER_BYTE
    return Component(
        class_name="dram",
        attributes={"technology": technology},
        area_um2=0.0,
        energy_pj={"read_byte": byte_pj, "write_byte": byte_pj},
        node_nm=transfer.node_nm,
        kind="published",
        sources=(transfer.source,),
    )


def dram_technologies() -> tuple[str, ...]:
    """The technologies that `dram` has a figure for."""
    return tuple(str(dict(item.at)["technology"]) for item in _transfers())


def _transfers() -> tuple[PublishedFigure, ...]:
    return figures_named("dram streaming transfer", "pJ/bit")
