"""Measures bitloom itself: formats, golden inference, simulation and sweeps, as speeds and as ratios taken in one run.

A speed alone says as much of the machine at hand as of the program; the ratios (to the bare BLAS products of the same
weights, to the integer reference) carry over. Peak memory is of the whole process, so each benchmark runs in its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sim.evaluation import simulate
from sim.functional import Sampler, load_model, record_trace
from sim.lowering.lower import forget_lowered
from sim.study.format_benchmarks import formats
from sim.study.inference_benchmarks import backends, large_model, shipped_model
from sim.study.point_benchmarks import million_points
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
    """Event simulation of the default run on every shipped machine and of one layer of Llama-2-7B, and analytic
    simulation of Llama-2-70B."""
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
        forget_lowered()
        shapes = shape_only_trace(large, prefill_tokens=2048, decode_steps=1, weight_format="int2")
        simulate(load_machine("lut-m2n64k4"), shapes, "analytic")

    return _one_layer() | {
        "default_run_event_seconds": event,
        "default_run_machines": len(machines),
        "simulated_cycles_per_second": cycles / event,
        "event_over_analytic": event / analytic,
        "llama_2_70b_analytic_seconds": best_seconds(REPEATS, llama),
    }


def _one_layer() -> dict[str, Any]:
    """Event simulation of one decoder layer of Llama-2-7B, int4: seconds, and simulated cycles a second."""
    layers = []
    for phase, prefill, decode in (("prefill 2048", 2048, 0), ("decode 1", 0, 1)):
        shapes = shape_only_trace(
            load_model_architecture("llama-2-7b"),
            prefill_tokens=prefill,
            decode_steps=decode,
            context_tokens=2048,
            weight_format="int4",
        )
        operations = shapes.operations[shapes.operations["layer"] == 0].reset_index(drop=True)
        layer = replace(shapes, operations=operations)
        for name in shipped_machines():
            machine, timed = load_machine(name), list[float]()
            for _ in range(REPEATS):
                forget_lowered()
                started = time.perf_counter()
                cycles = simulate(machine, layer, "event").cycles
                timed.append(time.perf_counter() - started)
            seconds = min(timed)
            layers.append(
                {
                    "name": f"{name}, {phase}",
                    "event_seconds": seconds,
                    "simulated_cycles": cycles,
                    "simulated_cycles_per_second": cycles / seconds,
                }
            )
    return {"one_llama_2_7b_layer": layers}


def sweep() -> dict[str, Any]:
    """The shipped study, all cores, into a folder that is thrown away."""
    study = load_study("tradeoffs")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        summary = run_study(study, Path(folder))
        seconds = time.perf_counter() - started
    return {"points": summary.done, "sweep_seconds": seconds, "analytic_points_per_second": summary.done / seconds}


def _hardware() -> dict[str, Any]:
    from sim.study.rtl_benchmarks import hardware_in_simulation  # needs Amaranth

    return hardware_in_simulation()


BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "formats": formats,
    "inference": shipped_model,
    "inference-large": large_model,
    "inference-backends": backends,
    "points": million_points,
    "rtl": _hardware,
    "sim": simulation,
    "sweep": sweep,
}
