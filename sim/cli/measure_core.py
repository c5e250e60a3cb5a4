"""`bitloom measure core`: the processor at hand as the file of a core."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sim.cli.output import JsonOption, messages, print_json, print_table, print_text, progress_bar
from sim.native.core_benchmarks import Effort, benchmark_count, measure_core
from sim.native.core_file import core_text
from sim.native.core_measurement import CoreMeasurement
from sim.native.core_update import Disagreement, disagreements, measured_core
from sim.timing.cpu.core import Core, load_core
from workloads.files import whole_file

__all__ = ["core_command"]


def core_command(
    base: Annotated[
        str, typer.Option(help="Core, by name or file, whose pipes, widths and depths are believed.")
    ] = "zen4",
    out: Annotated[Path | None, typer.Option(help="TOML file to write, for --cpu.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer samples: some seconds instead of half a minute.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure this processor's clock, instructions, loads, caches and memory, and write them as the file of a core.

    Pipes cannot be measured and stay those of the base; where throughput contradicts them, a table says so. Other work
    on the computer lowers bandwidths.

    Example: `bitloom measure core --base zen4 --out mine.toml`
    """
    believed = load_core(base)
    effort = Effort.quick() if quick else Effort.thorough()
    # Opened before, so that a place that cannot be written is known at once.
    with whole_file(out) if out else nullcontext() as partial:
        with progress_bar("measuring the core", benchmark_count(believed)) as advance:
            measurement = measure_core(believed, effort, advance)
        core = measured_core(believed, measurement, datetime.now(UTC).date().isoformat())
        if partial is not None:
            partial.write_text(core_text(core), encoding="utf-8")
    wrong = disagreements(believed, measurement)
    if as_json:
        print_json({"base": believed.name, **asdict(measurement), "disagreements": [asdict(item) for item in wrong]})
        return
    _print_memory(believed, core)
    _print_latencies(believed, measurement)
    _print_disagreements(believed, wrong)
    if measurement.not_measured:
        messages().print("not measured: " + ", ".join(measurement.not_measured), markup=False)


def _print_memory(base: Core, core: Core) -> None:
    figures = [
        ("clock, GHz", base.clock_ghz, core.clock_ghz),
        ("clock with all cores busy, GHz", base.all_cores_clock_ghz, core.all_cores_clock_ghz),
        ("cores", base.cores, core.cores),
        ("cycles more of a load across lines", base.loads.line_split_cycles, core.loads.line_split_cycles),
    ]
    for before, now in zip(base.caches, core.caches, strict=True):
        figures += [
            (f"{now.name}, KB", before.size_bytes / 1024, now.size_bytes / 1024),
            (f"{now.name}, GB/s of one core", before.gb_per_second, now.gb_per_second),
            (f"{now.name}, GB/s of all cores", before.total_gb_per_second, now.total_gb_per_second),
            (f"{now.name}, latency in ns", before.latency_ns, now.latency_ns),
        ]
    figures += [
        ("DRAM, GB/s of one core", base.dram.gb_per_second, core.dram.gb_per_second),
        ("DRAM, GB/s of all cores", base.dram.total_gb_per_second, core.dram.total_gb_per_second),
        ("DRAM, latency in ns", base.dram.latency_ns, core.dram.latency_ns),
    ]
    rows = [[name, _number(before), _number(now)] for name, before, now in figures if now is not None]
    print_table("This processor", {"figure": "left", f"in {base.name}": "right", "measured": "right"}, rows)


def _print_latencies(base: Core, measurement: CoreMeasurement) -> None:
    rows = list[list[str]]()
    for each in measurement.instructions:
        timing = base.instructions[each.name]
        wide = each.size_bytes > base.vector_bytes
        believed = timing.wide.latency_cycles if wide and timing.wide else timing.latency_cycles
        if believed != round(each.latency_cycles):
            figures = (believed, each.latency_cycles, each.reciprocal_throughput_cycles)
            rows.append([each.name, str(each.size_bytes), *map(_number, figures)])
    columns = {
        "instruction": "left",
        "bytes": "right",
        f"latency in {base.name}": "right",
        "measured": "right",
        "cycles of one of many": "right",
    }
    if rows:
        print_table("Latencies that differ", columns, rows)
    print_text(
        f"{len(measurement.instructions) - len(rows)} of {len(measurement.instructions)} latencies are the same."
    )


def _print_disagreements(base: Core, wrong: tuple[Disagreement, ...]) -> None:
    if not wrong:
        print_text(f"All throughputs are what the pipes of {base.name} allow.")
        return
    rows = [[item.what, _number(item.expected_cycles), _number(item.measured_cycles)] for item in wrong]
    columns = {"instructions": "left", "cycles by the pipes": "right", "measured": "right"}
    print_table(f"Throughputs that contradict the pipes of {base.name}, which were left as they are", columns, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"
