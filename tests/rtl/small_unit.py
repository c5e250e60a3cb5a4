"""The small units that tests of the whole unit share, so that each is built once: one of every kind of array, with the
machine that it belongs to.

A build takes half a minute on two cores; what is built stays in the user's cache.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from isa.encoding import encode
from isa.instructions import Instruction
from rtl.driver import Device, MemoryTiming
from rtl.registers import Counters
from sim.hardware.description import Hardware, hardware_of
from sim.timing import load_machine

__all__ = ["KINDS", "OpenDevice", "SmallKind", "execute", "kinds", "small_device", "small_hardware"]

SmallKind = Literal["lut", "mac", "bit-serial", "bit-serial that skips"]
KINDS: tuple[SmallKind, ...] = tuple(
    kind for kind in get_args(SmallKind) if kind != "bit-serial" or os.environ.get("BITLOOM_SHORT") != "1"
)
"""In the short form of slow tests the dense bit-serial unit is left out: the one that skips can do all that it can."""

_WEIGHT_BITS = 4
"""Of the bit-serial arrays, so that a plain term is shorter than a byte."""

_FIELDS: dict[str, Any] = {
    "compute.n": 8,
    "vector.n": 2,
    "buffers.activation_bytes": 4096,
    "buffers.weight_bytes": 8192,
    "buffers.output_bytes": 4096,
    "buffers.scale_bytes": 1024,
    "dram.bandwidth_gb_per_second": 12.8,
}
_MACHINES: dict[SmallKind, tuple[str, dict[str, Any]]] = {
    "lut": ("lut-m2n64k4", {"buffers.table_bytes": 8192}),
    "mac": ("int8-mac", {"compute.weight_storage_bits": 2}),
    "bit-serial": ("bit-serial", {"compute.skips_zero_terms": False}),
    "bit-serial that skips": ("bit-serial", {"vector.n": 4}),
}


class OpenDevice(Device):
    """A device whose host may do at its control port whatever it likes."""

    def peek(self, offset: int) -> tuple[int, int]:
        """The response to a read, and the word."""
        word = ctypes.c_uint32()
        return self._library.bitloom_read(self._handle, offset, ctypes.byref(word)), word.value

    def poke(self, offset: int, word: int) -> int:
        """The response to a write."""
        return int(self._library.bitloom_write(self._handle, offset, word))


@lru_cache
def small_hardware(kind: SmallKind) -> Hardware:
    """The small unit of a kind: M2 N8 K4, a bus of 16 bytes, scratchpads of some KiB."""
    name, fields = _MACHINES[kind]
    return hardware_of(load_machine(name).with_fields(_FIELDS | fields), _WEIGHT_BITS)


def small_device(kind: SmallKind, memory: MemoryTiming | None = None) -> OpenDevice:
    """The small unit of a kind in simulation, behind the memory of its machine or another one."""
    hardware = small_hardware(kind)
    return OpenDevice.of(hardware.configuration, memory or hardware.memory)


def kinds(*default: SmallKind) -> list[Any]:
    """Parameters of a test: the kinds of units, all but some of them slow."""
    return [pytest.param(kind, marks=() if kind in default else pytest.mark.slow) for kind in KINDS]


def execute(
    device: Device, memory: NDArray[np.uint8], words: Sequence[Instruction | bytes], address: int, **options: Any
) -> Counters:
    """Put a program into a memory and run it."""
    encoded = b"".join(word if isinstance(word, bytes) else encode(word) for word in words)
    memory[address : address + len(encoded)] = np.frombuffer(encoded, np.uint8)
    return device.run(memory, address, len(words), **options)
