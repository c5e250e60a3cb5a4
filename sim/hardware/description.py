"""The hardware of a machine: what its RTL is configured as, and the machine as that hardware is.

A machine file may ask for what the RTL does otherwise (several cores, lanes that run ahead of each other, a memory with
pages). `Hardware` has both sides: the configuration that is built, and the machine whose event model times the same
programs, with the fields that were changed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from isa import InputError
from rtl.toolchain import require_amaranth
from sim.lowering.program import unit_of
from sim.timing.machine import Machine
from sim.timing.units import BitSerialArray, LutArray, MacArray

require_amaranth()

from rtl.configuration import Configuration, UnsupportedConfiguration  # noqa: E402
from rtl.driver import Device, MemoryTiming  # noqa: E402
from rtl.engines.scale import DIVIDE_CYCLES  # noqa: E402

__all__ = ["Hardware", "hardware_of"]

# From a command that the load engine accepts to the first address at the memory port, and from the last beat to tokens.
OVERHEAD_CYCLES = 3
# From a store command until its first word is at the memory port, and from its last until the memory has answered.
STORE_CYCLES = 6
_WIDEST_BUS_BYTES = 128
_BIT_SERIAL_WEIGHT_BITS = 8


@dataclass(frozen=True)
class Hardware:
    """What is built of a machine.

    Parameters
    ----------
    configuration : Configuration
    memory : MemoryTiming
        What stands behind the memory port in simulations: the bandwidth and latency of the machine's DRAM, without
        pages and refresh.
    machine : Machine
        The machine with all that as it is built.
    changed : mapping of str to (asked, built)
        The fields of the machine file that are otherwise.
    """

    configuration: Configuration
    memory: MemoryTiming
    machine: Machine
    changed: Mapping[str, tuple[Any, Any]]

    def device(self) -> Device:
        """The unit in simulation, with its memory; it is built if it is not in the cache, which takes some minutes.

        Raises
        ------
        InputError
            If a tool for it is missing.
        """
        return Device.of(self.configuration, self.memory)


def hardware_of(machine: Machine, weight_bits: int = _BIT_SERIAL_WEIGHT_BITS) -> Hardware:
    """The hardware of one core of a machine.

    Parameters
    ----------
    machine : Machine
    weight_bits : int
        Bits in which a bit-serial array has its weights; the other arrays say that themselves.

    Raises
    ------
    InputError
        If the RTL cannot be configured so; it names the field.
    """
    built = machine.with_fields(_as_built(machine), f"machine {machine.name}")
    unit = built.compute
    widths = {LutArray: "largest_weight_bits", MacArray: "weight_storage_bits"}
    bits = getattr(unit, widths[type(unit)]) if type(unit) in widths else weight_bits
    try:
        configuration = Configuration(
            unit=unit_of(built, unit),
            weight_bits=bits,
            tables_per_cycle=unit.tables_per_cycle if isinstance(unit, LutArray) else 1,
            skips_zero_terms=isinstance(unit, BitSerialArray) and unit.skips_zero_terms,
            scale_lanes=built.vector.n,
            bus_bytes=_bus_bytes(machine),
            array_pipeline_cycles=unit.pipeline_cycles,
            scale_pipeline_cycles=built.vector.pipeline_cycles,
        )
    except UnsupportedConfiguration as error:
        raise InputError(
            f"machine {machine.name}", error.field, error.found, f"{error.expected}, to build it"
        ) from None
    asked, as_built = machine.model_dump(), built.model_dump()
    return Hardware(configuration, _memory(built, configuration), built, dict(_differences(asked, as_built)))


def _as_built(machine: Machine) -> dict[str, Any]:
    bus = _bus_bytes(machine)
    fields: dict[str, Any] = {
        "cores": 1,
        "buffers.port_bytes": None,
        "buffers.move_bytes": bus,
        "buffers.store_pipeline_cycles": STORE_CYCLES,
        "vector.divide_cycles": DIVIDE_CYCLES,
        "dram.model": "banks",
        "dram.channels": 1,
        "dram.burst_bytes": bus,
        **{f"dram.{name}_ns": 0.0 for name in ("activate", "precharge", "active", "refresh")},
        **{f"dram.{name}_ns": 0.0 for name in ("activate_to_activate", "four_activates")},
    }
    if isinstance(machine.compute, BitSerialArray):
        fields["compute.synchronization_groups"] = 1
    if isinstance(machine.compute, MacArray | BitSerialArray):
        fields["buffers.table_bytes"] = 0
    return fields


def _bus_bytes(machine: Machine) -> int:
    """The narrowest port that carries the memory's bandwidth."""
    needed = machine.dram_bytes_per_cycle
    return next((width for width in (4, 8, 16, 32, 64) if width >= needed), _WIDEST_BUS_BYTES)


def _memory(machine: Machine, configuration: Configuration) -> MemoryTiming:
    each = Fraction(configuration.bus_bytes / machine.dram_bytes_per_cycle).limit_denominator(1000)
    latency = round(machine.memory_timings.latency_cycles) - OVERHEAD_CYCLES
    return MemoryTiming(read_latency_cycles=max(1, latency), cycles_per_beat=max(Fraction(1), each))


def _differences(asked: Any, built: Any, path: str = "") -> list[tuple[str, tuple[Any, Any]]]:
    if isinstance(asked, dict) and isinstance(built, dict):
        pairs = [_differences(asked[key], built[key], f"{path}.{key}" if path else key) for key in asked]
        return [pair for each in pairs for pair in each]
    return [] if asked == built else [(path, (asked, built))]
