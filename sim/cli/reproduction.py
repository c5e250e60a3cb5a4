"""`bitloom reproduce`: published figures beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from isa import InputError
from sim.cli.output import JsonOption, print_json, print_table, print_text, progress_bar
from sim.study.reproductions import REPRODUCTIONS, Item, reproduction_named
from sim.study.reproductions.item import order_kept, summary
from workloads.files import whole_file

__all__ = ["reproduce_command"]

# Below it publications do not tell figures apart.
_NOISE = 0.1


def reproduce_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help=", ".join(REPRODUCTIONS))] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to a CSV file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute what publications report, and print theirs, ours and the error side by side.

    `predicted`: nothing was fitted to the figure; `calibrated`: something was.

    Example: `bitloom reproduce bitnet-cpp tmac`
    """
    if everything == bool(names):
        found = "--all and names" if everything else "neither"
        raise InputError("command line", "NAME", found, "--all, or some of " + ", ".join(REPRODUCTIONS))
    chosen = {name: reproduction_named(name) for name in (REPRODUCTIONS if everything else dict.fromkeys(names or []))}
    found_items: dict[str, list[Item]] = {}
    for name, reproduction in chosen.items():
        with progress_bar(name, None) as advance:
            found_items[name] = []
            for item in reproduction():
                found_items[name].append(item)
                advance(1)
    rows = [{"reproduction": name, **_row(item)} for name, items in found_items.items() for item in items]
    if out is not None:
        with whole_file(out) as path:
            pd.DataFrame(rows).to_csv(path, index=False)
    if as_json:
        print_json({"items": rows, "summaries": {name: _summary(items) for name, items in found_items.items()}})
        return
    for name, items in found_items.items():
        _print(name, items)


def _row(item: Item) -> dict[str, Any]:
    return {
        "name": item.name,
        "published": item.published,
        "ours": item.ours,
        "error": item.error,
        "unit": item.unit,
        "kind": item.kind,
    }


def _summary(items: list[Item]) -> dict[str, Any]:
    kept, pairs = order_kept(items, _NOISE)
    predicted = [item for item in items if item.kind == "predicted"]
    document: dict[str, Any] = {"figures": len(items), "predicted": len(predicted), **summary(predicted or items)}
    return document | {"pairs": pairs, "pairs_in_order": kept, "kendall_tau": 2 * kept / pairs - 1 if pairs else None}


def _print(name: str, items: list[Item]) -> None:
    rows = [
        [item.name, f"{item.published:,.2f}", f"{item.ours:,.2f}", f"{item.error:+.1%}", item.unit, item.kind]
        for item in items
    ]
    columns = {
        "figure": "left",
        "published": "right",
        "ours": "right",
        "error": "right",
        "unit": "left",
        "kind": "left",
    }
    print_table(name, columns, rows)
    found = _summary(items)
    print_text(
        f"{found['figures']} figures, {found['predicted']} predicted: mean error {found['mean_absolute_error']:.1%}, "
        f"median {found['median_error']:.1%}, worst {found['worst_error']:.1%}; of {found['pairs']} pairs that differ "
        f"by more than {_NOISE:.0%}, {found['pairs_in_order']} in the same order"
        + (f" (Kendall tau {found['kendall_tau']:.2f})" if found["pairs"] else "")
    )
