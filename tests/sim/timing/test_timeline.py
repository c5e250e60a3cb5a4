"""Timelines follow the rules of Chrome's Trace Event Format, and show what was simulated."""

import json
from collections import defaultdict
from itertools import pairwise

import pytest
from event_programs import PatternMemory, Tiling, source_of
from hypothesis import given
from hypothesis import strategies as st
from varied_machines import machine_of

from isa import InputError
from isa.instructions.types import ENGINES
from sim.timing.event import CHANNEL_TRACK, STEADY_TRACK, Recorder, Span, simulate_programs
from sim.timing.timeline import Section, write_timeline

MEMORY = PatternMemory(50, (7,))
TILING = Tiling((3,), 200, 2, 4096, 64, 256, 64, (4096, 64, 256), "overwrite", fenced=False)
REQUIRED = {
    "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"},
    "C": {"name", "ph", "ts", "pid", "tid", "args"},
    "M": {"name", "ph", "ts", "pid", "tid", "args"},
}


def checked_events(path) -> list[dict]:
    """The events of a file that keeps the format's rules."""
    document = json.loads(path.read_text())
    assert document["displayTimeUnit"] in ("ms", "ns")
    events = document["traceEvents"]
    declared, ends, times = set(), defaultdict(list), {}
    for event in events:
        assert event.keys() == REQUIRED[event["ph"]]
        assert type(event["pid"]) is type(event["tid"]) is int
        assert type(event["ts"]) in (int, float)
        thread = event["pid"], event["tid"]
        if event["ph"] == "M":
            declared.add((event["name"], *thread))
            assert event["name"] in ("process_name", "process_sort_index", "thread_name", "thread_sort_index")
            continue
        assert ("process_name", event["pid"], 0) in declared
        key = event["ph"], *thread
        assert event["ts"] >= times.get(key, 0), "events of a thread are in order"
        times[key] = event["ts"]
        if event["ph"] == "C":
            assert all(type(value) in (int, float) for value in event["args"].values())
            continue
        assert type(event["dur"]) in (int, float)
        assert event["dur"] >= 0
        assert ("thread_name", *thread) in declared
        end = round(event["ts"] + event["dur"], 3)
        while ends[thread] and ends[thread][-1] <= event["ts"]:
            ends[thread].pop()
        assert not ends[thread] or end <= ends[thread][-1], "events of a thread are nested or apart"
        ends[thread].append(end)
    return events


def simulated(cores: int = 2, most_spans: int = 20_000):
    recorder = Recorder(most_spans)
    sources = [source_of(TILING.program(), MEMORY) for _ in range(cores)]
    return recorder, simulate_programs(machine_of(), sources, MEMORY, recorder)


def of_thread(events: list[dict], name: str) -> list[dict]:
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == name
    }
    return [event for event in events if event["ph"] == "X" and (event["pid"], event["tid"]) in threads]


@pytest.mark.parametrize("clock_ghz", [0.3, 1.0, 2.7])
@pytest.mark.parametrize("most_spans", [40, 20_000])
def test_a_timeline_of_two_operations_on_two_cores_keeps_the_rules(tmp_path, clock_ghz, most_spans):
    recorder, timing = simulated(most_spans=most_spans)
    names = ("q_proj", 'a "quoted" name\n')
    sections = [
        Section.recorded(name, index * timing.cycles, timing.cycles, recorder) for index, name in enumerate(names)
    ]
    write_timeline(tmp_path / "out.json", sections, clock_ghz, "mac")
    events = checked_events(tmp_path / "out.json")
    assert [event["name"] for event in of_thread(events, "operations")] == list(names)
    assert [event["args"]["cycles"] for event in of_thread(events, "operations")] == [timing.cycles] * 2
    assert {event["name"] for event in events if event["ph"] == "C"} == {"tokens"}
    expected = timing.cycles / (clock_ghz * 1e3)
    assert of_thread(events, "operations")[1]["ts"] == pytest.approx(expected, abs=0.001)


def test_the_spans_of_a_timeline_are_the_busy_cycles_of_the_engines(tmp_path):
    recorder, timing = simulated(cores=1)
    assert timing.skipped_cycles == 0
    write_timeline(tmp_path / "out.json", [Section.recorded("all", 0, timing.cycles, recorder)], 1.0)
    events = checked_events(tmp_path / "out.json")
    for engine, busy_cycles, jobs in zip(ENGINES, timing.busy_cycles, timing.jobs, strict=True):
        spans = of_thread(events, engine)
        # A `sync` holds its engine for a cycle without making it busy.
        worked = sum(event["args"]["cycles"] for event in spans if event["name"] != "sync")
        assert (worked, len(spans)) == (busy_cycles, jobs)
    carried = sum(event["args"]["cycles"] for event in of_thread(events, CHANNEL_TRACK))
    assert carried == timing.memory_busy_cycles
    assert all("instruction" in event["args"] for event in of_thread(events, "array"))


def test_what_was_skipped_is_a_span_of_its_own_and_nothing_else_moves(tmp_path):
    (recorder, timing), (whole, complete) = simulated(1, 60), simulated(1)
    write_timeline(tmp_path / "out.json", [Section.recorded("all", 0, timing.cycles, recorder)], 1.0)
    events = checked_events(tmp_path / "out.json")
    steady = of_thread(events, STEADY_TRACK)
    assert timing.cycles == complete.cycles
    assert sum(event["args"]["cycles"] for event in steady) == timing.skipped_cycles > 0
    assert all("times more" in event["name"] for event in steady)
    assert [span for span in recorder.spans if span.track != STEADY_TRACK] == whole.spans[:60]
    about = json.loads((tmp_path / "out.json").read_text())["otherData"]
    assert about["spans_left_out"] == recorder.left_out > 0


def test_simulations_with_one_recorder_stand_one_after_the_other(tmp_path):
    recorder, timing = simulated(1, 5000)
    first, samples = list(recorder.spans), list(recorder.samples)
    again = simulate_programs(machine_of(), [source_of(TILING.program(), MEMORY)], MEMORY, recorder)
    assert again.cycles == timing.cycles
    section = Section.recorded("both", 0, 2 * timing.cycles, recorder)
    write_timeline(tmp_path / "out.json", [section], 1.0)
    checked_events(tmp_path / "out.json")
    assert recorder.spans[: len(first)] == first
    assert min(span.start_cycles for span in recorder.spans[len(first) :]) >= timing.cycles
    assert min(sample.at_cycles for sample in recorder.samples[len(samples) :]) >= timing.cycles


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    clock_ghz=st.floats(1e-3, 100),
    offset=st.integers(0, 1 << 40),
)
def test_spans_without_gaps_never_overlap_whatever_the_clock(tmp_path_factory, lengths, clock_ghz, offset):
    starts = [sum(lengths[:index]) for index in range(len(lengths) + 1)]
    spans = [Span(0, "array", "lmma", *pair, 3) for pair in pairwise(starts)]
    path = tmp_path_factory.mktemp("timeline") / "out.json"
    write_timeline(path, [Section("all", offset, starts[-1], spans)], clock_ghz)
    assert len(of_thread(checked_events(path), "array")) == len(lengths)


def test_a_file_has_no_more_spans_than_it_may(tmp_path):
    recorder, timing = simulated(1)
    section = Section.recorded("all", 0, timing.cycles, recorder)
    write_timeline(tmp_path / "out.json", [section], 1.0, most_spans=100)
    events = checked_events(tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert len([event for event in events if event["ph"] == "X"]) == 1 + 100
    assert document["otherData"]["spans_left_out"] == len(recorder.spans) - 100


def test_a_timeline_that_cannot_be_written_is_the_callers_error(tmp_path):
    with pytest.raises(InputError, match="output"):
        write_timeline(tmp_path, [Section("all", 0, 5)], 1.0)
