"""Programs that a unit has to refuse, each with the error, who says it, and where the front end is then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from isa.decoder import DECODER, WORD_BYTES
from isa.encoding import encode
from isa.instructions import (
    End,
    Fence,
    Halt,
    Instruction,
    Lmma,
    Load,
    Loop,
    LutGen,
    Scale,
    SetPointer,
    Step,
    Store,
    Sync,
)
from isa.instructions.control import DEEPEST_LOOP
from isa.instructions.operands import MOST_TOKENS
from isa.instructions.types import ENGINES
from rtl.commands import code_of
from rtl.configuration import Configuration
from rtl.errors import ErrorCode
from rtl.registers import SOURCES

__all__ = ["FAULTY", "Refused", "refused_programs", "with_field"]

FAULTY = range(0x18000, 0x18400)
"""Addresses that answer with an error, behind those that right programs use."""


@dataclass(frozen=True)
class Refused:
    """A program that is refused.

    Parameters
    ----------
    name : str
    words : sequence of instructions, or of words where there is no such instruction
    code : ErrorCode
    source : str
        Of `rtl.registers.SOURCES`.
    position : int
        Of the front end.
    """

    name: str
    words: Sequence[Instruction | bytes]
    code: ErrorCode
    source: str
    position: int


def with_field(instruction: Instruction, name: str, bits: int) -> bytes:
    """The word of an instruction with other bits in a field."""
    field = DECODER.word(instruction.MNEMONIC).field(name)
    word = int.from_bytes(encode(instruction), "little")
    word &= ~((1 << field.width) - 1 << field.offset)
    return (word | bits << field.offset).to_bytes(WORD_BYTES, "little")


def refused_programs(configuration: Configuration) -> Iterator[Refused]:
    """Every error from everyone who raises it."""
    yield from _by_front_end(configuration)
    yield from _by_tokens(configuration)
    for source, found in _by_engines(configuration):
        # The front end waits behind the command.
        for name, code, at, command in found:
            pointers = [_set(pointer, address) for pointer, address in enumerate(at)]
            words = [*pointers, command, Fence(), Halt()]
            yield Refused(f"{source}: {name}", words, code, source, len(pointers) + 1)


def _set(pointer: int, address: int, ring_bytes: int = 0) -> SetPointer:
    return SetPointer(target=pointer, base=address, ring_bytes=ring_bytes)


def _by_front_end(configuration: Configuration) -> Iterator[Refused]:
    front_end, illegal = SOURCES[-1], ErrorCode.ILLEGAL_INSTRUCTION
    sync = Sync(unit="load")
    words: dict[str, list[Instruction | bytes]] = {
        "no opcode": [_set(0, 0), bytes(WORD_BYTES)],
        "an opcode of none": [_set(0, 0), b"\xff" + bytes(WORD_BYTES - 1)],
        "bits behind the fields": [_set(0, 0), encode(sync)[:-1] + b"\x80"],
        "a choice without a name": [_set(0, 0), with_field(sync, "unit", len(ENGINES))],
        "an end of nothing": [_set(0, 0), End()],
        "too many loops": [*[Loop(count=2)] * DEEPEST_LOOP, Loop(count=1), Halt()],
        "a step beyond its ring": [_set(3, 0, 10), Step(target=3, stride_bytes=-11), Halt()],
        "no halt": [_set(0, 0), _set(1, 0)],
    }
    positions = {"too many loops": DEEPEST_LOOP, "no halt": 2}
    for name, program in words.items():
        yield Refused(f"front end: {name}", program, illegal, front_end, positions.get(name, 1))
    long = [_set(0, 0)] * configuration.instruction_words
    yield Refused("front end: too long", [*long, Halt()], ErrorCode.PROGRAM_TOO_LONG, front_end, 0)
    yield Refused("front end: nothing", [], ErrorCode.PROGRAM_TOO_LONG, front_end, 0)


def _by_tokens(configuration: Configuration) -> Iterator[Refused]:
    front_end, deadlock = SOURCES[-1], ErrorCode.DEADLOCK
    first, second = frozenset({0}), frozenset({1})
    for engine in ENGINES:
        yield Refused(f"{engine} waits", [Sync(unit=engine, wait=first), Halt()], deadlock, front_end, 1)
    both: list[Instruction | bytes] = [
        Sync(unit="load", wait=first, signal=second),
        Sync(unit="store", wait=second, signal=first),
        Fence(),
        Halt(),
    ]
    yield Refused("two wait for each other", both, deadlock, front_end, 2)
    depth = configuration.unit.queue_depth
    full = [*[Sync(unit="array", wait=first)] * (depth + 1), Sync(unit="load", signal=first), Halt()]
    yield Refused("the token is behind a full queue", full, deadlock, front_end, depth)
    lost = [Sync(unit="load", signal=first), Fence(), Sync(unit="store", wait=first), Halt()]
    yield Refused("a fence empties the counters", lost, deadlock, front_end, 3)
    given = [Loop(count=MOST_TOKENS + 1), Sync(unit="load", signal=first), End(), Fence(), Halt()]
    yield Refused("too many tokens", given, ErrorCode.TOO_MANY_TOKENS, front_end, 2)


Found = Iterator[tuple[str, ErrorCode, tuple[int, ...], Instruction | bytes]]


def _by_engines(configuration: Configuration) -> Iterator[tuple[str, Found]]:
    yield "load", _of_load(configuration)
    yield "table", _of_table(configuration)
    yield "array", _of_array(configuration)
    yield "scale", _of_scale(configuration)
    yield "store", _of_store(configuration)


def _of_load(configuration: Configuration) -> Found:
    def load(space: Any = "weight", rows: int = 1, row_bytes: int = 16, pitch_bytes: int = 0) -> Load:
        return Load(space=space, source=0, target=1, rows=rows, row_bytes=row_bytes, pitch_bytes=pitch_bytes)

    size = configuration.unit.size_bytes
    for space in ("activation", "weight", "accumulator", "scale"):
        yield f"beyond {space}", ErrorCode.ILLEGAL_ADDRESS, (0, size(space) - 8), load(space)  # type: ignore[arg-type]
    yield "rows beyond", ErrorCode.ILLEGAL_ADDRESS, (0, 0), load("scale", size("scale") // 16 + 1, 16, 0)
    yield "far beyond", ErrorCode.ILLEGAL_ADDRESS, (0, 1 << 40), load()
    for place, row_bytes in ((1, 16), (0, 6), (2, 2)):
        torn = load("accumulator", row_bytes=row_bytes)
        yield f"{row_bytes} bytes at {place} of accumulators", ErrorCode.MISALIGNED_ADDRESS, (0, place), torn
    yield "the memory fails", ErrorCode.READ_FAILED, (FAULTY.start - 32, 0), load(rows=3, pitch_bytes=32)
    yield "beyond the memory", ErrorCode.READ_FAILED, (1 << 45, 0), load()


def _of_table(configuration: Configuration) -> Found:
    def lutgen(k: int = configuration.unit.k, depth: int = 8, rows: int = 1, pitch_bytes: int = 0) -> LutGen:
        return LutGen(k=k, activation="int8", source=0, target=1, rows=rows, depth=depth, pitch_bytes=pitch_bytes)

    if not configuration.looks_up_tables:
        yield "there is none", ErrorCode.ILLEGAL_INSTRUCTION, (0, 0), lutgen()
        return
    size = configuration.unit.size_bytes
    yield "another k", ErrorCode.ILLEGAL_INSTRUCTION, (0, 0), lutgen(k=configuration.unit.k - 1)
    yield "the middle of a table", ErrorCode.MISALIGNED_ADDRESS, (0, configuration.table_bytes - 1), lutgen()
    yield "activations beyond", ErrorCode.ILLEGAL_ADDRESS, (size("activation") - 7, 0), lutgen()
    yield "rows beyond", ErrorCode.ILLEGAL_ADDRESS, (0, 0), lutgen(rows=3, pitch_bytes=size("activation") // 2)
    yield "tables beyond", ErrorCode.ILLEGAL_ADDRESS, (0, size("table") - configuration.table_bytes), lutgen()
    yield "far beyond", ErrorCode.ILLEGAL_ADDRESS, (1 << 33, 0), lutgen()


def _of_array(configuration: Configuration) -> Found:
    unit, tables = configuration.unit, configuration.looks_up_tables
    values: dict[str, Any] = {
        "m": unit.m, "n": unit.n, "k": unit.k, "activation": "int8", "weight": configuration.weight_types[-1],
        "accumulator": "int32", "inputs": "table" if tables else "activation", "order": "blocks", "mode": "overwrite",
        "source": 0, "weights": 1, "target": 2, "rows": 2, "columns": 9, "depth": 8, "pitch_bytes": 64,
    }  # fmt: skip

    def lmma(**changes: Any) -> Lmma:
        return Lmma(**{**values, **changes})

    illegal, misaligned, outside = (
        ErrorCode.ILLEGAL_INSTRUCTION,
        ErrorCode.MISALIGNED_ADDRESS,
        ErrorCode.ILLEGAL_ADDRESS,
    )
    at, inputs = (0, 0, 0), unit.table_bytes if tables else unit.activation_bytes
    for name in ("m", "n", "k"):
        yield f"another {name}", illegal, at, lmma(**{name: 2 * values[name]})
    floats = {"activation": "fp16", "weight": "fp16", "accumulator": "fp32", "inputs": "activation"}
    yield "floats", illegal, at, lmma(**floats)
    yield "other inputs", illegal, at, lmma(inputs="activation" if tables else "table")
    yield "rows of weights", illegal, at, lmma(order="rows", inputs="activation")
    if not tables:
        other = next(item for item in ("int8", "int3") if item not in configuration.weight_types)
        yield "other weights", illegal, at, lmma(weight=other)
    yield "the middle of weights", misaligned, (0, 1, 0), lmma()
    yield "the middle of an accumulator", misaligned, (0, 0, 2), lmma()
    if tables:
        yield "the middle of a table", misaligned, (2, 0, 0), lmma()
        yield "a pitch of no table", misaligned, at, lmma(pitch_bytes=72)
    yield "inputs beyond", outside, (inputs - configuration.table_bytes if tables else inputs - 4, 0, 0), lmma()
    yield "weights beyond", outside, (0, unit.weight_bytes - configuration.plane_bytes, 0), lmma()
    yield "accumulators beyond", outside, (0, 0, unit.accumulator_bytes - 64), lmma()
    yield "far beyond", outside, (0, 0, 1 << 34), lmma()


def _of_scale(configuration: Configuration) -> Found:
    def scale(granularity: str = "row", rows: int = 2, columns: int = 5) -> Scale:
        return Scale(
            granularity=granularity, rule="multiply", columns_have="each", scale="fp32", source=0, target=1,
            column_scales=2, row_scales=3, rows=rows, columns=columns,
        )  # fmt: skip

    size = configuration.unit.size_bytes
    outside, misaligned = ErrorCode.ILLEGAL_ADDRESS, ErrorCode.MISALIGNED_ADDRESS
    yield "accumulators beyond", outside, (size("accumulator") - 36, 0, 0, 0), scale()
    yield "results beyond", outside, (0, size("accumulator") - 36, 0, 0), scale("group")
    yield "column scales beyond", outside, (0, 64, size("scale") - 16, 0), scale()
    yield "row scales beyond", outside, (0, 64, 0, size("scale") - 7), scale()
    yield "the middle of an accumulator", misaligned, (1, 64, 0, 0), scale()
    yield "the middle of a result", misaligned, (0, 66, 0, 0), scale()
    yield "the middle of a column scale", misaligned, (0, 64, 2, 0), scale()


def _of_store(configuration: Configuration) -> Found:
    def store(**changes: Any) -> Store:
        values: dict[str, Any] = {
            "space": "memory", "mode": "overwrite", "origin": "accumulator", "element": "int32", "result": "int32",
            "source": 0, "target": 1, "rows": 2, "columns": 5, "pitch_bytes": 20,
        }  # fmt: skip
        return Store(**{**values, **changes})

    size, tables = configuration.unit.size_bytes, configuration.looks_up_tables
    illegal, misaligned, outside = (
        ErrorCode.ILLEGAL_INSTRUCTION,
        ErrorCode.MISALIGNED_ADDRESS,
        ErrorCode.ILLEGAL_ADDRESS,
    )
    to_integers = with_field(store(element="fp32", result="fp32"), "result", code_of("store", "result", "int32"))
    yield "floats to integers", illegal, (0, 0), to_integers
    yield "16 bits of accumulators", illegal, (0, 0), store(element="int16", result="int16")
    table = {"origin": "table", "element": "int16"} if tables else {"origin": "table"}
    if tables:
        yield "32 bits of tables", illegal, (0, 0), store(origin="table")
        yield "tables beyond", outside, (size("table") - 18, 0), store(**table)
    else:
        yield "tables", illegal, (0, 0), store(origin="table", element="int16")
    yield "the middle of an accumulator", misaligned, (2, 0), store()
    yield "added to the middle of an element", misaligned, (0, 2), store(mode="accumulate")
    yield "added rows at an odd pitch", misaligned, (0, 0), store(mode="accumulate", pitch_bytes=22)
    yield "accumulators beyond", outside, (size("accumulator") - 36, 0), store()
    yield "activations beyond", outside, (0, size("activation") - 36), store(space="activation")
    adds = {"space": "activation", "mode": "accumulate"}
    yield "added activations beyond", outside, (0, size("activation") - 36), store(**adds)
    yield "the memory fails", ErrorCode.WRITE_FAILED, (0, FAULTY.stop - 4), store()
    yield "beyond the memory", ErrorCode.WRITE_FAILED, (0, 1 << 45), store()
    yield "what is added to fails", ErrorCode.READ_FAILED, (0, FAULTY.start), store(mode="accumulate")
