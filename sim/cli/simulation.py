"""`bitloom simulate` and `bitloom fidelity`: what machines make of a trace, and how far the two fidelities agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
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
    say_what_leaves_the_array,
    workload_of,
)
from sim.evaluation import Result, simulate
from sim.evaluation.fidelity import AGREEMENT, compare_fidelities
from sim.evaluation.recorded import record_timeline
from sim.evaluation.result import Fidelity
from sim.timing import Machine, load_machines, shipped_machines
from sim.timing.timeline import write_timeline
from workloads import Trace

__all__ = ["fidelity_command", "machine_table", "simulate_command"]

MachineOption = Annotated[list[str], typer.Option("--machine", help="Shipped machine or TOML file; may be repeated.")]
FidelityOption = Annotated[Fidelity, typer.Option(help="analytic: closed form; event: simulated by SimPy.")]


def simulate_command(
    machine: MachineOption,
    trace: TraceOption = None,
    model: ModelOption = None,
    prefill: PrefillOption = None,
    decode: DecodeOption = None,
    context: ContextOption = None,
    batch: BatchOption = None,
    weight_format: WeightFormatOption = None,
    activation_format: ActivationFormatOption = None,
    kv_format: KeyValueFormatOption = None,
    fidelity: FidelityOption = "event",
    timeline: Annotated[
        Path | None,
        typer.Option(help="Write what every engine does to a file that Perfetto opens (one machine, event)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Cycles, energy and area of a trace, or of a model's shapes, on machines.

    Examples: `bitloom simulate --machine lut-m2n64k4 --trace story`,
    `bitloom simulate --machine int8-mac --model llama-2-70b --prefill 2048 --decode 1 --fidelity analytic`

    A timeline (`--timeline out.json`) opens in ui.perfetto.dev.
    """
    machines = load_machines(machine)
    if timeline is not None and (len(machines) > 1 or fidelity != "event"):
        raise InputError("command line", "--timeline", f"{len(machines)} machines, {fidelity}", "one machine, event")
    workload = workload_of(
        trace, model, Shapes(prefill, decode, context, batch, weight_format, activation_format, kv_format)
    )
    _say_what_leaves_the_array(machines, workload)
    results = [_simulate(item, workload, fidelity) for item in machines]
    if timeline is not None:
        _write_timeline(timeline, machines[0], workload)
    if as_json:
        first = results[0].to_document()
        others = {"machines": [result.to_document() for result in results]} if len(results) > 1 else {}
        print_json(_identity(workload) | first | others)
        return
    machine_table(f"{workload.identity.model}, {fidelity}", results)
    for result in results:
        _operation_table(result)


def fidelity_command(
    machine: Annotated[
        list[str] | None,
        typer.Option(help="Shipped machine or TOML file; may be repeated [default: all shipped machines]"),
    ] = None,
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

    Without --trace and --model: the shapes of tern-18m, a prefill of 64 tokens and two decode steps.

    Example: `bitloom fidelity --machine lut-m2n64k4 --model llama-2-7b --prefill 512 --decode 1`
    """
    shapes = Shapes(prefill, decode, context, batch, weight_format, activation_format, kv_format)
    if trace is None and model is None:
        model, shapes = "tern-18m", replace(shapes, prefill=prefill or 64, decode=decode or 2)
    workload = workload_of(trace, model, shapes)
    tables = []
    machines = load_machines(machine or list(shipped_machines()))
    _say_what_leaves_the_array(machines, workload)
    for item in machines:
        analytic, event = (_simulate(item, workload, fidelity) for fidelity in ("analytic", "event"))
        tables.append(compare_fidelities(analytic, event).assign(machine=item.name))
    table = pd.concat(tables, ignore_index=True)
    deviation = table["error"].abs()
    document: dict[str, Any] = {
        "median_error": float(deviation.median()),
        "worst_error": float(deviation.max()),
        "samples": len(table),
        "agreement": AGREEMENT,
        "outside": table[deviation > AGREEMENT].astype({"phase": str, "name": str, "kind": str}).to_dict("records"),
    }
    if as_json:
        print_json(document)
        return
    print_text(
        f"{len(table)} distinct operations: median error {document['median_error']:.2%}, "
        f"worst {document['worst_error']:.2%}, {len(document['outside'])} over {AGREEMENT:.0%}"
    )
    rows = [
        [row["machine"], row["phase"], row["name"], f"{row['analytic_cycles']:,}", f"{row['event_cycles']:,}",
         f"{row['error']:+.1%}", row["reason"]]
        for row in document["outside"]
    ]  # fmt: skip
    headings = {"machine": "left", "phase": "left", "operation": "left", "analytic cycles": "right"}
    if rows:
        print_table("Over the limit", headings | {"event cycles": "right", "error": "right", "reason": "left"}, rows)


def machine_table(title: str, results: list[Result]) -> None:
    """One line a machine."""

    def rate(value: float | None) -> str:
        return "–" if value is None else f"{value:,.1f}"

    rows = [
        [
            result.machine.name,
            rate(result.prefill_tokens_per_second),
            rate(result.decode_tokens_per_second),
            f"{result.energy_per_token_pj * 1e-6:,.2f}",
            f"{result.machine.area_um2 * 1e-6:.3f}",
            f"{result.utilization:.1%}",
            _bounds(result),
        ]
        for result in results
    ]
    headings = ("prefill tokens/s", "decode tokens/s", "energy µJ/token", "area mm²", "utilization")
    columns = {"machine": "left"} | dict.fromkeys(headings, "right") | {"bound by": "left"}
    print_table(title, columns, rows)


def _bounds(result: Result) -> str:
    phases = {phase: result.bound_by(phase) for phase in ("prefill", "decode")}
    return ", ".join(f"{phase}: {bound}" for phase, bound in phases.items() if bound)


def _operation_table(result: Result) -> None:
    table = result.by_operation().groupby(["phase", "name"], observed=True, sort=False)
    totals = table[["count", "cycles", "energy_pj", "dram_read_bytes", "useful_lane_cycles"]].sum()
    totals["bound_by"] = table["bound_by"].agg(lambda bounds: bounds.mode().iloc[0])
    rows = [
        [
            str(row["phase"]),
            str(row["name"]),
            f"{row['count']:,}",
            f"{row['cycles']:,}",
            f"{row['useful_lane_cycles'] / (row['cycles'] * result.machine.lanes):.1%}",
            f"{row['dram_read_bytes']:,}",
            f"{row['energy_pj'] * 1e-6:,.2f}",
            row["bound_by"],
        ]
        for row in totals.reset_index().to_dict("records")
    ]
    headings = ("operations", "cycles", "utilization", "DRAM bytes read", "energy µJ")
    columns = {"phase": "left", "operation": "left"} | dict.fromkeys(headings, "right") | {"bound by": "left"}
    print_table(f"{result.machine.name}: operations, summed over layers and steps", columns, rows)


def _write_timeline(path: Path, machine: Machine, trace: Trace) -> None:
    with progress_bar(f"timeline, {machine.name}", None) as advance:
        sections = record_timeline(machine, trace, lambda _done, _total: advance(1))
    write_timeline(path, sections, machine.clock_ghz, machine.name)
    total = trace.operations["step"].nunique()
    messages().print(f"{path}: {len(sections)} operations of {total} steps", markup=False, highlight=False)


def _simulate(machine: Machine, trace: Trace, fidelity: Fidelity) -> Result:
    with progress_bar(f"{fidelity}, {machine.name}", None) as advance:
        return simulate(machine, trace, fidelity, lambda _done, _total: advance(1))


def _say_what_leaves_the_array(machines: list[Machine], trace: Trace) -> None:
    table = trace.operations[trace.operations["kind"] == "mpgemm"]
    pairs = table[["input_format", "weight_format"]].drop_duplicates().itertuples(index=False, name=None)
    say_what_leaves_the_array((machine, *pair) for machine in machines for pair in sorted(pairs))


def _identity(trace: Trace) -> dict[str, Any]:
    identity = trace.identity
    return {
        "model": identity.model,
        "source": identity.source,
        "weight_format": identity.weight_format,
        "activation_format": identity.activation_format,
    }
