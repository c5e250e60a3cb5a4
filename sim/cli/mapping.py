"""`bitloom map`: how the matrix products of a model are cut on a machine, why, and the programs that come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from isa import InputError, program_bytes
from sim.cli.output import JsonOption, messages, print_json, print_table, print_text
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
from sim.evaluation.fusion import fused_groups, fused_names, fused_table
from sim.evaluation.work import TracedOperation, work_of
from sim.lowering import Lowered
from sim.lowering.report import MappingReport, mapping_report
from sim.timing import Machine, load_machine
from workloads import Trace
from workloads.files import whole_file
from workloads.operations import MATRIX_KINDS

__all__ = ["map_command"]

_SHAPE = ["phase", "names", "m", "k", "n", "batch", "input_format", "weight_format", "output_format"]


@dataclass(frozen=True)
class _Mapped:
    """A distinct matrix product of a trace: the operations that it computes, and how."""

    phase: str
    names: str
    count: int
    lowered: Lowered
    report: MappingReport

    def to_document(self) -> dict[str, Any]:
        return {"phase": self.phase, "operation": self.names, "count": self.count} | self.report.to_document()


def map_command(
    machine: Annotated[str, typer.Option(help="Shipped machine or TOML file.")],
    trace: TraceOption = None,
    model: ModelOption = None,
    prefill: PrefillOption = None,
    decode: DecodeOption = None,
    context: ContextOption = None,
    batch: BatchOption = None,
    weight_format: WeightFormatOption = None,
    activation_format: ActivationFormatOption = None,
    kv_format: KeyValueFormatOption = None,
    layer_operation: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only products of this operation, as mlp.down_proj; in full.")
    ] = None,
    program: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the binary program of the one product that is left.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How matrix products are cut on a machine: loop order, tiles, what bounds them, what they move, and why.

    Products that look up the same tables are one. A program is that of the first core; `bitloom isa disasm` prints it.

    Examples: `bitloom map --machine lut-m2n64k4 --model llama-2-7b --prefill 2048 --decode 1`,
    `bitloom map --machine int8-mac --model tern-18m --decode 1 --layer-operation mlp.down_proj --program down.bin`
    """
    workload = workload_of(
        trace, model, Shapes(prefill, decode, context, batch, weight_format, activation_format, kv_format)
    )
    mapped = list(_mapped(load_machine(machine), workload, layer_operation))
    if not mapped:
        names = ", ".join(_matrix_names(workload))
        raise InputError("command line", "--layer-operation", layer_operation, f"one of {names}")
    if program is not None:
        _write_program(program, mapped)
    if as_json:
        print_json({"machine": machine, "products": [item.to_document() for item in mapped]})
    elif layer_operation is not None:
        print_text("\n\n".join(f"{item.phase}: {item.names}\n{item.report.to_text()}" for item in mapped))
    else:
        _table(machine, mapped)


def _matrix_names(trace: Trace) -> list[str]:
    table = trace.operations
    return sorted(set(table.loc[table["kind"].isin(MATRIX_KINDS), "name"].astype(str)))


def _mapped(machine: Machine, trace: Trace, layer_operation: str | None) -> Iterator[_Mapped]:
    """The distinct matrix products of a trace, in its order."""
    table = trace.operations.assign(group=fused_groups(machine, trace.operations))
    table = table[table["kind"].isin(MATRIX_KINDS)]
    if layer_operation is not None:
        table = table[table["group"].isin(table.loc[table["name"] == layer_operation, "group"])]
    groups = table["group"].to_numpy()
    products = fused_table(table, groups).assign(names=fused_names(table, groups))
    columns = [item.name for item in fields(TracedOperation)]
    for _, equal in products.groupby(_SHAPE, observed=True, sort=False):
        operation = TracedOperation(*next(equal[columns].itertuples(index=False, name=None)))
        lowered = work_of(machine, operation).body
        assert isinstance(lowered, Lowered)  # noqa: S101
        first = equal.iloc[0]
        yield _Mapped(str(first["phase"]), first["names"], len(equal), lowered, mapping_report(lowered))


def _write_program(path: Path, mapped: list[_Mapped]) -> None:
    if len(mapped) > 1:
        found = ", ".join(f"{item.names} ({item.phase})" for item in mapped)
        expected = "one product: see --layer-operation, and --prefill or --decode alone"
        raise InputError("command line", "--program", found, expected)
    (lowered,) = (item.lowered for item in mapped)
    with whole_file(path) as partial:
        partial.write_bytes(program_bytes(lowered.programs[0]))
    cores = f" of {len(lowered.programs)} cores" if len(lowered.programs) > 1 else ""
    tables = "; it reads tables that another program makes" if lowered.tables else ""
    messages().print(f"{path}: the program of core 0{cores}{tables}", markup=False, soft_wrap=True)


def _table(machine: str, mapped: list[_Mapped]) -> None:
    rows = []
    for item in mapped:
        report = item.report
        tiles = {"m": report.tile_m, "n": report.tile_n, "k": report.tile_k}
        copies = f" ({report.copies:,} copies)" if report.copies > 1 else ""
        rows.append(
            [
                item.phase,
                item.names,
                f"{report.m:,} x {report.k:,} x {report.n:,}{copies}",
                " ".join(f"{name}{tiles[name]}" for name in report.loop_order.split()),
                "double" if report.places > 1 else "single",
                f"{report.cycles:,}",
                report.bound_by,
                f"{report.moved_bytes / report.least_bytes:.2f}" if report.least_bytes else "–",
                f"{report.timed:,} of {report.considered:,}",
            ]
        )
    columns = dict.fromkeys(("phase", "operation", "m x k x n", "tiles, outermost first", "buffers"), "left")
    columns |= {"cycles": "right", "bound by": "left", "moved / least": "right", "cuts timed": "right"}
    print_table(f"{machine}: matrix products in closed form", columns, rows)
