"""Chooses how matrix products are cut: loop order, tile sizes, whole rows of activations, double buffering.

All cuts that fit the scratchpads are estimated at once with a streaming memory; the promising ones are timed with the
real one, and among those of nearly the least time the one that moves least is taken, because it spends less energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isa import InputError
from sim.lowering.candidates import Candidates, Problem, candidates_of
from sim.timing.analytic import NestTiming, time_nests
from sim.timing.bounds import least_cycles
from sim.timing.machine import Machine
from sim.timing.memory import Memory
from sim.timing.nest import Int64, Nest
from sim.timing.totals import Totals

__all__ = ["Choice", "choose_cuts"]

# Worth timing exactly are so many of the fastest cuts whose estimated time is within the first factor of the best, and
# as many of those that move least within the second. Among those within the third of the least time, traffic decides.
_WORTH_TIMING, _WORTH_LESS_TRAFFIC, _NEARLY = 1.5, 1.04, 1.02
_TIMED_EACH = 12
# Cuts of more tiles than this, and than this many times the fewest possible, are not worth timing: they gain nothing
# and take long to simulate. And how many tiles are refused.
_FINE_TILES, _FINE_MULTIPLE = 1 << 14, 16
_MOST_TILES = 1 << 21


@dataclass(frozen=True)
class Choice:
    """The cut that was chosen, and why.

    Parameters
    ----------
    nest : Nest
        The product in that cut.
    timing : NestTiming
        Its time in closed form.
    considered, timed : int
        Cuts that fit, and cuts of which the time was computed.
    fastest_cycles : int
        The least time of those; the chosen one may be slightly slower and move less.
    """

    nest: Nest
    timing: NestTiming
    considered: int
    timed: int
    fastest_cycles: int


def choose_cuts(machine: Machine, problems: Sequence[Problem]) -> list[Choice]:
    """The best cut of each problem; they are searched together, which takes hardly longer than one.

    Raises
    ------
    InputError
        If not even the smallest tile of one fits the scratchpads, or its tiles would be too many to simulate.
    """
    if not problems:
        return []
    candidates = _worth_considering(candidates_of(machine, problems))
    parts = candidates.parts()
    tiles = candidates.nest.visits(np.asarray(3))
    totals = Totals(candidates.nest, Memory.streaming(machine.memory_timings))
    estimate, moved = least_cycles(totals), totals.load_cycles + totals.store_cycles
    for part in parts:
        _check_count(machine, int(tiles[part].min()))
    shortlists = [part.start + _shortlist(estimate[part], moved[part], tiles[part]) for part in parts]
    listed = np.concatenate(shortlists)
    exact = time_nests(candidates.nests_of(listed), Memory.of(machine.memory_timings))
    ranks = _Ranks.of(exact, tiles[listed])
    choices, start = [], 0
    for part, shortlist in zip(parts, shortlists, strict=True):
        end = start + len(shortlist)
        index = start + ranks.least(slice(start, end))
        chosen = candidates.nests_of(listed[index])
        fastest = int(ranks.cycles[start:end].min())
        choices.append(Choice(chosen, exact.take(index, chosen), part.stop - part.start, end - start, fastest))
        start = end
    return choices


def _worth_considering(candidates: Candidates) -> Candidates:
    """Without single places on several cores where two fit: whether the loads of cores meet or pass each other is then
    chance, while computing hides it where there are two."""
    double = candidates.cuts.places > 1
    kept = np.ones(len(double), bool)
    for problem, part in zip(candidates.problems, candidates.parts(), strict=True):
        if problem.cores > 1 and double[part].any():
            kept[part] = double[part]
    return candidates if kept.all() else candidates.only(kept)


def _shortlist(estimate: Int64, moved: Int64, tiles: Int64) -> Int64:
    """The cuts of one problem that are worth timing exactly."""
    finest = min(max(_FINE_TILES, _FINE_MULTIPLE * int(tiles.min())), _MOST_TILES)
    time = np.where(tiles <= finest, estimate, np.iinfo(np.int64).max)
    near = np.flatnonzero(time <= time.min() * _WORTH_TIMING)
    fastest = near[np.lexsort((tiles[near], time[near]))][:_TIMED_EACH]
    nearly = np.flatnonzero(time <= time.min() * _WORTH_LESS_TRAFFIC)
    leanest = nearly[np.lexsort((tiles[nearly], moved[nearly]))][:_TIMED_EACH]
    return np.unique(np.concatenate((fastest, leanest)))


@dataclass(frozen=True, eq=False)
class _Ranks:
    """What decides among cuts that were timed."""

    cycles: Int64
    moved: Int64
    tables: Int64
    tiles: Int64

    @classmethod
    def of(cls, timing: NestTiming, tiles: Int64) -> _Ranks:
        totals = timing.totals
        moved = totals.load_cycles + totals.store_cycles
        return cls(timing.cycles, moved, np.broadcast_to(totals.table_cycles, tiles.shape), tiles)

    def least(self, part: slice) -> int:
        """Among cuts of nearly the least time, the one that moves least, makes the fewest tables, in the fewest
        tiles."""
        cycles, moved, tables, tiles = self.cycles[part], self.moved[part], self.tables[part], self.tiles[part]
        near = np.flatnonzero(cycles <= cycles.min() * _NEARLY)
        return int(near[np.lexsort((cycles[near], tiles[near], tables[near], moved[near]))][0])


def _check_count(machine: Machine, count: int) -> None:
    if count > _MOST_TILES:
        expected = f"scratchpads and work of at most {_MOST_TILES:,} tiles an operation"
        raise InputError(f"machine {machine.name}", "buffers", f"{count:,} tiles in one operation", expected)
