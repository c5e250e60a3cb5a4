"""`bitloom advise`: which kernel makes a model fastest on a CPU."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isa import InputError
from sim.cli.output import JsonOption, print_json, print_table, progress_bar
from sim.evaluation.cpu_advice import Choice, advise, kernels_of
from sim.simd.kernels import KERNELS
from sim.timing.cpu.core import load_core
from sim.timing.cpu.predict import kernel_named
from workloads import load_model_architecture

__all__ = ["advise_command"]

_MOST_NUMBERS = 64
_LARGEST_NUMBER = 1 << 16
_SHOWN = 3
# Heads in FP16, for the widest vectors first.
_HEADS = ("f16", "f16 AVX2", "F16 NEON")


def advise_command(
    cpu: Annotated[str, typer.Option(help="Shipped core (`bitloom list`) or TOML file.")],
    model: Annotated[str, typer.Option(help="Shipped model, checkpoint, GGUF file or config.json.")],
    threads: Annotated[str, typer.Option(help="Numbers of threads, as in 1,2,8.")] = "1",
    batch: Annotated[str, typer.Option(help="Tokens of a pass: 1 decodes, more are a prompt.")] = "1",
    head: Annotated[str | None, typer.Option(help="Kernel of the head [default: f16].")] = None,
    kernel: Annotated[
        list[str] | None, typer.Option(help="A kernel to look at; may be repeated [default: all]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The fastest kernel and format for a model on a CPU, what bounds it, and what the head costs.

    Example: `bitloom advise --cpu zen4 --model bitnet-2b4t --threads 1,2,8 --batch 1,128`
    """
    core = load_core(cpu)
    architecture = load_model_architecture(model)
    names = [kernel_named(name).name for name in kernel or []]
    of_head = kernel_named(
        head or next((name for name in _HEADS if KERNELS[name].features <= set(core.features)), _HEADS[0])
    )
    kernels = kernels_of(core, names, architecture.weight_format)
    counts, batches = _numbers("--threads", threads), _numbers("--batch", batch)
    with progress_bar(f"{model} on {core.name}", len(kernels) * len(counts) * len(batches)) as advance:
        ranked = list(advise(core, architecture, kernels, of_head, counts, batches, advance))
    if as_json:
        choices = [
            _document(choices[0], of_head.name) | {"others": [_brief(each) for each in choices[1:]]}
            for choices in ranked
        ]
        print_json({"cpu": core.name, "model": architecture.name, "choices": choices})
        return
    _print(f"{architecture.name} on {core.name}, head {of_head.name}", ranked)


def _numbers(option: str, text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) > _MOST_NUMBERS or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise InputError(
            "command line", option, text, f"at most {_MOST_NUMBERS} numbers with commas between, as in 1,2,8"
        )
    numbers = list(dict.fromkeys(int(part) for part in parts))
    if not all(1 <= number <= _LARGEST_NUMBER for number in numbers):
        raise InputError("command line", option, text, f"numbers from 1 to {_LARGEST_NUMBER}")
    return numbers


def _brief(choice: Choice) -> dict[str, Any]:
    found = choice.prediction
    return {"kernel": choice.kernel.name, "tokens_per_second": found.tokens_per_second, "bound_by": found.bound_by}


def _document(choice: Choice, head: str) -> dict[str, Any]:
    found = choice.prediction
    place = {"threads": choice.threads, "batch": choice.batch}
    return (
        place
        | _brief(choice)
        | {"head": head, "head_share": found.head_share, "milliseconds": dict(found.milliseconds)}
    )


def _print(title: str, ranked: list[list[Choice]]) -> None:
    rows = [
        [
            str(choice.threads),
            str(choice.batch),
            choice.kernel.name,
            f"{choice.prediction.tokens_per_second:,.1f}",
            choice.prediction.bound_by,
            f"{choice.prediction.head_share:.0%}",
        ]
        for choices in ranked
        for choice in choices[:_SHOWN]
    ]
    columns = {
        "threads": "right",
        "batch": "right",
        "kernel": "left",
        "tokens/s": "right",
        "bound by": "left",
        "head": "right",
    }
    print_table(title, columns, rows)
