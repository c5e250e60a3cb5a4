"""What the hardware is built for: a `Unit` of the instruction set and the few sizes that programs do not say.

Everything that can be generated is a value of `Configuration`; every component takes the sizes that it needs from it,
so that no width is written twice. How a machine file becomes one is the subject of `sim.evaluation.hardware`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from isa.instructions.types import WEIGHT_TYPES
from isa.layouts import ENTRY_BYTES, LARGEST_TABLE_GROUP
from isa.program import Unit

__all__ = ["Configuration", "UnsupportedConfiguration"]

ACTIVATION_BITS = 8
"""Width of the widest activation."""
ACCUMULATOR_BYTES = 4


class UnsupportedConfiguration(ValueError):  # noqa: N818
    """A value that the hardware cannot be built with: the field, what was found, and what is possible."""

    def __init__(self, field: str, found: object, expected: object) -> None:
        self.field, self.found, self.expected = field, found, expected
        super().__init__(f"{field}: found {found}, expected {expected}")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The hardware of one core.

    Parameters
    ----------
    unit : Unit
        Kind and shape of the array, scratchpads, depth of the queues. M, N and K are powers of two.
    weight_bits : int
        Of a LUT array the most bit planes; of the others the bits in which every weight is stored.
    tables_per_cycle : int
        Tables that the precompute unit finishes in a cycle; of a LUT array alone.
    skips_zero_terms : bool
        Whether a bit-serial array spends cycles on zero terms.
    scale_lanes : int
        Accumulators that are scaled in a cycle; a power of two.
    bus_bytes : int
        Width of the memory port, and of every write into a scratchpad; a power of two.
    array_pipeline_cycles, scale_pipeline_cycles : int
        From the last operands in to the tokens of the result: at least what the components need
        (`ARRAY_LATENCY_CYCLES` and its neighbours where they are defined); more are registers at the end.
    instruction_words : int
        Instructions that the instruction store holds; a power of two.
    outstanding_reads : int
        Read bursts that may be on their way; a power of two.

    Raises
    ------
    UnsupportedConfiguration
        If a value is none that can be built.
    """

    unit: Unit
    weight_bits: int
    tables_per_cycle: int = 2
    skips_zero_terms: bool = False
    scale_lanes: int = 64
    bus_bytes: int = 32
    array_pipeline_cycles: int = 8
    scale_pipeline_cycles: int = 8
    instruction_words: int = 1024
    outstanding_reads: int = 64

    def __post_init__(self) -> None:
        unit = self.unit
        if unit.kind == "vector":
            raise UnsupportedConfiguration("unit.kind", unit.kind, "lut, mac or bit-serial")
        powers = {"unit.m": unit.m, "unit.n": unit.n, "unit.k": unit.k}
        powers |= {
            name: getattr(self, name) for name in ("scale_lanes", "bus_bytes", "instruction_words", "outstanding_reads")
        }
        for name, value in powers.items():
            if value < 1 or value & (value - 1):
                raise UnsupportedConfiguration(name, value, "a power of two")
        if not 4 <= self.bus_bytes <= 128:
            raise UnsupportedConfiguration("bus_bytes", self.bus_bytes, "4 to 128")
        if not 1 <= self.weight_bits <= 8:
            raise UnsupportedConfiguration("weight_bits", self.weight_bits, "1 to 8")
        if self.plane_bits % 8:
            raise UnsupportedConfiguration("unit.n", unit.n, "as many columns as make whole bytes of weights")
        if unit.kind == "lut" and unit.k > LARGEST_TABLE_GROUP:
            raise UnsupportedConfiguration("unit.k", unit.k, f"1 to {LARGEST_TABLE_GROUP}")
        if unit.kind == "lut" and not 1 <= self.tables_per_cycle <= 64:
            raise UnsupportedConfiguration("tables_per_cycle", self.tables_per_cycle, "1 to 64")
        for name in ("activation", "weight", "accumulator", "scale", *(["table"] if unit.kind == "lut" else [])):
            size_bytes = getattr(unit, f"{name}_bytes")
            if size_bytes < self.bus_bytes or size_bytes % self.bus_bytes:
                raise UnsupportedConfiguration(
                    f"unit.{name}_bytes", size_bytes, f"a multiple of {self.bus_bytes}, and at least that"
                )

    @property
    def looks_up_tables(self) -> bool:
        """Whether the array multiplies tables."""
        return self.unit.kind == "lut"

    @property
    def plane_bits(self) -> int:
        """Bits of the weights that the array takes in a cycle: a bit plane of N x K, or N x K whole codes."""
        codes = 1 if self.unit.kind == "lut" else self.weight_bits
        return self.unit.n * self.unit.k * codes

    @property
    def plane_bytes(self) -> int:
        """The same in bytes."""
        return self.plane_bits // 8

    @property
    def table_entries(self) -> int:
        """Entries of a half table."""
        return 1 << self.unit.k - 1

    @property
    def table_bytes(self) -> int:
        """Bytes of the half table of K activations."""
        return ENTRY_BYTES * self.table_entries

    @property
    def weight_types(self) -> tuple[str, ...]:
        """Names of the weight types that the array multiplies."""
        types = [item for item in WEIGHT_TYPES.values() if item.coding != "float"]
        if self.unit.kind == "lut":
            return tuple(item.name for item in types if item.bits <= self.weight_bits)
        return tuple(item.name for item in types if item.bits == self.weight_bits)

    def with_unit(self, **changes: object) -> Configuration:
        """The same with other fields of the unit."""
        return replace(self, unit=replace(self.unit, **changes))  # type: ignore[arg-type]
