"""Simulation: golden inference, machines and their timing, studies over designs, and the command line.

    workloads.Trace ──► sim.lowering (Program) ──► sim.timing (Machine, fidelity) ──► Result ──► sim.study

`functional` runs models, and programs, with exact integers, `lowering` makes programs of matrix products, `timing` says
how long machines take for them, `evaluation` what a machine makes of a whole trace; `machines` holds the shipped
machines as TOML files, `study` runs and reports whole experiments, and `cli` is the `bitloom` command. The
names below are the public Python API, imported when first used; submodules hold the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.evaluation import Result, simulate
    from sim.functional import GoldenModel, Sampler, generate, load_model, measure_perplexity, record_trace
    from sim.study.run import make_run, save_run
    from sim.timing import Machine, load_machine, shipped_machines
    from workloads import Trace, load_trace, save_trace, shape_only_trace

__all__ = [
    "GoldenModel",
    "Machine",
    "Result",
    "Sampler",
    "Trace",
    "generate",
    "load_machine",
    "load_model",
    "load_trace",
    "make_run",
    "measure_perplexity",
    "record_trace",
    "save_run",
    "save_trace",
    "shape_only_trace",
    "shipped_machines",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in ("sim.functional", "sim.evaluation", "sim.timing", "workloads", "sim.study.run"):
            if hasattr(found := import_module(module), name):
                return getattr(found, name)
    raise AttributeError(f"module 'sim' has no attribute {name!r}")
