"""The commands of `bitloom`, put together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from sim.cli.advice import advise_command
from sim.cli.benchmarks import bench_command
from sim.cli.catalog import list_command
from sim.cli.check import check_command
from sim.cli.fidelity import fidelity_command
from sim.cli.files import convert_command, inspect_command
from sim.cli.inference import generate_command, perplexity_command
from sim.cli.isa import app as instruction_set
from sim.cli.mapping import map_command
from sim.cli.measure import app as measurements
from sim.cli.reproduction import reproduce_command
from sim.cli.rtl import app as hardware
from sim.cli.runs import run_command
from sim.cli.simulation import simulate_command
from sim.cli.sweep import sweep
from sim.cli.tracing import trace_command
from workloads.training.cli import app as training

__all__ = ["app"]

app = typer.Typer(
    name="bitloom",
    help="Hardware/software co-design simulator for ternary and low-bit LLMs.\n\n"
    "The data goes one way: a checkpoint runs on the golden model (exact integers), the run is recorded as a trace, "
    "the trace is simulated on machines, results are tabled, plotted and stored. Start with `bitloom run`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"bitloom {version('bitloom')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


for _name, _command in (
    ("run", run_command),
    ("generate", generate_command),
    ("perplexity", perplexity_command),
    ("trace", trace_command),
    ("simulate", simulate_command),
    ("advise", advise_command),
    ("reproduce", reproduce_command),
    ("fidelity", fidelity_command),
    ("map", map_command),
    ("check", check_command),
    ("inspect", inspect_command),
    ("convert", convert_command),
    ("sweep", sweep),
    ("bench", bench_command),
    ("list", list_command),
):
    app.command(_name)(_command)
app.add_typer(instruction_set, name="isa")
app.add_typer(hardware, name="rtl")
app.add_typer(measurements, name="measure")
app.add_typer(training, name="train")
