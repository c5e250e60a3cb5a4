"""The small units that tests of the whole unit share, so that each is built once: one of every kind of array, with the
machine that it belongs to.

A build takes half a minute on two cores; what is built stays in the user's cache.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, get_args

from rtl.driver import Device, MemoryTiming
from sim.hardware.description import Hardware, hardware_of
from sim.timing import load_machine

__all__ = ["KINDS", "SmallKind", "hardware_for", "small_device", "small_hardware"]

SmallKind = Literal["lut", "mac", "bit-serial", "bit-serial that skips"]
KINDS: tuple[SmallKind, ...] = get_args(SmallKind)

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


@lru_cache
def small_hardware(kind: SmallKind) -> Hardware:
    """The small unit of a kind: M2 N8 K4, a bus of 16 bytes, scratchpads of some KiB."""
    name, fields = _MACHINES[kind]
    return hardware_for(name, _FIELDS | fields)


def hardware_for(name: str, fields: dict[str, Any]) -> Hardware:
    """The hardware of a shipped machine with other fields."""
    return hardware_of(load_machine(name).with_fields(fields), _WEIGHT_BITS)


def small_device(kind: SmallKind, memory: MemoryTiming | None = None) -> Device:
    """The small unit of a kind in simulation, behind the memory of its machine or another one."""
    hardware = small_hardware(kind)
    return Device.of(hardware.configuration, memory or hardware.memory)
