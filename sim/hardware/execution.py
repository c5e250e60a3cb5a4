"""Programs on hardware: the RTL of a machine as an executor of lowered products.

    Program + MemoryImage ──words behind the image──► Device (Verilator) ──► bytes of a buffer, counters

The device knows memory alone: what a program finds on chip is loaded by instructions that are put before it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isa.encoding import encode
from isa.instructions import Fence, Instruction, Load, SetPointer
from isa.program import Buffer, Program
from rtl.driver import Device
from rtl.registers import COUNTERS, Counters
from sim.lowering.images import MemoryImage

__all__ = ["HardwareExecution", "Spent"]

Bytes = NDArray[np.uint8]

_ALIGNMENT_BYTES = 4096
_SOURCE, _TARGET = 0, 1
_LONGEST_RUN_BYTES = 1 << 20


@dataclass
class Spent:
    """What programs have taken so far.

    Parameters
    ----------
    programs : int
    counters : Counters
        Of all of them.
    seconds : float
        In which they were simulated.
    """

    programs: int = 0
    counters: Counters = field(default_factory=lambda: Counters(**dict.fromkeys(COUNTERS, 0)))
    seconds: float = 0.0

    def add(self, counters: Counters, seconds: float) -> None:
        """One more program."""
        self.programs += 1
        self.seconds += seconds
        sums = {
            item.name: getattr(self.counters, item.name) + getattr(counters, item.name) for item in fields(Counters)
        }
        self.counters = replace(self.counters, **sums)


class HardwareExecution:
    """Executes programs on a device, one after the other (an `Execute` of `sim.functional.lowered`).

    Parameters
    ----------
    device : Device

    Attributes
    ----------
    spent : Spent
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.spent = Spent()

    def __call__(self, program: Program, image: MemoryImage, buffer: str) -> Bytes:
        """Run a program, and give the bytes that are then in a buffer in memory.

        Raises
        ------
        DeviceError
            If the hardware stops with an error.
        ValueError
            If the buffer is on chip, where nobody outside can look.
        """
        result = next(item for item in program.buffers if item.name == buffer)
        if result.space != "memory":
            raise ValueError(f"buffer {buffer} is in the {result.space} scratchpad, which only the hardware reads")
        memory = self.run(program, image)
        return memory[result.address : result.address + result.size_bytes]

    def run(self, program: Program, image: MemoryImage) -> Bytes:
        """Run a program, and give its memory afterwards."""
        memory, address, words = _with_program(program, image)
        started = time.perf_counter()
        counters = self._device.run(memory, address, words)
        self.spent.add(counters, time.perf_counter() - started)
        return memory[: len(image.memory)]


def _with_program(program: Program, image: MemoryImage) -> tuple[Bytes, int, int]:
    """The image, behind it what is on chip at first, and behind that the program; its address and words."""
    place = _aligned(len(image.memory))
    before: list[Instruction] = []
    parts = list[tuple[int, Bytes]]()
    for name, contents in image.scratchpads.items():
        buffer = next(item for item in program.buffers if item.name == name)
        before += _loads(buffer, place)
        parts.append((place, contents))
        place = _aligned(place + len(contents))
    words = b"".join(encode(instruction) for instruction in [*before, Fence()]) if before else b""
    words += _words(program)
    memory = np.zeros(place + len(words), np.uint8)
    memory[: len(image.memory)] = image.memory
    for address, contents in [*parts, (place, np.frombuffer(words, np.uint8))]:
        memory[address : address + len(contents)] = contents
    return memory, place, len(words) // _WORD_BYTES


_WORD_BYTES = len(encode(Fence()))


def _aligned(address: int) -> int:
    return -(-address // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _loads(buffer: Buffer, address: int) -> list[Instruction]:
    """Instructions that load a buffer that stays on chip."""
    loads: list[Instruction] = []
    for start in range(0, buffer.size_bytes, _LONGEST_RUN_BYTES):
        size = min(_LONGEST_RUN_BYTES, buffer.size_bytes - start)
        loads += [
            SetPointer(target=_SOURCE, base=address + start, ring_bytes=0),
            SetPointer(target=_TARGET, base=buffer.address + start, ring_bytes=0),
            Load(space=buffer.space, source=_SOURCE, target=_TARGET, rows=1, row_bytes=size, pitch_bytes=0),
        ]
    return loads


@lru_cache(maxsize=1024)
def _words(program: Program) -> bytes:
    return b"".join(encode(instruction) for instruction in program.instructions)
