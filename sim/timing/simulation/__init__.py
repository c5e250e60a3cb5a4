"""Event simulation by SimPy: programs and lists of tasks on cores that share a memory."""

from sim.timing.simulation.recorder import CHANNEL_TRACK, STEADY_TRACK, Recorder, Sample, Span
from sim.timing.simulation.simulate import EventTiming, simulate_programs
from sim.timing.simulation.sources import ProgramSource, Source
from sim.timing.simulation.task_list import TaskSource

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
