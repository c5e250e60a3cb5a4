"""`bitloom measure`: what the processor at hand really does, by code in C that is compiled on the spot."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from isa import InputError
from sim.cli.measure_core import core_command
from sim.cli.output import JsonOption, messages, print_json, print_table, print_text, progress_bar
from sim.native import KERNELS, Measurement, NativeKernel, kernel_named, measure_kernel
from sim.native.measure import WEIGHTS_FROM, WeightsFrom
from sim.timing.cpu.core import Core, load_core
from sim.timing.cpu.predict import predict_kernel
from workloads.files import whole_file

__all__ = ["app"]

app = typer.Typer(
    name="measure",
    no_args_is_help=True,
    help="""Measure this processor: kernels in C, compiled on the spot, pinned to cores.

    bitloom measure kernels --kernel TL2 --shape 2560x6912""",
)

_Row = dict[str, str | int | float]

# The shapes of BitNet b1.58 2B4T: keys and values, queries and outputs, up and gate, down.
_SHAPES = ("2560x640", "2560x2560", "2560x6912", "6912x2560")
_MOST_CASES = 10_000
_CSV_COLUMNS = ("kernel", "k", "n_out", "batch_tokens", "threads", "weights_from", "time_us")


@dataclass(frozen=True)
class _Case:
    """One row of the table."""

    kernel: NativeKernel
    k: int
    n_out: int
    threads: int
    weights_from: WeightsFrom

    def measured(self, repeats: int) -> Measurement:
        tokens = self.kernel.measured_tokens
        return measure_kernel(self.kernel, self.k, self.n_out, tokens, self.threads, self.weights_from, repeats)


@app.command("kernels")
def kernels_command(
    kernel: Annotated[list[str] | None, typer.Option(help="Name, repeatable [default: all that run here].")] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="Inputs x outputs, as 2560x6912, repeatable [default: BitNet 2B4T's].")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of cores that share a product, as 1,2.")] = "1",
    weights_from: Annotated[
        str, typer.Option(help="hot: weights from cache, the least time; stream: from memory, the 10th percentile.")
    ] = ",".join(WEIGHTS_FROM),
    repeats: Annotated[int, typer.Option(min=1, help="Samples of a product in each round, at most 0.3 s.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Times that all is measured; the least counts.")] = 3,
    compare: Annotated[bool, typer.Option("--compare", help="Beside what is predicted for --cpu.")] = False,
    cpu: Annotated[str, typer.Option(help="Shipped core or file of `measure core`, to compare with.")] = "zen4",
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Time the native kernels on this processor: microseconds of a product of packed weights and 8-bit activations.

    Times leave out tables and sums made of the activations, which have a column of their own. Other work on the
    computer shows in them: differences below a tenth are noise.

    Example: `bitloom measure kernels --kernel "I2_S[1x1]" --kernel TL2 --shape 2560x6912 --out kernels.csv`

    `bitloom measure kernels --compare` puts the time beside that predicted from the kernel's instructions.
    """
    core = load_core(cpu) if compare else None
    cases = list(_cases(_chosen(kernel), shape or list(_SHAPES), threads, weights_from))
    with whole_file(out) if out else nullcontext() as partial:
        rows = [_row(value) | _predicted(core, value) for value in _measured(cases, repeats, rounds)]
        if partial is not None:
            _write_csv(partial, rows)
    errors = [abs(value) for row in rows if isinstance(value := row.get("error"), float)]
    if as_json:
        print_json({"kernels": rows} | ({"median_error": median(errors), "worst_error": max(errors)} if errors else {}))
        return
    columns = {name.replace("_", " "): "left" if isinstance(value, str) else "right" for name, value in rows[0].items()}
    cells = [[f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    print_table("Kernels on this processor", columns, cells)
    if errors:
        print_text(f"{len(errors)} predicted for {cpu}: median error {median(errors):.1%}, worst {max(errors):.1%}")


app.command("core")(core_command)


def _measured(cases: list[_Case], repeats: int, rounds: int) -> Iterable[Measurement]:
    """The least time of each case over all rounds."""
    best: dict[_Case, Measurement] = {}
    with progress_bar("measuring kernels", rounds * len(cases)) as advance:
        for _ in range(rounds):
            for case in cases:
                found = case.measured(repeats)
                best[case] = min(best.get(case, found), found, key=lambda value: value.time_us)
                advance(1)
    return best.values()


def _write_csv(path: Path, rows: list[_Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _row(value: Measurement) -> _Row:
    return {
        "kernel": value.kernel,
        "k": value.k,
        "n_out": value.n_out,
        "batch_tokens": value.batch_tokens,
        "threads": value.threads,
        "weights_from": value.weights_from,
        "time_us": round(value.time_us, 2),
        "preparation_us": round(value.preparation_us, 2),
    }


def _predicted(core: Core | None, value: Measurement) -> _Row:
    """What the product alone is predicted to take, and the error, where there is a core to predict for."""
    if core is None:
        return {}
    sizes = value.k, value.n_out, value.batch_tokens, value.threads, value.weights_from
    time_us = predict_kernel(core, value.kernel, *sizes).breakdown["product"]
    return {"predicted_us": round(time_us, 2), "error": round(time_us / value.time_us - 1, 4)}


def _chosen(names: list[str] | None) -> list[NativeKernel]:
    """The kernels of these names; without names all that can run here, and a word on the others."""
    if names:
        return [kernel_named(name) for name in dict.fromkeys(names)]
    chosen, reason = [], None
    for kernel in KERNELS.values():
        try:
            kernel.require()
        except InputError as error:
            reason = error
            messages().print(f"left out: {error}", markup=False)
        else:
            chosen.append(kernel)
    if not chosen and reason is not None:
        raise reason
    return chosen


def _cases(kernels: list[NativeKernel], shapes: list[str], threads: str, weights_from: str) -> Iterator[_Case]:
    sizes = [_shape(text) for text in dict.fromkeys(shapes)]
    counts = [_count("--threads", text) for text in dict.fromkeys(threads.split(","))]
    sources = [_source(text) for text in dict.fromkeys(weights_from.split(","))]
    if len(kernels) * len(sizes) * len(counts) * len(sources) > _MOST_CASES:
        raise InputError("command line", "--shape", f"{len(sizes)} shapes", f"at most {_MOST_CASES} rows in all")
    for kernel in kernels:
        for k, n_out in sizes:
            for count in counts:
                for source in sources:
                    yield _Case(kernel, k, n_out, count, source)


def _shape(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2:
        raise InputError("command line", "--shape", text, "inputs x outputs, as 2560x6912")
    return _count("--shape", parts[0]), _count("--shape", parts[1])


def _count(option: str, text: str) -> int:
    # Nine digits are more than any of these may be.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise InputError("command line", option, text, "whole numbers from 1 up")
    return int(text)


def _source(text: str) -> WeightsFrom:
    for source in WEIGHTS_FROM:
        if text == source:
            return source
    raise InputError("command line", "--weights-from", text, "one or both of " + ", ".join(WEIGHTS_FROM))
