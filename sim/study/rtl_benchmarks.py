"""Measures the hardware in simulation: how fast it is simulated, and how far the event model's cycles are from its own.

The machine is that of the backend `rtl`; its simulation is built before anything is measured.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd

from isa import FORMATS, Format
from isa.instructions.types import ACTIVATION_TYPES
from sim.functional import Sampler, generate, load_model
from sim.functional.backends.rtl import rtl_unit
from sim.lowering import lower
from sim.lowering.images import ProductOperands, pack_product_weights
from sim.study.run import DEFAULT_PROMPT
from sim.timing.product import MatrixProduct
from workloads import load_model_architecture, shape_only_trace
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
    trace = shape_only_trace(load_model_architecture(LAYER_MODEL), prefill_tokens=0, decode_steps=1, context_tokens=1)
    operations = trace.operations
    layer = operations[(operations["layer"] == 0) & (operations["kind"] == "mpgemm")]
    runs = [_random_run(int(row.k), int(row.n), FORMATS["ternary"], str(row.name_)) for row in _named(layer)]
    before = unit.of_one_token.spent
    cycles, seconds = before.counters.cycles, before.seconds
    from sim.functional.lowered import run_lowered

    started = time.perf_counter()
    for run in runs:
        sums = run_lowered(run.lowered, run.operands, unit.of_one_token)
        expected = run.operands.activations.astype(np.int32) @ run.codes.T.astype(np.int32)
        if not (sums == expected).all():
            raise RuntimeError(f"{run.name} differs in hardware")
    return {
        "bitnet_2b4t_layer_seconds": time.perf_counter() - started,
        "bitnet_2b4t_layer_simulation_seconds": unit.of_one_token.spent.seconds - seconds,
        "bitnet_2b4t_layer_cycles": unit.of_one_token.spent.counters.cycles - cycles,
    }


def _named(table: pd.DataFrame) -> Any:
    return table.rename(columns={"name": "name_"}).itertuples(index=False)


def _random_run(k: int, n: int, weight_format: Format, name: str, m: int = 1) -> Any:
    from sim.evaluation.hardware_runs import HardwareRun

    machine = rtl_unit().hardware.machine
    stored = machine.compute.weight_type(weight_format)
    product = MatrixProduct(m, k, n, 1, ACTIVATION_TYPES["int8"], stored, "int32")
    random = np.random.default_rng(SEED)
    codes = random.choice(np.array(weight_format.codes, np.int8), (n, k))
    activations = random.integers(-128, 128, (1, m, k)).astype(np.int8)
    operands = ProductOperands(activations, pack_product_weights(machine.compute, stored, codes[None]))
    return HardwareRun(name, lower(machine, machine.compute, product), weight_format, codes, operands)


def _cycles() -> dict[str, Any]:
    """Random programs, and all products of one token of tern-18m, on both."""
    from sim.evaluation.hardware_runs import compare_with_hardware, random_runs

    unit = rtl_unit()
    random = compare_with_hardware(unit.hardware, unit.of_several, random_runs(unit.hardware, RANDOM_PROGRAMS, SEED))
    trace = shape_only_trace(load_model_architecture(MODEL), prefill_tokens=0, decode_steps=1, context_tokens=1)
    projections = trace.operations[trace.operations["kind"] == "mpgemm"]
    token = [_random_run(int(row.k), int(row.n), FORMATS["ternary"], str(row.name_)) for row in _named(projections)]
    of_token = compare_with_hardware(unit.hardware, unit.of_several, token)
    both = pd.concat([random, of_token])
    deviation = both["error"].abs()
    return {
        "programs_compared": len(both),
        "programs_with_equal_memory": int(both["equal"].sum()),
        "event_median_error": float(deviation.median()),
        "event_worst_error": float(deviation.max()),
    }


def _utilization() -> dict[str, Any]:
    """A 512 x 512 projection of many tokens: the part of all cycles in which the array takes operands, and where the
    others go."""
    from sim.functional.lowered import run_lowered

    unit = rtl_unit()
    run = _random_run(512, 512, FORMATS["ternary"], "512 x 512", m=128)
    before = unit.of_several.spent.counters
    run_lowered(run.lowered, run.operands, unit.of_several)
    after = unit.of_several.spent.counters
    cycles, steps = after.cycles - before.cycles, after.array_steps - before.array_steps
    return {
        "projection_512_tokens": 128,
        "projection_512_cycles": cycles,
        "projection_512_array_steps": steps,
        "projection_512_utilization": steps / cycles,
    }
