"""Finds out that a loop has become steady, and leaves out the iterations that would be the same again.

Whenever a loop of the leading core begins anew, everything that decides the future is compared with what it was before:
queues, work and results under way with the time that is left, tokens, the channel, positions and pointers. If only the
iterations that are left of one loop have changed, then what happened in between happens again, cycle for cycle, as long
as that loop goes on; it is counted as often as it fits and not simulated. Nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sim.timing.event.channel import Channel
from sim.timing.event.clock import Clock
from sim.timing.event.core import Core
from sim.timing.event.recorder import Recorder

__all__ = ["SteadyLoops"]

# States that are remembered; a loop that repeats later is simulated in full.
_MOST_STATES = 1 << 12


@dataclass(frozen=True)
class _Moment:
    """What was counted until a state: time, iterations left of each core, jobs and busy cycles of each, the channel."""

    cycles: int
    counters: tuple[tuple[int, ...], ...]
    counts: tuple[tuple[int, ...], ...]
    channel_cycles: int


class SteadyLoops:
    """Skips what repeats.

    Parameters
    ----------
    env : Clock
    cores : sequence of Core
    channel : Channel
    recorder : Recorder
        While it is not full, nothing is skipped.
    """

    def __init__(self, env: Clock, cores: Sequence[Core], channel: Channel, recorder: Recorder) -> None:
        self.skipped_cycles = 0
        self._env, self._cores, self._channel, self._recorder = env, cores, channel, recorder
        self._states: dict[Hashable, int] = {}
        self._moments: dict[Hashable, _Moment] = {}

    def observe(self) -> None:
        """At the very end of an instant: compare, if the leading core has begun an iteration, and skip if possible."""
        leader = next((index for index, core in enumerate(self._cores) if core.halted_at_cycles is None), None)
        if leader is None or not self._cores[leader].feed.looped or not self._recorder.is_full:
            return
        self._cores[leader].feed.looped = False
        if len(self._states) >= _MOST_STATES:
            self._states.clear()
            self._moments.clear()
        state = (self._channel.state(), tuple(core.state() for core in self._cores))
        number = self._states.setdefault(state, len(self._states))
        now = self._moment()
        mine = now.counters[leader]
        skipped = False
        for level in range(len(mine)):
            key = number, leader, level, mine[:level], mine[level + 1 :]
            before = self._moments.get(key)
            self._moments[key] = now
            if before is not None and not skipped:
                skipped = self._skip(before, now)

    def _moment(self) -> _Moment:
        counters = tuple(core.feed.counters() for core in self._cores)
        counts = tuple(core.counts() for core in self._cores)
        return _Moment(self._env.now + self.skipped_cycles, counters, counts, self._channel.busy_cycles)

    def _skip(self, before: _Moment, now: _Moment) -> bool:
        """Leave out as many periods as every core has iterations for, and say whether there were any."""
        times, progress = None, []
        for core, old, new in zip(self._cores, before.counters, now.counters, strict=True):
            levels = [level for level in range(len(new)) if old[level] != new[level]]
            if not levels:
                continue
            level, iterations = levels[0], old[levels[0]] - new[levels[0]]
            if len(levels) > 1 or iterations < 0:
                return False
            # The last iteration of a loop does not begin anew, so that one is always left.
            fitting = (new[level] - 1) // iterations
            times = fitting if times is None else min(times, fitting)
            progress.append((core, level, iterations))
        if not times:
            return False
        period = now.cycles - before.cycles
        for core, level, iterations in progress:
            core.feed.skip(level, times * iterations)
        for core, old, new in zip(self._cores, before.counts, now.counts, strict=True):
            core.skip(times * period, tuple(times * (b - a) for a, b in zip(old, new, strict=True)))
        self._channel.skip(times * (now.channel_cycles - before.channel_cycles))
        self._recorder.skip(self._env.now, times, period)
        self.skipped_cycles += times * period
        return True
