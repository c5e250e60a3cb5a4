"""Timelines as files: Chrome's Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

    Recorder ──spans, samples──► Section (an operation, from a cycle on) ──`write_timeline`──► out.json

A core is a process of the viewer, with a thread for each engine; what all cores share, the memory channel, is a process
of its own, with a thread that names the operations and one that shows where steady loops were skipped. The format is
that of "Trace Event Format" (the Chromium project): an object with `traceEvents`, complete events (`X`) with start and
duration in microseconds, counters (`C`), and metadata (`M`) that name and order processes and threads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from isa.instructions.types import ENGINES
from sim.timing.event import CHANNEL_TRACK, STEADY_TRACK, Recorder, Sample, Span
from workloads.files import whole_file

__all__ = ["MOST_SPANS", "Section", "write_timeline"]

MOST_SPANS = 200_000
"""Spans of work in a file; viewers become slow beyond it."""

_OPERATIONS_TRACK = "operations"
_SHARED_TRACKS = (_OPERATIONS_TRACK, CHANNEL_TRACK, STEADY_TRACK)
_SHARED_PROCESS = 1

Event = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """An operation on the timeline.

    Parameters
    ----------
    name : str
    start_cycles, cycles : int
        When it begins, and how long it takes.
    spans : sequence of Span
    samples : sequence of Sample
        Cycles of both count from the start of the operation.
    left_out : int
        Spans that were not recorded.
    """

    name: str
    start_cycles: int
    cycles: int
    spans: Sequence[Span] = ()
    samples: Sequence[Sample] = ()
    left_out: int = 0

    @classmethod
    def recorded(cls, name: str, start_cycles: int, cycles: int, recorder: Recorder) -> Section:
        """What a recorder has of an operation."""
        spans, samples = tuple(recorder.spans), tuple(recorder.samples)
        return cls(name, start_cycles, cycles, spans, samples, recorder.left_out)


def write_timeline(
    path: Path, sections: Sequence[Section], clock_ghz: float, machine: str = "", most_spans: int = MOST_SPANS
) -> None:
    """Write a timeline.

    Parameters
    ----------
    path : Path
    sections : sequence of Section
        Operations in the order in which they run.
    clock_ghz : float
        In whose cycles all times are.
    machine : str
        Its name, for the file's metadata.
    most_spans : int
        Spans beyond these are left out, which the metadata says; operations are all there. As many samples are kept.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    spans = sum(len(section.spans) for section in sections)
    left_out = max(0, spans - most_spans) + sum(section.left_out for section in sections)
    cores = {span.core for section in sections for span in section.spans if span.core is not None}
    cores |= {sample.core for section in sections for sample in section.samples}
    events = chain(
        _metadata(sorted(cores)),
        (_operation(section, clock_ghz) for section in sections if section.cycles),
        islice(_work(sections, clock_ghz), most_spans),
        islice(_tokens(sections, clock_ghz), most_spans),
    )
    about = {"machine": machine, "clock_ghz": clock_ghz, "spans_left_out": left_out}
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        # One event a line: half a million events are no half a million objects in memory.
        file.write(f'{{"displayTimeUnit": "ns", "otherData": {json.dumps(about)}, "traceEvents": [')
        for index, event in enumerate(events):
            file.write(",\n" if index else "\n")
            file.write(json.dumps(event))
        file.write("\n]}\n")


def _metadata(cores: Sequence[int]) -> Iterator[Event]:
    """Names and order of processes and threads."""
    processes: list[tuple[int, str, tuple[str, ...]]] = [(_SHARED_PROCESS, "shared", _SHARED_TRACKS)]
    processes += [(_process(core), f"core {core}", ENGINES) for core in cores]
    for process, name, tracks in processes:
        yield _named("process_name", process, 0, name=name)
        yield _named("process_sort_index", process, 0, sort_index=process)
        for thread, track in enumerate(tracks, 1):
            yield _named("thread_name", process, thread, name=track)
            yield _named("thread_sort_index", process, thread, sort_index=thread)


def _operation(section: Section, clock_ghz: float) -> Event:
    span = Span(None, _OPERATIONS_TRACK, section.name, 0, section.cycles)
    return _complete(span, section.start_cycles, clock_ghz)


def _work(sections: Sequence[Section], clock_ghz: float) -> Iterator[Event]:
    for section in sections:
        for span in sorted(section.spans, key=lambda span: span.start_cycles):
            yield _complete(span, section.start_cycles, clock_ghz)


def _tokens(sections: Sequence[Section], clock_ghz: float) -> Iterator[Event]:
    for section in sections:
        for sample in section.samples:
            time = _microseconds(section.start_cycles + sample.at_cycles, clock_ghz)
            counted = {"tokens": sample.tokens}
            yield {"name": "tokens", "ph": "C", "pid": _process(sample.core), "tid": 0, "ts": time, "args": counted}


def _complete(span: Span, offset_cycles: int, clock_ghz: float) -> Event:
    tracks: Sequence[str] = _SHARED_TRACKS if span.core is None else ENGINES
    start, end = offset_cycles + span.start_cycles, offset_cycles + span.end_cycles
    time = _microseconds(start, clock_ghz)
    about: Event = {"start_cycles": start, "cycles": end - start}
    if span.position is not None:
        about["instruction"] = span.position
    return {
        "name": span.name,
        "cat": span.track,
        "ph": "X",
        "pid": _SHARED_PROCESS if span.core is None else _process(span.core),
        "tid": tracks.index(span.track) + 1,
        "ts": time,
        "dur": round(_microseconds(end, clock_ghz) - time, 3),
        "args": about,
    }


def _microseconds(cycles: int, clock_ghz: float) -> float:
    """In whole nanoseconds, which is what viewers keep, so that what follows immediately never overlaps."""
    return round(cycles / (clock_ghz * 1e3), 3)


def _process(core: int) -> int:
    return _SHARED_PROCESS + 1 + core


def _named(event: str, process: int, thread: int, **about: object) -> Event:
    return {"name": event, "ph": "M", "pid": process, "tid": thread, "ts": 0, "args": about}
