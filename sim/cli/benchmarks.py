"""`bitloom bench`: the speed of bitloom itself."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated, Any

import typer

from isa import InputError
from sim.cli.output import JsonOption, messages, print_json, print_table

__all__ = ["bench_command"]

# What each name measures, part by part, every part in a process of its own.
_PARTS = {
    "formats": ("formats",),
    "inference": ("inference", "inference-large", "inference-backends"),
    "sim": ("sim", "points"),
    "rtl": ("rtl",),
    "sweep": ("sweep",),
}


def bench_command(
    name: Annotated[
        list[str] | None, typer.Argument(help="formats, inference, sim, rtl, sweep; all of them by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure formats, golden inference, simulation, RTL and sweeps on this computer, each in a process of its own.

    Example: `bitloom bench inference`
    """
    names = name or list(_PARTS)
    unknown = [item for item in names if item not in _PARTS]
    if unknown:
        raise InputError("command line", "NAME", unknown[0], "one of " + ", ".join(_PARTS))
    figures: dict[str, Any] = {}
    for part in (part for item in names for part in _PARTS[item]):
        with messages().status(f"measuring {part}"):
            figures |= _in_own_process(part)
    if as_json:
        print_json(figures)
        return
    tables = {key: value for key, value in figures.items() if isinstance(value, list)}
    rows = [[key.replace("_", " "), _text(value)] for key, value in figures.items() if key not in tables]
    print_table("Benchmarks", {"figure": "left", "value": "right"}, rows)
    for title, table in tables.items():
        columns = {key.replace("_", " "): "left" if key == "name" else "right" for key in table[0]}
        print_table(
            title.replace("_", " ").capitalize(), columns, [[_text(value) for value in row.values()] for row in table]
        )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


def _in_own_process(name: str) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, name).result()


def measure(name: str) -> dict[str, Any]:
    """Run one benchmark; the import is here so that the parent process stays small."""
    from sim.study.benchmarks import BENCHMARKS

    return BENCHMARKS[name]()
