"""The whole unit as a unit that is mutated: random programs behind two memories, and programs that end with errors.

What the programs leave in memory is computed once, by the interpreter, and compared with what the unit leaves there for
each fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from mutation_runs import Target, on_own_driver
from numpy.typing import NDArray
from small_unit import small_hardware
from test_top import HESITANT
from top_programs import random_programs

import rtl.driver_library
from isa.encoding import encode
from isa.front_end import FrontEnd
from isa.instructions import (
    End,
    EngineInstruction,
    Fence,
    Halt,
    Instruction,
    Load,
    Loop,
    LutGen,
    SetPointer,
    Store,
    Sync,
)
from isa.program import Program
from rtl.driver import Device, DeviceError, MemoryTiming
from rtl.errors import ErrorCode
from rtl.registers import Counters
from rtl.top import Top
from sim.evaluation.hardware_runs import random_runs
from sim.functional.interpreter import run_program
from sim.functional.lowered import run_lowered
from sim.hardware.execution import HardwareExecution
from sim.lowering.images import MemoryImage

__all__ = ["WHOLE_UNIT"]

Bytes = NDArray[np.uint8]

_HARDWARE = small_hardware("lut")
_CONFIGURATION = _HARDWARE.configuration
_MEMORY_BYTES = 1 << 14
_PROGRAM_ADDRESS = 1 << 13
_LIMIT_CYCLES = 200_000
_MOST_MACS = 1 << 16


@dataclass(frozen=True, eq=False)
class _Case:
    """A program, what it begins with, what it leaves in memory, and how many commands of each engine there are."""

    program: Program
    image: MemoryImage
    memory: Bytes
    commands: Counter[str]


@cache
def _cases() -> list[_Case]:
    made = list[tuple[Program, MemoryImage]]()

    def keep(program: Program, image: MemoryImage, buffer: str) -> Bytes:
        made.append((program, image))
        return run_program(program, image.memory.copy(), scratchpads=image.scratchpads).contents(buffer)

    for run in random_runs(_HARDWARE, 60, seed=5):
        if run.lowered.product.m * run.lowered.product.k * run.lowered.product.n <= _MOST_MACS:
            run_lowered(run.lowered, run.operands, keep)
    made += [(item.program, item.image) for item in random_programs(_CONFIGURATION, 60, seed=6)]
    return [_case(program, image) for program, image in made]


def _case(program: Program, image: MemoryImage) -> _Case:
    memory = run_program(program, image.memory.copy(), scratchpads=image.scratchpads).memory
    front_end, commands = FrontEnd(program), Counter[str]()
    while not front_end.halted:
        instruction = front_end.execute().instruction
        if isinstance(instruction, EngineInstruction) and not isinstance(instruction, Sync):
            commands[instruction.engine] += 1
    # What is on chip at first is loaded by commands before the program.
    commands["load"] += len(image.scratchpads)
    return _Case(program, image, memory, commands)


def _bench(cycles: dict[str, list[int]], path: Path) -> None:
    """`cycles` keeps those of the first call, which is that without a fault."""
    for error, words, timing in _wrong():
        with Device(path, _CONFIGURATION, timing) as device:
            _check_error(device, words, error)
    for name, timing in (("as the machine has it", _HARDWARE.memory), ("hesitant", HESITANT)):
        with Device(path, _CONFIGURATION, timing) as device:
            found = list(_run_all(device))
            _stop_some(device, found)
        limits = cycles.setdefault(name, found)
        for taken, limit in zip(found, limits, strict=True):
            assert abs(taken - limit) <= max(3, 0.03 * limit)


def _run_all(device: Device) -> Iterator[int]:
    for case in _cases():
        execution = HardwareExecution(_Limited(device))
        found = execution.run(case.program, case.image)
        assert (found == case.memory).all()
        counters = execution.spent.counters
        for engine in ("load", "table", "array", "scale", "store"):
            assert getattr(counters, f"{engine}_commands") == case.commands[engine], engine
            assert bool(getattr(counters, f"{engine}_cycles")) == bool(case.commands[engine]), engine
        yield counters.cycles


def _stop_some(device: Device, cycles: list[int]) -> None:
    """Stops programs in the middle; each is right when it is run again."""
    for number, (case, needed) in enumerate(zip(_cases(), cycles, strict=True)):
        if number % 4 == 0:
            with pytest.raises(DeviceError, match="aborted"):
                HardwareExecution(_Limited(device, needed * (1 + number % 7) // 9)).run(case.program, case.image)
            assert (HardwareExecution(_Limited(device)).run(case.program, case.image) == case.memory).all()


class _Limited:
    """A device that stops programs that take longer."""

    def __init__(self, device: Device, limit_cycles: int = _LIMIT_CYCLES) -> None:
        self._device, self._limit_cycles = device, limit_cycles

    def run(self, memory: Bytes, address: int, words: int) -> Counters:
        return self._device.run(memory, address, words, limit_cycles=self._limit_cycles)


@dataclass(frozen=True)
class _Error:
    """What a program ends with; `position` is that of the front end, where it is certain."""

    code: ErrorCode
    source: str = "front end"
    position: int | None = None


def _copying(source: int, target: int) -> list[Instruction]:
    """Copies 256 bytes over the accumulators."""
    rows = {"rows": 4, "pitch_bytes": 64}
    load = Load(space="accumulator", source=0, target=1, row_bytes=64, signal=frozenset({3}), **rows)
    kinds = {"space": "memory", "mode": "overwrite", "origin": "accumulator", "element": "int32", "result": "int32"}
    store = Store(source=1, target=2, columns=16, wait=frozenset({3}), **kinds, **rows)
    places = enumerate((source, 256, target))
    return [*(SetPointer(target=number, base=base, ring_bytes=0) for number, base in places), load, store]


def _wrong() -> Iterator[tuple[_Error, bytes, MemoryTiming]]:
    """Programs that end with an error, with a memory that lets them."""
    plain, halt, copying = MemoryTiming(), Halt(), _copying(0, 1024)
    faulty = [MemoryTiming(faults=range(at, at + 1)) for at in (130, 1024 + 130, _PROGRAM_ADDRESS)]
    yield _Error(ErrorCode.ILLEGAL_INSTRUCTION, position=2), _words(Fence(), Fence()) + bytes([255]) * 32, plain
    yield _Error(ErrorCode.ABORTED), _words(Loop(count=1 << 15), Loop(count=1 << 15), End(), End(), halt), plain
    yield _Error(ErrorCode.READ_FAILED, "load"), _words(*copying, halt), faulty[0]
    yield _Error(ErrorCode.WRITE_FAILED, "store"), _words(*copying, halt), faulty[1]
    yield _Error(ErrorCode.READ_FAILED, position=0), _words(halt), faulty[2]
    blocked = [*copying, Sync(unit="table", wait=frozenset({9})), halt]
    yield _Error(ErrorCode.DEADLOCK, position=len(blocked) - 1), _words(*blocked), plain
    flood = [Loop(count=300), Sync(unit="scale", signal=frozenset({9})), End(), halt]
    yield _Error(ErrorCode.TOO_MANY_TOKENS), _words(*flood), plain
    far = SetPointer(target=5, base=1 << 20, ring_bytes=0)
    yield _Error(ErrorCode.ILLEGAL_ADDRESS, "load"), _words(far, _load_to(5), halt), plain
    table = LutGen(k=4, activation="int8", source=5, target=0, rows=1, depth=4, pitch_bytes=4)
    yield _Error(ErrorCode.ILLEGAL_ADDRESS, "table"), _words(far, table, halt), plain


def _load_to(pointer: int) -> Instruction:
    return Load(space="weight", source=0, target=pointer, rows=1, row_bytes=8, pitch_bytes=0)


def _words(*instructions: Instruction) -> bytes:
    return b"".join(map(encode, instructions))


def _check_error(device: Device, words: bytes, expected: _Error) -> None:
    """The error is said; the unit then copies, where no faults are."""
    memory = np.random.default_rng(3).integers(0, 256, _MEMORY_BYTES, np.uint8)
    _place(memory, _PROGRAM_ADDRESS, words)
    with pytest.raises(DeviceError) as raised:
        device.run(memory, _PROGRAM_ADDRESS, len(words) // _WORD_BYTES, limit_cycles=3_000)
    position = None if expected.position is None else raised.value.position
    assert _Error(raised.value.code, raised.value.source, position) == expected
    good, address = _words(*_copying(2048, 3072), Halt()), _PROGRAM_ADDRESS + 1024
    _place(memory, address, good)
    wanted = memory.copy()
    wanted[3072 : 3072 + 256] = wanted[2048 : 2048 + 256]
    device.run(memory, address, len(good) // _WORD_BYTES, limit_cycles=3_000)
    assert (memory == wanted).all()


_WORD_BYTES = len(encode(Halt()))


def _place(memory: Bytes, address: int, words: bytes) -> None:
    memory[address : address + len(words)] = np.frombuffer(words, np.uint8)


WHOLE_UNIT = Target(
    partial(Top, _CONFIGURATION),
    partial(on_own_driver, Path(rtl.driver_library.__file__).with_name("driver.cpp"), partial(_bench, {})),
    faults=60,
)
