"""Reads the coverage that a Verilator simulation counts: one text file, one counter a line."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Coverage", "read_coverage"]

# C '<key 1>=<value>...' count, each key after a 1 byte and each value after a 2 byte (verilated_cov.cpp).
_LINE = re.compile(r"C '(.*)' (\d+)$")
_FIELD = re.compile("\x01(\\w+)\x02([^\x01]*)")


@dataclass(frozen=True)
class Coverage:
    """Counters of one kind in one module.

    Parameters
    ----------
    module : str
        Name of the Verilog module.
    kind : str
        "line", "branch" or "toggle" (each bit, up and down).
    hit, total : int
        Counters above zero, and all.
    missed : tuple of str
        Line in the module's Verilog and object of each counter at zero.
    """

    module: str
    kind: str
    hit: int
    total: int
    missed: tuple[str, ...]


def read_coverage(paths: Iterable[Path]) -> list[Coverage]:
    """The counters of several runs of one simulation, added up, sorted by module and kind.

    Raises
    ------
    ValueError
        If a line is no counter.
    """
    counts: dict[tuple[str, str, int, str], int] = defaultdict(int)
    for path in paths:
        for line in path.read_text().splitlines():
            if line.startswith("#"):
                continue
            parts = _LINE.fullmatch(line)
            if parts is None:
                raise ValueError(f"{path}: no counter: {line!r}")
            field = dict(_FIELD.findall(parts[1]))
            kind, module = field["page"].removeprefix("v_").split("/", 1)
            counts[module, kind, int(field["l"]), f"{field['o']} of {field['h']}"] += int(parts[2])
    groups: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for (module, kind, number, what), count in sorted(counts.items()):
        groups[module, kind].append((f"line {number}: {what}", count))
    return [
        Coverage(module, kind, sum(n > 0 for _, n in group), len(group), tuple(w for w, count in group if not count))
        for (module, kind), group in groups.items()
    ]
