"""Published figures beside ours: a folder for each paper, with its figures as CSV and one function that computes ours.

Each figure says what ours is: `predicted`, where nothing was fitted to it; `calibrated`, where something was; `exact`,
where it follows from the definition. What is printed is never a published figure handed back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from isa import InputError
from sim.study.reproductions.bitnet_cpp import bitnet_cpp
from sim.study.reproductions.item import Item
from sim.study.reproductions.tmac import tmac
from sim.study.reproductions.zen4_kernels import zen4_kernels

__all__ = ["REPRODUCTIONS", "Item", "reproduction_named"]

Reproduction = Callable[[], Iterator[Item]]

REPRODUCTIONS: Mapping[str, Reproduction] = MappingProxyType(
    {"bitnet-cpp": bitnet_cpp, "tmac": tmac, "zen4-kernels": zen4_kernels}
)


def reproduction_named(name: str) -> Reproduction:
    """The reproduction of that name; `InputError` that lists the known ones otherwise."""
    try:
        return REPRODUCTIONS[name]
    except KeyError:
        raise InputError("command line", "NAME", name, "one of " + ", ".join(REPRODUCTIONS)) from None
