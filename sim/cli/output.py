"""What every command shares: consoles, the one JSON document, progress bars.

Standard output holds the result alone (text and tables, or with `--json` one document); everything else goes to
standard error. Progress bars show when standard error is a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["JsonOption", "console", "messages", "print_json", "print_table", "print_text", "progress_bar"]

# Columns of a table that goes to a file or another program.
_PIPED_WIDTH = 160

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")]


def console() -> Console:
    """Where results go."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


def messages() -> Console:
    """Where everything else goes."""
    return Console(file=sys.stderr, highlight=False)


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on standard output."""
    plain = sys.stdout.encoding.lower() != "utf-8"
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=plain) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Text on standard output as it is, but for control characters, which a terminal would obey."""
    shown = "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text)
    sys.stdout.write(shown + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Mapping[str, str], rows: list[list[str]]) -> None:
    """A table on standard output; `columns` maps headings to `left` or `right`."""
    table = Table(title=escape(title), title_justify="left")
    for heading, side in columns.items():
        table.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console().print(table)


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; yields a function that advances it."""
    out = messages()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda amount: progress.update(task, advance=amount)
