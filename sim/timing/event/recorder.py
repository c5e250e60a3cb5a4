"""What a timeline shows of a simulation: spans of engines and of the memory channel, tokens, and skipped time.

A recorder sees everything until it has `most_spans` spans, and until then nothing is skipped. From then on steady loops
are: each skip is a span of its own, which says how often the iterations before it repeat, and spans of work are not
kept any more but counted. A recorder that is given to one simulation after the other puts them one after the other.
How all this is written to a file is the subject of `sim.timing.timeline`.
"""

from __future__ import annotations

from typing import NamedTuple

from isa.instructions.types import ENGINES
from sim.timing.event.sources import Job

__all__ = ["CHANNEL_TRACK", "STEADY_TRACK", "Recorder", "Sample", "Span"]

CHANNEL_TRACK = "memory channel"
STEADY_TRACK = "steady loop"
"""Tracks besides those of the engines: who has the channel, and time that was not simulated."""


class Span(NamedTuple):
    """Something that takes a time.

    Parameters
    ----------
    core : int or None
        None for what all cores share.
    track : str
        An engine, or one of the two tracks besides them.
    name : str
    start_cycles, end_cycles : int
    position : int or None
        Of the instruction in its program (or of the task in its list).
    """

    core: int | None
    track: str
    name: str
    start_cycles: int
    end_cycles: int
    position: int | None = None


class Sample(NamedTuple):
    """The number of tokens in all counters of a core, from a cycle on."""

    core: int
    at_cycles: int
    tokens: int


class Recorder:
    """Collects what happens.

    Parameters
    ----------
    most_spans : int
        Spans of work that are kept, and until which nothing is skipped. As many skips are kept, and as many samples.

    Attributes
    ----------
    spans : list of Span
        In the order in which they end.
    samples : list of Sample
    left_out : int
        Spans of work that were not kept, those in skipped time not counted.
    is_full : bool
        Whether spans of work are not kept any more.
    """

    def __init__(self, most_spans: int = 20_000) -> None:
        self.spans: list[Span] = []
        self.samples: list[Sample] = []
        self.left_out = 0
        self.is_full = most_spans <= 0
        self._most_spans = most_spans
        self._offset_cycles = self._finished_cycles = self._skips = 0
        self._tokens: dict[int, int] = {}

    def work(self, core: int, job: Job, start: int, end: int) -> None:
        """An engine has done a job; cycles are those of the simulation, in which skipped time does not count."""
        if self.is_full:
            self.left_out += 1
            return
        self._keep(Span(core, job.task.engine, job.task.name, start, end, job.position))

    def channel(self, requester: int, start: int, end: int) -> None:
        """Requester `core * len(ENGINES) + engine` has had the channel."""
        if self.is_full:
            self.left_out += 1
            return
        core, engine = divmod(requester, len(ENGINES))
        self._keep(Span(None, CHANNEL_TRACK, f"core {core} {ENGINES[engine]}", start, end))

    def tokens(self, core: int, at: int, tokens: int) -> None:
        """A core has so many tokens in its counters."""
        if len(self.samples) < self._most_spans and self._tokens.get(core) != tokens:
            self._tokens[core] = tokens
            self.samples.append(Sample(core, at + self._offset_cycles, tokens))

    def skip(self, now: int, times: int, period_cycles: int) -> None:
        """A period was left out `times` times."""
        if self._skips < self._most_spans:
            self._skips += 1
            name = f"the {period_cycles} cycles before, {times} times more"
            self._keep(Span(None, STEADY_TRACK, name, now, now + times * period_cycles))
        self._offset_cycles += times * period_cycles

    def finish(self, cycles: int) -> None:
        """The simulation is over after so many cycles, skipped time included; another one begins then."""
        self._finished_cycles += cycles
        self._offset_cycles = self._finished_cycles
        self._tokens.clear()

    def _keep(self, span: Span) -> None:
        start, end = span.start_cycles + self._offset_cycles, span.end_cycles + self._offset_cycles
        self.spans.append(span._replace(start_cycles=start, end_cycles=end))
        self.is_full = len(self.spans) - self._skips >= self._most_spans
