"""Measures the hardware in simulation: how fast it is simulated, and how far the event model's cycles are from its own.

The machine is that of the backend `rtl`; its simulation is built before anything is measured.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from sim.evaluation.activity import Activity
from sim.evaluation.hardware_runs import (
    compare_with_hardware,
    projection_run,
    projections_of_a_token,
    random_runs,
)
from sim.evaluation.timing import event_timing
from sim.evaluation.work import Work
from sim.functional import Sampler, generate, load_model
from sim.functional.backends.rtl import rtl_unit
from sim.functional.lowered import run_lowered
from sim.study.run import DEFAULT_PROMPT
from workloads import load_model_architecture
from workloads.catalog import tokenizer_of

__all__ = ["hardware_in_simulation"]

MODEL, TOKENS = "tern-18m", 16
LAYER_MODEL = "bitnet-2b4t"
RANDOM_PROGRAMS, SEED = 100, 0


def hardware_in_simulation() -> dict[str, Any]:
    """Tokens of tern-18m and a layer of BitNet 2B4T in RTL; cycles of the event model against the RTL's."""
    rtl_unit()
    return _tokens() | _layer() | _cycles() | _utilization()


def _tokens() -> dict[str, Any]:
    """Greedy tokens on the hardware, and whether they are the golden model's."""
    unit, tokenizer = rtl_unit(), tokenizer_of(MODEL)
    prompt = [tokenizer.encode(DEFAULT_PROMPT)]
    ours = generate(load_model(MODEL, "rtl"), prompt, TOKENS, Sampler.greedy())
    golden = generate(load_model(MODEL), prompt, TOKENS, Sampler.greedy())
    decode, prefill = unit.spent
    steps = TOKENS - 1
    return {
        "decode_token_seconds": ours.decode_seconds / steps,
        "decode_token_simulation_seconds": decode.seconds / steps,
        "decode_token_cycles": decode.counters.cycles / steps,
        "prefill_cycles": prefill.counters.cycles,
        "simulated_cycles_per_second": decode.counters.cycles / decode.seconds,
        "tokens": TOKENS,
        "tokens_equal": sum(a == b for a, b in zip(ours.token_ids[0], golden.token_ids[0], strict=True)),
        "accumulators_compared": unit.accumulators,
    }


def _layer() -> dict[str, Any]:
    """The projections of one layer of BitNet 2B4T for one token, random weights."""
    unit = rtl_unit()
    layer = list(projections_of_a_token(unit.hardware, load_model_architecture(LAYER_MODEL), layers=1))
    before = unit.of_one_token.spent
    cycles, seconds = before.counters.cycles, before.seconds
    started = time.perf_counter()
    for run in layer:
        sums = run_lowered(run.lowered, run.operands, unit.of_one_token)
        if not (sums == run.operands.activations.astype(np.int32) @ run.codes.T.astype(np.int32)).all():
            raise RuntimeError(f"{run.name} differs in hardware")
    after = unit.of_one_token.spent
    return {
        "bitnet_2b4t_layer_seconds": time.perf_counter() - started,
        "bitnet_2b4t_layer_simulation_seconds": after.seconds - seconds,
        "bitnet_2b4t_layer_cycles": after.counters.cycles - cycles,
    }


def _cycles() -> dict[str, Any]:
    """Random programs, and all products of one token of tern-18m, on both."""
    unit = rtl_unit()
    runs = [
        *random_runs(unit.hardware, RANDOM_PROGRAMS, SEED),
        *projections_of_a_token(unit.hardware, load_model_architecture(MODEL)),
    ]
    table = compare_with_hardware(unit.hardware, unit.of_several, runs)
    deviation = table["error"].abs()
    return {
        "programs_compared": len(table),
        "programs_with_equal_memory": int(table["equal"].sum()),
        "event_median_error": float(deviation.median()),
        "event_worst_error": float(deviation.max()),
    }


def _utilization() -> dict[str, Any]:
    """A 512 x 512 projection of many tokens: the part of all cycles in which the array takes operands, and where the
    others go: before the first operands, after the last, and in between."""
    unit, tokens = rtl_unit(), 128
    run = projection_run(unit.hardware, "512 x 512", tokens, 512, 512)
    before = unit.of_several.spent.counters
    run_lowered(run.lowered, run.operands, unit.of_several)
    after = unit.of_several.spent.counters
    cycles, steps = after.cycles - before.cycles, after.array_steps - before.array_steps
    event = event_timing(unit.hardware.machine, Work(run.lowered.unit, run.lowered, None, 0, Activity()))
    return {
        "projection_512_tokens": tokens,
        "projection_512_cycles": cycles,
        "projection_512_array_steps": steps,
        "projection_512_utilization": steps / cycles,
        "projection_512_event_fill_cycles": event.fill_cycles,
        "projection_512_event_stall_cycles": event.stall_cycles,
        "projection_512_event_drain_cycles": event.drain_cycles,
    }
