"""Measures bitloom itself: formats, golden inference, simulation and sweeps, as speeds and as ratios taken in one run.

A speed alone says as much of the machine at hand as of the program; the ratios (to the bare BLAS products of the same
weights, to the integer reference) carry over. Peak memory is of the whole process, so each benchmark runs in its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim.evaluation import simulate
from sim.functional import Sampler, load_model, record_trace
from sim.study.format_benchmarks import formats
from sim.study.inference_benchmarks import backends, large_model, shipped_model
from sim.study.run import DEFAULT_PROMPT, DEFAULT_TOKENS
from sim.study.stopwatch import best_seconds
from sim.study.sweep import load_study, run_study
from sim.timing import load_machine, shipped_machines
from workloads import load_model_architecture, shape_only_trace
from workloads.catalog import tokenizer_of

__all__ = ["BENCHMARKS"]

MODEL = "tern-18m"
REPEATS = 3


def simulation() -> dict[str, Any]:
    """Event simulation of the default run on every shipped machine, and analytic simulation of Llama-2-70B."""
    model, tokenizer = load_model(MODEL), tokenizer_of(MODEL)
    _, trace = record_trace(model, [tokenizer.encode(DEFAULT_PROMPT)], DEFAULT_TOKENS, Sampler())
    machines = [load_machine(name) for name in shipped_machines()]
    cycles = 0
    started = time.perf_counter()
    for machine in machines:
        cycles += simulate(machine, trace, "event").cycles
    event = time.perf_counter() - started
    analytic = best_seconds(1, lambda: [simulate(machine, trace, "analytic") for machine in machines])
    large = load_model_architecture("llama-2-70b")

    def llama() -> None:
        shapes = shape_only_trace(large, prefill_tokens=2048, decode_steps=1, weight_format="int2")
        simulate(load_machine("lut-m2n64k4"), shapes, "analytic")

    return {
        "default_run_event_seconds": event,
        "default_run_machines": len(machines),
        "simulated_cycles_per_second": cycles / event,
        "event_over_analytic": event / analytic,
        "llama_2_70b_analytic_seconds": best_seconds(REPEATS, llama),
    }


def sweep() -> dict[str, Any]:
    """The shipped study, all cores, into a folder that is thrown away."""
    study = load_study("tradeoffs")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        summary = run_study(study, Path(folder))
        seconds = time.perf_counter() - started
    return {"points": summary.done, "sweep_seconds": seconds, "analytic_points_per_second": summary.done / seconds}


BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "formats": formats,
    "inference": shipped_model,
    "inference-large": large_model,
    "inference-backends": backends,
    "sim": simulation,
    "sweep": sweep,
}
