"""`bitloom rtl`: the hardware of a machine as Verilog, and in simulation against interpreter and event model."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile
from typing import Annotated, Any

import typer

import rtl
from isa.manual import manual
from rtl.toolchain import require_amaranth
from sim.cli.benchmarks import bench_command
from sim.cli.fidelity import RTL_MEDIAN_LIMIT, RTL_WORST_LIMIT
from sim.cli.output import JsonOption, messages, print_json, print_table, print_text, progress_bar
from sim.cli.simulation import say_what_differs
from sim.timing import load_machine
from workloads.files import whole_folder

__all__ = ["app"]

app = typer.Typer(
    name="rtl",
    no_args_is_help=True,
    help="""The hardware of a machine: Verilog, simulation against interpreter and event model, speed.

    bitloom rtl emit --machine lut-m2n64k4 --out verilog

    bitloom rtl test --machine int8-mac --samples 50

    bitloom rtl bench""",
)

TOP = "bitloom"
"""Name of the outermost module."""

MachineOption = Annotated[str, typer.Option(help="Shipped machine or TOML file.")]
WeightBitsOption = Annotated[
    int, typer.Option(min=1, max=8, help="Bits in which a bit-serial array has its weights; other arrays say that.")
]


@app.command("emit")
def emit_command(
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty, or of an earlier `emit`.")],
    machine: MachineOption = "lut-m2n64k4",
    weight_bits: WeightBitsOption = 8,
    as_json: JsonOption = False,
) -> None:
    """Write the hardware of one core of a machine: Verilog, a list of its files, registers, instructions, waivers.

    Verilator's `--lint-only -Wall` is silent about it: `verilator --lint-only -Wall -f files.f` in the folder.

    Example: `bitloom rtl emit --machine lut-m2n64k4 --out verilog`
    """
    require_amaranth()
    from rtl.registers import description
    from rtl.top import Top
    from rtl.verilog import modules_of
    from sim.hardware.description import hardware_of

    hardware = hardware_of(load_machine(machine), weight_bits)
    say_what_differs(hardware.changed)
    with messages().status("writing Verilog"):
        modules = modules_of(Top(hardware.configuration), TOP)
    names = [f"{name}.v" for name in modules]
    texts = dict(zip(names, modules.values(), strict=True))
    texts["files.f"] = "\n".join(["waivers.vlt", *names, f"--top-module {TOP}", ""])
    texts["registers.md"] = description(hardware.configuration)
    texts["instructions.md"] = manual()
    with whole_folder(out, _replaceable(out)) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        copyfile(Path(rtl.__path__[0]) / "lint.vlt", folder / "waivers.vlt")
    document = {
        "machine": hardware.machine.name,
        "out": str(out),
        "top": TOP,
        "modules": len(modules),
        "bytes": sum(len(texts[name]) for name in names),
        "changed": [{"field": key, "asked": old, "built": new} for key, (old, new) in hardware.changed.items()],
    }
    if as_json:
        print_json(document)
        return
    print_text(f"{out}: {document['modules']} modules of {document['bytes']:,} bytes, top module {TOP}")


def _replaceable(out: Path) -> frozenset[str]:
    """Names of the files of an earlier `emit`, which has left a list of them."""
    listed = out / "files.f"
    if not listed.is_file() or listed.stat().st_size > 1 << 20:
        return frozenset()
    names = listed.read_text(encoding="utf-8", errors="replace").split()
    return frozenset({*names, "files.f", "registers.md", "instructions.md", "waivers.vlt"})


@app.command("test")
def check_command(
    machine: MachineOption = "lut-m2n64k4",
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="Random programs.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the random programs.")] = 0,
    weight_bits: WeightBitsOption = 8,
    as_json: JsonOption = False,
) -> None:
    """Run random programs on the hardware of a machine: memory as the interpreter's, cycles near the event model's.

    The simulation is built first, which takes some minutes the first time. Exit code 1: memory differs, or cycles
    differ by more than 1 % in the median or 3 % at worst.

    Example: `bitloom rtl test --machine lut-m2n64k4 --samples 20`
    """
    require_amaranth()
    from sim.evaluation.hardware_runs import compare_with_hardware, random_runs
    from sim.hardware.description import hardware_of
    from sim.hardware.execution import HardwareExecution

    hardware = hardware_of(load_machine(machine), weight_bits)
    say_what_differs(hardware.changed)
    with messages().status("building the simulation"):
        execution = HardwareExecution(hardware.device())
    with progress_bar("random programs", samples) as advance:
        table = compare_with_hardware(hardware, execution, random_runs(hardware, samples, seed), advance)
    deviation, spent = table["error"].abs(), execution.spent
    document: dict[str, Any] = {
        "machine": hardware.machine.name,
        "samples": samples,
        "equal": int(table["equal"].sum()),
        "median_error": float(deviation.median()),
        "worst_error": float(deviation.max()),
        "cycles": spent.counters.cycles,
        "simulated_cycles_per_second": spent.counters.cycles / spent.seconds,
    }
    outside = table[(deviation > RTL_WORST_LIMIT) | ~table["equal"]]
    if as_json:
        print_json(document | {"outside": outside.to_dict("records")})
    else:
        print_text(
            f"{document['equal']} of {samples} programs leave the interpreter's memory; event model's cycles against "
            f"the hardware's: median error {document['median_error']:.2%}, worst {document['worst_error']:.2%}; "
            f"{document['simulated_cycles_per_second']:,.0f} cycles simulated a second"
        )
        _print_outside(outside.to_dict("records"))
    if (
        document["equal"] < samples
        or document["median_error"] > RTL_MEDIAN_LIMIT
        or document["worst_error"] > RTL_WORST_LIMIT
    ):
        raise typer.Exit(1)


@app.command("bench")
def bench_of_rtl(as_json: JsonOption = False) -> None:
    """Measure the hardware in simulation: tokens of tern-18m, a layer of BitNet 2B4T, cycles against the event model.

    Example: `bitloom rtl bench`
    """
    bench_command(["rtl"], as_json)


def _print_outside(rows: list[dict[Any, Any]]) -> None:
    if not rows:
        return
    cells = [
        [row["name"], f"{row['event_cycles']:,}", f"{row['rtl_cycles']:,}", f"{row['error']:+.1%}",
         "yes" if row["equal"] else "no"]
        for row in rows
    ]  # fmt: skip
    headings = {"program": "left", "event cycles": "right", "RTL cycles": "right", "error": "right", "equal": "left"}
    print_table(f"Over {RTL_WORST_LIMIT:.0%}, or with other memory", headings, cells)
