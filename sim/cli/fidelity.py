"""`bitloom fidelity`: how far the closed form is from the event model, and why."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
import typer

from isa import InputError
from sim.cli.output import JsonOption, messages, print_json, print_table, print_text, progress_bar
from sim.cli.shapes import (
    ActivationFormatOption,
    BatchOption,
    ContextOption,
    DecodeOption,
    KeyValueFormatOption,
    ModelOption,
    PrefillOption,
    Shapes,
    TraceOption,
    WeightFormatOption,
    workload_of,
)
from sim.cli.simulation import say_what_leaves, simulate_with_progress
from sim.evaluation.fidelity import AGREEMENT, MEDIAN_LIMIT, WORST_LIMIT, compare_fidelities, compare_random_pairs
from sim.timing import Machine, load_machines, shipped_machines
from workloads import Trace, load_model_architecture, shape_only_trace

__all__ = ["fidelity_command"]

RTL_MEDIAN_LIMIT, RTL_WORST_LIMIT = 0.01, 0.03
"""What the median and the worst difference of cycles between event model and RTL may be."""

_MOST_SAMPLES = 100_000
# Model, prefill tokens, decode steps and weight format of the layers that are compared by default.
_MODELS = (("tern-18m", 64, 2, None), ("llama-2-7b", 128, 1, "int4"), ("bitnet-2b4t", 128, 1, None))


def fidelity_command(
    machine: Annotated[
        list[str] | None,
        typer.Option(help="Shipped machine or TOML file; may be repeated [default: all shipped machines]"),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=0, max=_MOST_SAMPLES, help="Random pairs of product and machine [default: 200]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random pairs.")] = 0,
    rtl: Annotated[bool, typer.Option("--rtl", help="Hold the event model against the RTL instead.")] = False,
    trace: TraceOption = None,
    model: ModelOption = None,
    prefill: PrefillOption = None,
    decode: DecodeOption = None,
    context: ContextOption = None,
    batch: BatchOption = None,
    weight_format: WeightFormatOption = None,
    activation_format: ActivationFormatOption = None,
    kv_format: KeyValueFormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the analytic model against the event model, operation by operation, with the reason of what differs.

    Without --trace and --model: random products on random machines, and all layers of tern-18m, Llama-2-7B (int4) and
    BitNet 2B4T on the machines. Exit code 1: the median is over 2 %, or the worst over 10 %.

    With --rtl: random programs (100 by default) and the products of a token of tern-18m, on the event model and on the
    hardware of the backend `rtl`. Exit code 1: the median is over 1 %, or the worst over 3 %.

    Example: `bitloom fidelity --machine lut-m2n64k4 --model llama-2-7b --prefill 512 --decode 1`
    """
    if rtl:
        if machine or trace or model:
            raise InputError("command line", "--rtl", "--machine, --trace or --model", "none of them with it")
        _against_rtl(100 if samples is None else samples, seed, as_json)
        return
    machines = load_machines(machine or list(shipped_machines()))
    shapes = Shapes(prefill, decode, context, batch, weight_format, activation_format, kv_format)
    if trace is None and model is None:
        if shapes != Shapes(None, None, None, None, None, None, None):
            raise InputError("command line", "--prefill and the like", "no model", "--model with them")
        tables = [_of_random_pairs(200 if samples is None else samples, seed)]
        tables += [_of_trace(machines, trace) for trace in map(_layers, range(len(_MODELS)))]
    else:
        if samples is not None:
            raise InputError("command line", "--samples", str(samples), "no --trace or --model with it")
        workload = workload_of(trace, model, shapes)
        say_what_leaves(machines, workload)
        tables = [_of_trace(machines, workload)]
    _report(pd.concat([table for table in tables if len(table)], ignore_index=True), as_json)


def _against_rtl(samples: int, seed: int, as_json: bool) -> None:
    """Print how far the event model is from the hardware, and end with 1 if that is too far."""
    from sim.evaluation.hardware_runs import compare_with_hardware, projections_of_a_token, random_runs
    from sim.functional.backends.rtl import rtl_unit

    with messages().status("building the simulation of the hardware"):
        unit = rtl_unit()
    token = list(projections_of_a_token(unit.hardware, load_model_architecture(_MODELS[0][0])))
    with progress_bar("programs", samples + len(token)) as advance:
        runs = [*random_runs(unit.hardware, samples, seed), *token]
        table = compare_with_hardware(unit.hardware, unit.of_several, runs, advance)
    deviation, equal = table["error"].abs(), int(table["equal"].sum())
    median, worst = float(deviation.median()), float(deviation.max())
    outside = table[deviation > RTL_WORST_LIMIT].to_dict("records")
    if as_json:
        document = {"median_error": median, "worst_error": worst, "samples": len(table), "equal": equal}
        print_json(document | {"outside": outside})
    else:
        print_text(
            f"{len(table)} programs, {equal} with equal memory; event model against RTL: median error {median:.2%}, "
            f"worst {worst:.2%}"
        )
        for row in outside:
            print_text(f"  {row['name']}: event {row['event_cycles']:,}, RTL {row['rtl_cycles']:,} cycles")
    if equal < len(table) or median > RTL_MEDIAN_LIMIT or worst > RTL_WORST_LIMIT:
        raise typer.Exit(1)


def _of_random_pairs(samples: int, seed: int) -> pd.DataFrame:
    with progress_bar("random pairs", samples) as advance:
        return compare_random_pairs(samples, seed, advance)


def _layers(number: int) -> Trace:
    name, prefill, decode, weight_format = _MODELS[number]
    return shape_only_trace(
        load_model_architecture(name), prefill_tokens=prefill, decode_steps=decode, weight_format=weight_format
    )


def _of_trace(machines: list[Machine], trace: Trace) -> pd.DataFrame:
    tables = []
    for machine in machines:
        analytic = simulate_with_progress(machine, trace, "analytic")
        event = simulate_with_progress(machine, trace, "event")
        tables.append(compare_fidelities(analytic, event).assign(machine=machine.name))
    return pd.concat(tables, ignore_index=True).astype({"phase": str, "name": str, "kind": str})


def _report(table: pd.DataFrame, as_json: bool) -> None:
    """Print the figures, and end with 1 if they are over the limits."""
    deviation = table["error"].abs()
    median, worst = float(deviation.median()), float(deviation.max())
    outside = table[deviation > AGREEMENT].to_dict("records")
    if as_json:
        document: dict[str, Any] = {
            "median_error": median,
            "worst_error": worst,
            "samples": len(table),
            "agreement": AGREEMENT,
            "outside": outside,
        }
        print_json(document)
    else:
        print_text(
            f"{len(table)} pairs of product and machine: median error {median:.2%}, worst {worst:.2%}, "
            f"{len(outside)} over {AGREEMENT:.0%}"
        )
        _print_outside(outside)
    if median > MEDIAN_LIMIT or worst > WORST_LIMIT:
        raise typer.Exit(1)


def _print_outside(outside: list[dict[Any, Any]]) -> None:
    if not outside:
        return
    rows = [
        [row["machine"], row["phase"], row["name"], f"{row['m']} x {row['k']} x {row['n']}",
         f"{row['analytic_cycles']:,}", f"{row['event_cycles']:,}", f"{row['error']:+.1%}", row["reason"]]
        for row in outside
    ]  # fmt: skip
    headings = {"machine": "left", "phase": "left", "operation": "left", "m x k x n": "right"}
    headings |= {"analytic cycles": "right", "event cycles": "right", "error": "right", "reason": "left"}
    print_table(f"Over {AGREEMENT:.0%}", headings, rows)
