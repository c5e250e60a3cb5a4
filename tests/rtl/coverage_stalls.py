"""Who had to wait for whom: bins of stalls, read from the bits that a counting simulation has seen change.

Not stated: that the memory waits with the answer to a write, because the unit is always ready for an answer that it has
asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from verilator_coverage import Coverage

from isa.instructions import (
    End,
    EngineInstruction,
    Fence,
    Halt,
    Instruction,
    Lmma,
    Load,
    Loop,
    LutGen,
    Scale,
    SetPointer,
    Store,
    Sync,
)
from isa.instructions.types import ENGINES
from rtl.configuration import Configuration

__all__ = ["crowded_program", "reached_stalls", "stated_stalls"]

_CROWD = 40


def _signals() -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """A bin, and the module and change of a bit that mean it."""
    for channel in ("ar", "aw", "w"):
        yield ("the unit waits for the memory", channel), (f"top.guard.{channel}", "source___05Fready:1->0")
    yield ("the memory waits for the unit", "r"), ("top.guard", "outside___05Frready:1->0")
    for engine in ENGINES:
        yield ("the front end waits for a full queue", engine), (f"top.core.{engine}_queue", "source___05Fready:1->0")
        yield ("an engine waits for a token", engine), (f"top.core.{engine}_issue", "blocked:0->1")


def stated_stalls() -> set[tuple[str, str]]:
    """All of them."""
    return {name for name, _ in _signals()}


def reached_stalls(coverage: Iterable[Coverage]) -> set[tuple[str, str]]:
    """Those that have come up; KeyError if the design has no such module any more."""
    missed = {item.module: " ".join(item.missed) for item in coverage if item.kind == "toggle"}
    return {name for name, (module, change) in _signals() if f" {change} of " not in missed[module]}


def crowded_program(configuration: Configuration) -> list[Instruction]:
    """Many long commands of each engine, one behind the other, which fill its queue.

    Without tables the table engine has nothing but tokens to do: there its queue fills behind the first, which waits.
    """
    unit, tables = configuration.unit, configuration.looks_up_tables
    commands: list[EngineInstruction] = [
        Load(space="weight", source=0, target=0, rows=20, row_bytes=64, pitch_bytes=64),
        Lmma(
            m=unit.m, n=unit.n, k=unit.k, activation="int8", weight=configuration.weight_types[0], accumulator="int32",
            inputs="table" if tables else "activation", order="blocks", mode="overwrite", source=0, weights=0, target=0,
            rows=8, columns=32, depth=16, pitch_bytes=64,
        ),
        Scale(
            granularity="row", rule="multiply", columns_have="one", scale="fp32", source=0, target=0, column_scales=0,
            row_scales=0, rows=8, columns=32,
        ),
        Store(
            space="activation", mode="overwrite", origin="accumulator", element="int32", result="int32", source=0,
            target=0, rows=8, columns=32, pitch_bytes=128,
        ),
    ]  # fmt: skip
    if tables:
        commands.append(LutGen(k=unit.k, activation="int8", source=0, target=0, rows=8, depth=64, pitch_bytes=64))
    program: list[Instruction] = [SetPointer(target=0, base=0, ring_bytes=0)]
    for command in commands:
        program += [Loop(count=_CROWD), command, End(), Fence()]
    if not tables:
        token = frozenset({9})
        program += [replace(commands[0], signal=token), Sync(unit="table", wait=token)]
        program += [Loop(count=_CROWD), Sync(unit="table"), End(), Fence()]
    return [*program, Halt()]
