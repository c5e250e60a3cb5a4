"""Programs on hardware: the RTL of a machine as an executor of lowered products.

    Program + MemoryImage ──words behind the image──► Device (Verilator) ──► bytes of a buffer, counters

The device knows memory alone: what a program finds on chip is loaded by a program of its own before it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isa.encoding import encode
from isa.instructions import Halt, Instruction, Load, SetPointer
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
    """What programs have taken so far, without loading what they find on chip.

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
        for name, contents in image.scratchpads.items():
            self._load(next(item for item in program.buffers if item.name == name), contents)
        memory, address = _with_words(image.memory, _words(program))
        started = time.perf_counter()
        counters = self._device.run(memory, address, len(program.instructions))
        self.spent.add(counters, time.perf_counter() - started)
        return memory[: len(image.memory)]

    def _load(self, buffer: Buffer, contents: Bytes) -> None:
        loads = [*_loads(buffer), Halt()]
        memory, address = _with_words(contents, b"".join(map(encode, loads)))
        self._device.run(memory, address, len(loads))


def _with_words(contents: Bytes, words: bytes) -> tuple[Bytes, int]:
    """Memory with a program behind its contents, and where that is."""
    address = -(-len(contents) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    memory = np.zeros(address + len(words), np.uint8)
    memory[: len(contents)] = contents
    memory[address:] = np.frombuffer(words, np.uint8)
    return memory, address


def _loads(buffer: Buffer) -> list[Instruction]:
    """Instructions that load a buffer that stays on chip, from the beginning of memory."""
    loads: list[Instruction] = []
    for start in range(0, buffer.size_bytes, _LONGEST_RUN_BYTES):
        size = min(_LONGEST_RUN_BYTES, buffer.size_bytes - start)
        loads += [
            SetPointer(target=_SOURCE, base=start, ring_bytes=0),
            SetPointer(target=_TARGET, base=buffer.address + start, ring_bytes=0),
            Load(space=buffer.space, source=_SOURCE, target=_TARGET, rows=1, row_bytes=size, pitch_bytes=0),
        ]
    return loads


@lru_cache(maxsize=1024)
def _words(program: Program) -> bytes:
    return b"".join(encode(instruction) for instruction in program.instructions)
