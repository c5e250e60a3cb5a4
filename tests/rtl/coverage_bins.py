"""What programs have to have done before the unit counts as tested: every bin that is stated, in one table.

A bin is a combination of what an instruction says and of where its operands lie. What cannot be is not stated:

- floats in the array, tables on a unit without them, weights that a unit was not built for: it refuses them, which is a
  bin of its own among the errors;
- stores of floats as integers, of int16 accumulators and of 32-bit tables: refused likewise;
- accumulators, results and their loads at other places than multiples of 4: the unit refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from top_errors import refused_programs

from isa.front_end import Dispatched, FrontEnd
from isa.instructions import End, EngineInstruction, Fence, Instruction, Lmma, Load, Loop, LutGen, Scale, Store, Sync
from isa.instructions.control import DEEPEST_LOOP
from isa.instructions.types import ENGINES, SCRATCHPADS, WEIGHT_TYPES
from isa.program import Program
from rtl.configuration import Configuration

__all__ = ["Bins", "reached_bins", "stated_bins"]

Bins = dict[str, set[tuple[Any, ...]]]
"""Bins by the name of their group."""

_INTEGERS = tuple(f"int{bits}" for bits in range(1, 9))
_WHOLE = ("whole", "edge")
_MODES = ("overwrite", "accumulate")
_PLACES = ("at the begin of a beat", "within a beat")


def stated_bins(configuration: Configuration) -> Bins:
    """Every bin of a unit, those of stalls excepted (`coverage_stalls`)."""
    tables = configuration.looks_up_tables
    weights = [WEIGHT_TYPES[name] for name in configuration.weight_types]
    spaces = [space for space in SCRATCHPADS if configuration.unit.size_bytes(space)]
    elements = [("accumulator", "int32", result) for result in ("int16", "int32", "fp16", "fp32")]
    elements += [("accumulator", "fp32", result) for result in ("fp16", "fp32")]
    elements += [("table", "int16", result) for result in ("int16", "int32", "fp16", "fp32") if tables]
    bins: Bins = {
        "lmma: activations x weights": set(product(_INTEGERS, (item.name for item in weights))),
        "lmma: coding x bits": {(item.coding, item.bits) for item in weights},
        "lmma: rows x columns x depth": set(product(_WHOLE, _WHOLE, _WHOLE)),
        "lmma: mode x one block or several": set(product(_MODES, ("one", "several"))),
        "scale: granularity x rule x element x columns_have": set(
            product(("row", "group"), ("multiply", "divide"), ("fp16", "fp32"), ("each", "one"))
        ),
        "scale: in place or not x columns": set(product(("in place", "elsewhere"), _WHOLE)),
        "store: origin, element and result x space x mode": {
            (*item, space, mode) for item, space, mode in product(elements, ("memory", "activation"), _MODES)
        },
        "store: rows x target": set(product(("one", "several"), _PLACES)),
        "load: space x source x target": set(product(spaces, _PLACES, _PLACES)),
        "load: rows x gaps": {("one", "none")} | set(product(("several",), ("none", "overlap", "gaps"))),
        "commands inside of loops": set(product(range(DEEPEST_LOOP + 1))),
        "tokens given by x taken by": {pair for pair in product(ENGINES, ENGINES) if pair[0] != pair[1]},
        "errors: code x source": {(case.code.name, case.source) for case in refused_programs(configuration)},
    }
    if tables:
        bins["lutgen: activations x depth"] = set(product(_INTEGERS, _WHOLE))
    return bins


def reached_bins(configuration: Configuration, programs: Iterable[Program]) -> Bins:
    """The bins that programs which were executed have reached, those of errors excepted."""
    reached: Bins = {}
    for program in programs:
        givers = dict[int, str]()
        depths = _depths(program)
        for item in _dispatched(program):
            instruction = item.instruction
            if isinstance(instruction, Fence):
                givers.clear()
            if not isinstance(instruction, EngineInstruction):
                continue
            for counter in instruction.wait & givers.keys():
                reached.setdefault("tokens given by x taken by", set()).add((givers[counter], instruction.engine))
            givers |= dict.fromkeys(instruction.signal, instruction.engine)
            if isinstance(instruction, Sync):
                continue
            reached.setdefault("commands inside of loops", set()).add((depths[item.position],))
            for group, bin_ in _bins_of(configuration, instruction, item.addresses):
                reached.setdefault(group, set()).add(bin_)
    return reached


def _dispatched(program: Program) -> Iterator[Dispatched]:
    front_end = FrontEnd(program)
    while not front_end.halted:
        yield front_end.execute()


def _depths(program: Program) -> list[int]:
    """Loops around each instruction."""
    depths, depth = list[int](), 0
    for instruction in program.instructions:
        depths.append(depth)
        depth += isinstance(instruction, Loop) - isinstance(instruction, End)
    return depths


def _bins_of(
    configuration: Configuration, instruction: Instruction, at: Mapping[str, int]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    bus = configuration.bus_bytes

    def place(address: int) -> str:
        return _PLACES[bool(address % bus)]

    match instruction:
        case Load():
            yield "load: space x source x target", (instruction.space, place(at["source"]), place(at["target"]))
            gap = instruction.pitch_bytes - instruction.row_bytes
            kind = "gaps" if gap > 0 else "overlap" if gap else "none"
            yield "load: rows x gaps", ("several", kind) if instruction.rows > 1 else ("one", "none")
        case LutGen():
            edge = _WHOLE[bool(instruction.depth % instruction.k)]
            yield "lutgen: activations x depth", (instruction.activation, edge)
        case Lmma():
            weight = WEIGHT_TYPES[instruction.weight]
            sizes = (
                (instruction.rows, instruction.m),
                (instruction.columns, instruction.n),
                (instruction.depth, instruction.k),
            )
            yield "lmma: activations x weights", (instruction.activation, instruction.weight)
            yield "lmma: coding x bits", (weight.coding, weight.bits)
            yield "lmma: rows x columns x depth", tuple(_WHOLE[bool(size % step)] for size, step in sizes)
            one = instruction.passes == instruction.groups
            yield "lmma: mode x one block or several", (instruction.mode, "one" if one else "several")
        case Scale():
            yield (
                "scale: granularity x rule x element x columns_have",
                (instruction.granularity, instruction.rule, instruction.scale, instruction.columns_have),
            )
            edge = _WHOLE[bool(instruction.columns % configuration.scale_lanes)]
            where = "in place" if at["source"] == at["target"] else "elsewhere"
            yield "scale: in place or not x columns", (where, edge)
        case Store():
            kinds = (instruction.origin, instruction.element, instruction.result, instruction.space, instruction.mode)
            yield "store: origin, element and result x space x mode", kinds
            yield "store: rows x target", ("several" if instruction.rows > 1 else "one", place(at["target"]))
