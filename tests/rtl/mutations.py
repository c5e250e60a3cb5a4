"""Faults planted in generated Verilog: all of them in one design, in which the input `mutant` says which one is active.

A fault changes one line: an operator, a condition, a constant, a bit. Number 0 is none of them, so that one build
serves the design and all its mutants. It is planted into what Amaranth writes: one operation an assignment, one
statement a line. Who finds the faults is the subject of `mutation_targets`.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["NUMBER_BITS", "Mutant", "plant_mutants"]

NUMBER_BITS = 16
_NAME = r"(?:\\\S+ |[A-Za-z_$][\w$]*)"
_MODULE = re.compile(rf"^module ({_NAME}) ?\((.*)\);$")
_LONG_HEAD = re.compile(r"^module [^;]*\n[^;]*;$", re.MULTILINE)
_INSTANCE = re.compile(rf"^  ({_NAME}) ?{_NAME} ?\($")
_DECLARATION = re.compile(rf"^  (?:wire|reg) (?:\[(\d+):0\] )?({_NAME}) ?(?:;| = )")
_CONTINUOUS = re.compile(rf"^  assign ({_NAME}) ?= (.*?) ?;$")
_PROCEDURAL = re.compile(rf"^(\s+)({_NAME}) ?(<?=) (.*?) ?;$")
_CONDITION = re.compile(r"^(\s+)if \((.*)\)( begin)?$")
_RESET_OF_INSTANCE = re.compile(r"^(\s+\.(?:\w+_)?rst\()((?:\w+_)?rst)(\),?)$")
_RESET = re.compile(r"(?:\w+_)?(?:rst|reset)")
_SELECTION = re.compile(r"^(\s+)casez \((.*)\)$")
_INDEX = re.compile(r"\[(.*)\]")
_LITERAL = re.compile(r"(\d+)'([hd])([0-9a-f]+)\b")
_BINARY = re.compile(r"^(.+?) (\+|-|\*|&&?|\|\|?|\^|==|!=|<=?|>=?|<<<?|>>>?) (.+)$")
_CHOICE = re.compile(r"^(.+?) \? (.+?) : (.+)$")
_UNARY = re.compile(r"^([~!]) (.+)$")

_OTHER_OPERATORS = {
    "+": {"subtraction for addition": "-"},
    "-": {"addition for subtraction": "+"},
    "*": {"addition for multiplication": "+"},
    "&": {"or for and": "|"},
    "|": {"and for or": "&"},
    "^": {"or for exclusive or": "|"},
    "&&": {"or for and": "||"},
    "||": {"and for or": "&&"},
    "==": {"inverted comparison": "!="},
    "!=": {"inverted comparison": "=="},
    "<": {"inverted comparison": ">=", "moved bound": "<="},
    "<=": {"inverted comparison": ">", "moved bound": "<"},
    ">": {"inverted comparison": "<=", "moved bound": ">="},
    ">=": {"inverted comparison": "<", "moved bound": ">"},
    "<<": {"right for left shift": ">>"},
    ">>": {"left for right shift": "<<"},
    ">>>": {"logical for arithmetic shift": ">>"},
}


_CONDITION_FAULTS = {"inverted condition": "!({} )", "condition never": "1'h0", "condition always": "1'h1"}


@dataclass(frozen=True)
class Mutant:
    """A planted fault.

    Parameters
    ----------
    number : int
        Value of the input `mutant` at which it is active.
    kind : str
    module : str
    line : int
        Of the design without faults, from 1 on.
    before, after : str
        What the line says, and what the fault makes of that.
    """

    number: int
    kind: str
    module: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.number}, {self.kind} in {self.module}, line {self.line}: {self.before}  ->  {self.after}"


@dataclass(frozen=True)
class _Site:
    """A fault that could be planted into a line; `planted` is the line for a condition under which it is active."""

    kind: str
    module: str
    line: int
    before: str
    after: str
    form: str
    width: int = 1

    def planted(self, number: int) -> str:
        active = f"(mutant == {NUMBER_BITS}'d{number})"
        if self.form != "continuous":
            return self.form.format(active=active, after=self.after, before=self.before)
        # Each side in a net of its own, because a choice between them would change how both are extended.
        target, value = self.before.split(" = ", 1)
        nets = [f"  wire [{self.width - 1}:0] mutant_{number}_{side};\n" for side in ("off", "on")]
        # An escaped name ends with a space.
        values = [
            f"  assign mutant_{number}_{side} = {text} ;\n" for side, text in (("off", value), ("on", self.after))
        ]
        return "".join(nets + values) + f"  assign {target}  = {active} ? mutant_{number}_on : mutant_{number}_off;"


def plant_mutants(text: str, count: int, seed: int, within: str = "top") -> tuple[str, list[Mutant]]:
    """Verilog with faults, each in a line of its own, of as many kinds as there are.

    Parameters
    ----------
    text : str
        Verilog as Amaranth writes it.
    count : int
        Faults to plant; fewer if the text has no more lines for them.
    seed : int
        Which they are.
    within : str
        Only into this module and those in it.

    Returns
    -------
    str
        The design, every module with a further input `mutant` of 16 bits.
    list of Mutant
    """
    lines = _LONG_HEAD.sub(_joined, text).splitlines()
    sites = [site for site in _sites(lines) if f"{site.module}.".startswith(f"{within}.")]
    chosen = _choose(sites, count, random.Random(seed))
    planted = {site.line: site.planted(number) for number, site in enumerate(chosen, start=1)}
    modules = {match[1].strip() for line in lines if (match := _MODULE.match(line))}
    output = []
    for position, line in enumerate(lines, start=1):
        output.append(planted.get(position, line))
        if module := _MODULE.match(line):
            ports = f"mutant, {module[2]}" if module[2] else "mutant"
            output[-1] = f"module {module[1]}({ports});"
            output.append(f"  input [{NUMBER_BITS - 1}:0] mutant;")
        elif (instance := _INSTANCE.match(line)) and instance[1].strip() in modules:
            output.append("    .mutant(mutant),")
    mutants = [
        Mutant(number, site.kind, site.module, site.line, lines[site.line - 1].strip(), site.after)
        for number, site in enumerate(chosen, start=1)
    ]
    return "\n".join(output) + "\n", mutants


def _joined(head: re.Match[str]) -> str:
    """The head of a module in one line; those below stay where they are."""
    return head[0].replace("\n", " ") + "\n" * head[0].count("\n")


def _choose(sites: list[_Site], count: int, rng: random.Random) -> list[_Site]:
    """Sites of different lines, the kinds in turn."""
    by_kind = defaultdict(list)
    for site in sites:
        by_kind[site.kind].append(site)
    for group in by_kind.values():
        rng.shuffle(group)
    chosen: dict[int, _Site] = {}
    while by_kind and len(chosen) < count:
        for kind in rng.sample(sorted(by_kind), len(by_kind)):
            group = by_kind[kind]
            while group and group[-1].line in chosen:
                group.pop()
            if not group:
                del by_kind[kind]
            elif len(chosen) < count:
                site = group.pop()
                chosen[site.line] = site
    return list(chosen.values())


def _sites(lines: list[str]) -> Iterator[_Site]:
    """Every fault that could be planted."""
    starts = [number for number, line in enumerate(lines) if _MODULE.match(line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        head = _MODULE.match(lines[start])
        assert head
        body = lines[start:end]
        widths = {match[2].strip(): int(match[1] or 0) + 1 for line in body if (match := _DECLARATION.match(line))}
        read = _names_read(body)
        for offset, line in enumerate(body):
            for site in _sites_of(line, widths, read):
                yield _Site(module=head[1].strip().removeprefix("\\"), line=start + offset + 1, **site)


def _names_read(body: list[str]) -> set[str]:
    """Names that a module reads, or offers at its ports: what is assigned to others has no effect."""
    read = set()
    for line in body:
        target, _, value = line.partition("=")
        # Of what is assigned to, an index is read.
        used = value + "".join(_INDEX.findall(target)) if value and not _MODULE.match(line) else line
        if not _DECLARATION.match(line):
            read |= {name.strip() for name in re.findall(_NAME, used)}
    return read


def _sites_of(line: str, widths: Mapping[str, int], read: set[str]) -> Iterator[Mapping[str, Any]]:
    """Faults of a line, as the fields of a `_Site`."""
    if match := _CONTINUOUS.match(line):
        target, value = match[1].strip(), match[2]
        if target in widths and target in read:
            width = widths[target]
            for kind, after in _faults(value, width):
                yield {
                    "kind": kind,
                    "before": f"{match[1]} = {value}",
                    "after": after,
                    "form": "continuous",
                    "width": width,
                }
    elif match := _CONDITION.match(line):
        indent, condition, begin = match.groups()
        if "$auto$" in condition:
            return
        form = f"{indent}if ({{active}} ? {{after}} : !(!({{before}} ))){begin or ''}"
        for kind, after in _CONDITION_FAULTS.items():
            # Most registers hold what nothing looks at before it is written: one that is not reset is no fault.
            if kind == "condition never" and _RESET.fullmatch(condition):
                continue
            yield {"kind": kind, "before": condition, "after": after.format(condition), "form": form}
    elif match := _RESET_OF_INSTANCE.match(line):
        opening, reset, closing = match.groups()
        form = f"{opening}{{active}} ? {{after}} : {{before}}{closing}"
        yield {"kind": "reset not connected", "before": reset, "after": "1'h0", "form": form}
    elif match := _SELECTION.match(line):
        indent, selector = match.groups()
        form = f"{indent}casez ({{active}} ? {{after}} : {{before}} )"
        yield {"kind": "selection off by one", "before": selector, "after": f"{selector} + 1'h1", "form": form}
    elif (match := _PROCEDURAL.match(line)) and match[2].strip() in widths and "$signed" not in match[4]:
        indent, target, operator, value = match.groups()
        form = f"{indent}{target}  {operator} {{active}} ? {{after}} : {{before}} ;"
        for kind, after in _faults(value, widths[target.strip()]):
            yield {"kind": kind, "before": value, "after": after, "form": form}


def _faults(value: str, width: int) -> Iterator[tuple[str, str]]:
    """Kinds of faults of an expression, and what they make of it."""
    if match := _CHOICE.match(value):
        yield "swapped choice", f"{match[1]} ? {match[3]} : {match[2]}"
    elif match := _BINARY.match(value):
        left, operator, right = match.groups()
        for kind, other in _OTHER_OPERATORS.get(operator, {}).items():
            yield kind, f"{left} {other} {right}"
        if operator in ("-", "<", "<=", ">", ">=", "<<", ">>", ">>>"):
            yield "swapped operands", f"{right} {operator} {left}"
    elif match := _UNARY.match(value):
        yield "dropped inversion", match[2] if match[1] == "~" else f"!(!({match[2]} ))"
    if "$signed(" in value:
        yield "lost sign", value.replace("$signed(", "$unsigned(", 1)
    if match := _LITERAL.search(value):
        yield "constant off by one", value[: match.start()] + _next(match) + value[match.end() :]
    # The highest bit and the lowest: what is wide is cut where it is used.
    for bit in {0, width - 1}:
        one = f"{width}'h{1 << bit:x}"
        yield "bit stuck at 1", f"({value} ) | {one}"
        yield "bit stuck at 0", f"({value} ) & ~{one}"


def _next(literal: re.Match[str]) -> str:
    width, base = int(literal[1]), {"h": 16, "d": 10}[literal[2]]
    return f"{width}'h{(int(literal[3], base) + 1) % (1 << width):x}"
