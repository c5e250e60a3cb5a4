"""Published figures as data: numbers of other people's work, each with its unit, node and citation.

They are read from the TOML files of `cost_models/published/` and checked when read. What is made of them is the
subject of `cost_models.logic` and `cost_models.memory`; nothing here computes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isa import InputError

__all__ = ["PublishedFigure", "Unit", "figure", "figures_named", "published_figures", "read_figures"]

PUBLISHED_FOLDER = Path(__file__).with_name("published")

Unit = Literal["um2", "mm2", "mW", "pJ", "pJ/bit", "TOPS/W", "TOPS/mm2", "GHz"]
Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class PublishedFigure:
    """One published number.

    Parameters
    ----------
    name : str
        What the number is, such as "sram area".
    value : float
        Positive and finite, in `unit`.
    unit : str
        One of `Unit`. TOPS count a multiply-accumulate as two operations; 1 TOPS/W is 1 operation/pJ.
    node_nm : int
        Technology node in nm; 0 where no logic node applies (DRAM).
    source : str
        Citation and the place inside it.
    at : tuple of (attribute, value)
        For which attributes the number stands, such as (("bytes", 65536),).
    """

    name: str
    value: float
    unit: Unit
    node_nm: int
    source: str
    at: tuple[tuple[str, int | str], ...] = ()


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: Text
    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    unit: Unit
    at: dict[str, Annotated[int, Field(gt=0)] | Text]
    where: Text


class _SourceFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    citation: Text
    node_nm: Annotated[int, Field(ge=0, le=1000)]
    figure: Annotated[list[_Entry], Field(min_length=1)]


def read_figures(file: Path) -> list[PublishedFigure]:
    """Read one TOML file of figures.

    Raises
    ------
    InputError
        Unreadable file, no TOML, a field missing, unknown or unfit, or the same figure twice.
    """
    try:
        content = _SourceFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(file, "file", error.strerror or str(error), "a readable file") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(file, place, first["input"], first["msg"]) from None
    except (ValueError, RecursionError) as error:  # syntax, encoding, a number of too many digits, nesting too deep
        raise InputError(file, "file", str(error), "a TOML file in UTF-8") from None
    figures = [
        PublishedFigure(
            name=entry.name,
            value=entry.value,
            unit=entry.unit,
            node_nm=content.node_nm,
            source=f"{content.citation}: {entry.where}",
            at=tuple(entry.at.items()),
        )
        for entry in content.figure
    ]
    _refuse_duplicates(figures, file)
    return figures


def _refuse_duplicates(figures: Iterable[PublishedFigure], source: Path) -> None:
    seen = set()
    for item in figures:
        key = (item.name, frozenset(item.at))
        if key in seen:
            raise InputError(source, item.name, f"twice for {dict(item.at)}", "each figure once")
        seen.add(key)


@cache
def _all_figures() -> tuple[PublishedFigure, ...]:
    files = sorted(PUBLISHED_FOLDER.glob("*.toml"))
    figures = tuple(item for file in files for item in read_figures(file))
    _refuse_duplicates(figures, PUBLISHED_FOLDER)
    return figures


def published_figures() -> list[PublishedFigure]:
    """All published figures with their sources, by file and in the order of the file."""
    return list(_all_figures())


@cache
def figures_named(name: str, unit: Unit) -> tuple[PublishedFigure, ...]:
    """All figures of one name, in the order of the file; InputError if there is none or one has another unit."""
    found = tuple(item for item in _all_figures() if item.name == name)
    if not found:
        known = dict.fromkeys(item.name for item in _all_figures())
        raise InputError(PUBLISHED_FOLDER, name, "no such figure", "one of " + ", ".join(known))
    for item in found:
        if item.unit != unit:
            raise InputError(PUBLISHED_FOLDER, name, item.unit, unit)
    return found


def figure(name: str, unit: Unit) -> PublishedFigure:
    """The only figure of that name; InputError if there is none, several, or it has another unit."""
    found = figures_named(name, unit)
    if len(found) != 1:
        raise InputError(PUBLISHED_FOLDER, name, f"{len(found)} figures", "one figure")
    return found[0]
