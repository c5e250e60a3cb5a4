"""The commands of `bitloom train`: arguments in, one call of the package, a table or a JSON document out.

`app` is mounted by the main command line, which turns an `InputError` into a message and exit code 2. What needs
PyTorch is imported by the commands that use it and only when they run, so that every `--help` works without it.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from tokenizers import Tokenizer

from isa import InputError
from workloads.files import whole_file
from workloads.training.corpus import TOKENIZER
from workloads.training.data import encode_documents, read_tokenizer, train_tokenizer
from workloads.training.recipe import read_recipe, shipped_recipes

__all__ = ["app"]

_INTERRUPTED = 130  # what shells report for Ctrl-C

app = typer.Typer(
    name="train",
    no_args_is_help=True,
    help="""Train a ternary model as the shipped tern-18m was trained: prepare texts, run a recipe, export the model.

    The whole way, with the recipe of a tiny model that a CPU trains in minutes:

    bitloom train prepare text_train novels/*.txt --vocabulary-size 1024

    bitloom train prepare text_valid another.txt

    bitloom train run tiny --out runs/tiny

    bitloom train export runs/tiny --out models/tiny

    prepare works without PyTorch; run and export need it.""",
)

_messages = Console(stderr=True)

DataFolder = Annotated[Path, typer.Option("--data", help="Folder of tokenizer.json and the token files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else on stdout.")]


class FloatType(StrEnum):
    """How `export` stores what is not ternary."""

    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the token set: its file becomes NAME.u16.")],
    texts: Annotated[list[Path], typer.Argument(metavar="TEXT...", help="UTF-8 text files.")],
    data: DataFolder = Path("data"),
    vocabulary_size: Annotated[
        int | None,
        typer.Option(help="First train a byte-level BPE tokenizer of so many tokens (257 to 65536) on TEXT."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn plain text files into a token file; the first call also trains the tokenizer.

    A file is one document, or several separated by lines that hold only
    <|endoftext|>. The first call for a data folder gives a --vocabulary-size
    and trains the tokenizer on its texts; later calls use that tokenizer.
    Keep some texts apart as a held-out set.

    Example:
    bitloom train prepare text_train novels/*.txt --vocabulary-size 4096
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise InputError("NAME", "name", name, "letters, digits, - and _ (at most 64)")
    tokenizer = _tokenizer(data / TOKENIZER, texts, vocabulary_size)
    destination = data / f"{name}.u16"
    with _byte_bar("encoding", texts) as advance:
        encoded = encode_documents(tokenizer, texts, destination, advance)
    report = {
        "file": str(destination),
        "vocabulary_size": tokenizer.get_vocab_size(),
        "documents": encoded.documents,
        "tokens": encoded.tokens,
        "text_bytes": encoded.text_bytes,
        "text_bytes_per_token": encoded.text_bytes / encoded.tokens,
    }
    _print(report, as_json)


@app.command()
def run(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help=f"One of {', '.join(shipped_recipes())}, or a TOML file like them."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoint, log.jsonl, tokenizer.")],
    data: DataFolder = Path("data"),
    device: Annotated[str, typer.Option(help="auto (CUDA where there is one), cpu, cuda, cuda:1, ...")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train by a recipe. Ctrl-C stops after the current step; the same command goes on from there.

    The log has one JSON object a line: recipe and data first, then one for
    each evaluation, at last the losses over the whole held-out sets.
    A checkpoint is a safetensors file and is replaced whole or not at all.

    Example:
    bitloom train run tiny --data data --out runs/tiny
    """
    _require_torch()
    import torch

    from workloads.training.loop import train

    chosen = read_recipe(recipe)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with _stop_on_interrupt() as should_stop, _training_bar(chosen.name) as show:
        outcome = train(chosen, data, out, device=device, should_stop=should_stop, show=show)
    report = {
        "run_dir": str(outcome.run_folder),
        "finished": outcome.finished,
        "device": device,
        "steps": outcome.steps,
        "tokens_seen": outcome.tokens_seen,
        "elapsed_seconds": outcome.elapsed_seconds,
        "held_out_nats_per_token": outcome.held_out_nats_per_token,
    }
    _print(report, as_json)
    if not outcome.finished:
        _messages.print(f"stopped after step {outcome.steps}; the same command goes on from there")
        raise typer.Exit(_INTERRUPTED)


@app.command()
def export(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not.")],
    out: Annotated[Path, typer.Option("--out", help="The model's folder: new or empty, written whole or not at all.")],
    online: Annotated[
        bool, typer.Option("--online", help="Store float masters, which are quantized when loaded.")
    ] = False,
    float_type: Annotated[
        FloatType, typer.Option(help="Type of embeddings, norms and scales, and of online weights.")
    ] = FloatType.BFLOAT16,
    as_json: AsJson = False,
) -> None:
    """Write the latest checkpoint of a run as a Hugging Face BitNet model folder.

    The weights are packed ternary codes, four a byte, unless --online asks
    for the float masters. Every --model option takes such a folder.

    Example:
    bitloom train export runs/tiny --out models/tiny
    """
    _require_torch()
    from workloads.training.export import export_model

    exported = export_model(run_dir, out, "online" if online else "offline", float_type.value)
    report = {
        "model_dir": str(exported.folder),
        "parameters": exported.parameters,
        "ternary_weights": exported.ternary_weights,
        "zero_share": exported.zero_share,
        "weight_file_bytes": exported.weight_file_bytes,
    }
    _print(report, as_json)


def _tokenizer(path: Path, texts: list[Path], vocabulary_size: int | None) -> Tokenizer:
    """The tokenizer of a data folder, trained and written first if a size is given."""
    if vocabulary_size is None:
        if not path.exists():
            raise InputError(path, "tokenizer", "no such file", "a --vocabulary-size, to train it in the first call")
        return read_tokenizer(path)
    if path.exists():
        raise InputError(path, "tokenizer", "one that exists", "no --vocabulary-size: other token files depend on it")
    with _byte_bar("training the tokenizer", texts) as advance:
        tokenizer = train_tokenizer(texts, vocabulary_size, advance)
    with whole_file(path) as partial:
        tokenizer.save(str(partial))
    return tokenizer


def _require_torch() -> None:
    if find_spec("torch") is None:
        _messages.print("This command needs PyTorch: pip install 'bitloom[train]'", markup=False, soft_wrap=True)
        raise typer.Exit(2)


@contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Make the first Ctrl-C a wish to stop, which the yielded function tells; the second one interrupts at once."""
    asked = False

    def on_interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _byte_bar(description: str, texts: list[Path]) -> Iterator[Callable[[int], None]]:
    """A progress bar over the bytes of text files; the yielded function advances it."""
    total = sum(path.stat().st_size for path in texts if path.is_file())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_messages) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)
        bar.update(task, completed=total)


@contextmanager
def _training_bar(name: str) -> Iterator[Callable[[float, str], None]]:
    """A progress bar over the fraction of a training; the yielded function sets it and what stands beside it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_messages) as bar:
        task = bar.add_task(f"training {name}", total=1.0, state="")
        yield lambda fraction, state: bar.update(task, completed=fraction, state=state)


def _print(report: dict[str, object], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report))
        return
    table = Table(show_header=False)
    for key, value in report.items():
        table.add_row(key.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)
