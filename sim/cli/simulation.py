"""`bitloom simulate`: what machines make of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from isa import InputError
from sim.cli.output import JsonOption, messages, print_json, print_table, progress_bar
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
from sim.evaluation.recorded import record_timeline
from sim.evaluation.result import Fidelity
from sim.timing import Machine, load_machines
from sim.timing.timeline import write_timeline
from workloads import Trace

__all__ = ["machine_table", "say_what_differs", "say_what_leaves", "simulate_command", "simulate_with_progress"]

MachineOption = Annotated[list[str], typer.Option("--machine", help="Shipped machine or TOML file; may be repeated.")]
FidelityOption = Annotated[
    Fidelity,
    typer.Option(help="analytic: closed form; event: simulated by SimPy; rtl: the hardware, simulated cycle by cycle."),
]


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

    With `--fidelity rtl` all products of the array run on the machine's RTL; its simulation is built first.

    A timeline (`--timeline out.json`) opens in ui.perfetto.dev.
    """
    machines = load_machines(machine)
    if timeline is not None and (len(machines) > 1 or fidelity != "event"):
        raise InputError("command line", "--timeline", f"{len(machines)} machines, {fidelity}", "one machine, event")
    workload = workload_of(
        trace, model, Shapes(prefill, decode, context, batch, weight_format, activation_format, kv_format)
    )
    if fidelity == "rtl":
        machines = [_as_built(item) for item in machines]
    say_what_leaves(machines, workload)
    results = [simulate_with_progress(item, workload, fidelity) for item in machines]
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


def _as_built(machine: Machine) -> Machine:
    # Tools for hardware are an extra.
    from sim.hardware.description import hardware_of

    hardware = hardware_of(machine)
    say_what_differs(hardware.changed)
    return hardware.machine


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


def simulate_with_progress(machine: Machine, trace: Trace, fidelity: Fidelity) -> Result:
    with progress_bar(f"{fidelity}, {machine.name}", None) as advance:
        return simulate(machine, trace, fidelity, lambda _done, _total: advance(1))


def say_what_differs(changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Tell the user which fields of a machine its hardware has otherwise."""
    for field, (asked, built) in changed.items():
        if asked is not None:
            messages().print(f"{field}: the machine has {asked}, the hardware {built}", highlight=False)


def say_what_leaves(machines: list[Machine], trace: Trace) -> None:
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
