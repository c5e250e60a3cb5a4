"""Event simulation by SimPy: programs and lists of tasks on cores that share a memory."""

from sim.timing.event.recorder import CHANNEL_TRACK, STEADY_TRACK, Recorder, Sample, Span
from sim.timing.event.simulate import EventTiming, simulate_programs
from sim.timing.event.sources import ProgramSource, Source
from sim.timing.event.task_list import TaskSource

__all__ = [
    "CHANNEL_TRACK",
    "STEADY_TRACK",
    "EventTiming",
    "ProgramSource",
    "Recorder",
    "Sample",
    "Source",
    "Span",
    "TaskSource",
    "simulate_programs",
]
