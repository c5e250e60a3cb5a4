"""Compute units: arrays of M rows × N columns, each cell taking a group of K inputs, and what a cell's pass costs.

             N columns (weight outputs)
           ┌──┬──┬──┬──┐      one pass of the array: M × N dot products over K inputs
    M rows │  │  │  │  │      a tile of m × k × n takes ⌈m/M⌉ · ⌈k/K⌉ · ⌈n/N⌉ passes
  (tokens) └──┴──┴──┴──┘      a pass takes `pass_cycles`: 1 (MAC), weight bit planes (LUT), terms (bit-serial)

Each unit is a pydantic model (its fields are the `[compute]` table of a machine file) that also says how its cycles,
actions and components follow from them. A new kind of array is a new class in `ComputeUnit`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cost_models import Component, component
from isa import Format
from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES, ActivationType, WeightType
from isa.program import UnitKind
from isa.recoding import twos_complement_bits
from sim.timing.terms import booth_terms, dense_terms, windowed_maxima

__all__ = [
    "ArrayUnit",
    "BitSerialArray",
    "ComputeUnit",
    "LutArray",
    "MacArray",
    "Part",
    "PassCycles",
    "Precompute",
    "VectorUnit",
]

Lanes = Annotated[int, Field(strict=True, ge=1, le=1 << 16)]
Precompute = Literal["fused", "separate", "none"]
PassCycles = NDArray[np.int64]
"""Cycles of passes, int64 broadcastable over [row blocks, column blocks, windows of K groups]; a window is
`groups_per_window` consecutive passes along the inputs."""


@dataclass(frozen=True)
class Part:
    """A component of a machine, and how many of it there are."""

    component: Component
    count: int = 1


class ArrayUnit(BaseModel, ABC):
    """What every compute array has.

    Parameters
    ----------
    m, n, k : int
        Rows (tokens), columns (outputs) and inputs of one pass.
    pipeline_cycles : int
        From the first operand in to the first result out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    m: Lanes
    n: Lanes
    k: Lanes
    pipeline_cycles: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 8

    @property
    def lanes(self) -> int:
        """Products of one activation and one weight (or weight bit, or weight term) a cycle."""
        return self.m * self.n * self.k

    @property
    def groups_per_window(self) -> int:
        """Passes along the inputs that are timed together."""
        return 1

    def supports(self, activations: Format, weights: Format) -> bool:
        """Whether the unit multiplies these formats."""
        return activations.kind == weights.kind == "integer" and max(activations.bits, weights.bits) <= 8

    @property
    @abstractmethod
    def unit_kind(self) -> UnitKind:
        """What programs call the unit."""

    @property
    def looks_up_tables(self) -> bool:
        """Whether it multiplies tables of activations, and not activations."""
        return False

    @property
    def weight_order(self) -> Literal["blocks", "rows"]:
        """How its weights follow each other (a name of `WEIGHT_ORDERS`)."""
        return "blocks"

    def weight_type(self, weights: Format) -> WeightType:
        """The type that weights of a format are stored in, in memory and scratchpad."""
        if max(weights.codes) == 1:
            return WEIGHT_TYPES["ternary" if 0 in weights.codes else "binary"]
        return WEIGHT_TYPES[f"int{twos_complement_bits(weights.codes)}"]

    def activation_type(self, activations: Format) -> ActivationType:
        """The type that activations of a format are stored in."""
        return ACTIVATION_TYPES[f"int{twos_complement_bits(activations.codes)}"]

    def within_groups(self, group_size: int) -> ArrayUnit:  # noqa: ARG002
        """The unit as it works where sums end with every group of inputs."""
        return self

    @abstractmethod
    def pass_cycles(self, weight_bits: int) -> int:
        """Cycles of one pass when nothing is skipped."""

    def lane_cycles(self, macs: int, weights: Format) -> int:
        """Lane-cycles that `macs` products need when nothing is skipped: the numerator of utilization."""
        return macs * self.pass_cycles(self.weight_type(weights).bits)

    @property
    def serial_operand(self) -> Literal["none", "activations", "weights"]:
        """The operand whose values decide the cycles."""
        return "none"

    def operand_cycles(self, codes: NDArray[np.int8], source: Format) -> tuple[PassCycles, int]:  # noqa: ARG002
        """Cycles of every pass from the real codes of the serial operand, and the lane-cycles that did work for one
        row (or column) of the other operand."""
        raise ValueError(f"{type(self).__name__} does not look at operand values")

    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """The unit's parts, by the name that actions use."""

    @abstractmethod
    def actions(self, busy_cycles: int) -> dict[str, int]:
        """Counts of `component.action` for cycles in which the array works."""


class MacArray(ArrayUnit):
    """Integer multiply-accumulate array: every cell a K-wide dot product a cycle; weights stored at the width of the
    multiplier, because nothing unpacks them."""

    kind: Literal["mac"]
    weight_storage_bits: Annotated[int, Field(strict=True, ge=1, le=8)] = 8

    @property
    def unit_kind(self) -> UnitKind:
        """A multiply-accumulate array."""
        return "mac"

    def weight_type(self, weights: Format) -> WeightType:
        """Integers of the multiplier's width, or the format's if that is more."""
        stored = super().weight_type(weights)
        return stored if stored.bits >= self.weight_storage_bits else WEIGHT_TYPES[f"int{self.weight_storage_bits}"]

    def pass_cycles(self, weight_bits: int) -> int:  # noqa: ARG002  (a multiplier takes any code in one cycle)
        """One cycle."""
        return 1

    def parts(self) -> Mapping[str, Part]:
        """The array."""
        return {"mac_array": Part(component("int8_mac_array", lanes=self.lanes))}

    def actions(self, busy_cycles: int) -> dict[str, int]:
        """Every lane of a working array multiplies."""
        return {"mac_array.multiply_accumulate": busy_cycles * self.lanes}


class LutArray(ArrayUnit):
    """LUT tensor core (LUT Tensor Core, ISCA 2025, section 3): tables of 2^(K-1) entries of M activation groups, each
    broadcast to N multiplexers; weights bit-serial, one plane a cycle. A precompute unit makes tables ahead of the
    array and puts them into the table scratchpad.

    Parameters
    ----------
    largest_weight_bits : int
        Most weight bit planes.
    tables_per_cycle : int
        Throughput of the precompute unit.
    precompute : {"fused", "separate", "none"}
        When tables are made. `fused`: once, when the activations arrive, for all products that read them (the paper's
        operator fusion); `separate`: once, by a program that writes them to memory, from where each product loads them;
        `none`: by each product, anew for every N columns.
    """

    kind: Literal["lut"]
    k: Annotated[int, Field(strict=True, ge=1, le=8)]
    activation_bits: Literal[8] = 8
    largest_weight_bits: Annotated[int, Field(strict=True, ge=1, le=8)] = 8
    tables_per_cycle: Annotated[int, Field(strict=True, ge=1, le=1 << 16)] = 2
    precompute: Precompute = "fused"

    def supports(self, activations: Format, weights: Format) -> bool:
        """Integer activations and weights of at most the unit's widths."""
        widths = activations.bits <= self.activation_bits and weights.bits <= self.largest_weight_bits
        return activations.kind == weights.kind == "integer" and widths

    @property
    def unit_kind(self) -> UnitKind:
        """A table lookup array."""
        return "lut"

    @property
    def looks_up_tables(self) -> bool:
        """It does."""
        return True

    def pass_cycles(self, weight_bits: int) -> int:
        """One cycle a bit plane."""
        return weight_bits

    def parts(self) -> Mapping[str, Part]:
        """Tables with multiplexers and accumulators, and as many table builders as work at a time."""
        builder = component("table_precompute", k=self.k, activation_bits=self.activation_bits)
        array = component("lut_array", m=self.m, n=self.n, k=self.k)
        return {"lut_array": Part(array), "precompute": Part(builder, self.tables_per_cycle)}

    def actions(self, busy_cycles: int) -> dict[str, int]:
        """M·N lookups a cycle."""
        return {"lut_array.lookup": busy_cycles * self.m * self.n}


class BitSerialArray(ArrayUnit):
    """Term-serial array in the manner of BitMoD (HPCA 2025, section IV-B) and Bit-Pragmatic (MICRO 2017): one operand
    is fed as radix-4 Booth terms, one a lane and cycle, and terms that are zero can be skipped.

    Lanes that share an operand value (K inputs × N columns for weights, × M rows for activations) run decoupled
    within a window of `groups_per_window` K groups and wait for the slowest of them at its end.

    Parameters
    ----------
    serial : {"weights", "activations"}
        The operand that is fed as terms.
    skips_zero_terms : bool
        Whether zero terms take no cycle.
    synchronization_groups : int
        K groups in a window: how far a lane may run ahead (1: lockstep).
    """

    kind: Literal["bit-serial"]
    serial: Literal["weights", "activations"] = "weights"
    skips_zero_terms: bool = True
    synchronization_groups: Annotated[int, Field(strict=True, ge=1, le=1024)] = 32
    activation_bits: Literal[8] = 8

    @property
    def groups_per_window(self) -> int:
        """K groups between two synchronizations."""
        return self.synchronization_groups

    @property
    def serial_operand(self) -> Literal["none", "activations", "weights"]:
        """The skipped operand, if terms are skipped at all."""
        return self.serial if self.skips_zero_terms else "none"

    def within_groups(self, group_size: int) -> ArrayUnit:
        """Lanes wait for each other at the end of a group at the latest."""
        window = max(1, min(self.synchronization_groups, group_size // self.k))
        return self.model_copy(update={"synchronization_groups": window})

    @property
    def unit_kind(self) -> UnitKind:
        """A term-serial array."""
        return "bit-serial"

    def pass_cycles(self, weight_bits: int) -> int:
        """Terms of the widest code of the serial operand."""
        return dense_terms(weight_bits if self.serial == "weights" else self.activation_bits)

    def operand_cycles(self, codes: NDArray[np.int8], source: Format) -> tuple[PassCycles, int]:
        """Cycles of windows from real codes [rows or columns, inputs], and non-zero terms."""
        terms = booth_terms(codes, source.bits)
        lines = self.n if self.serial == "weights" else self.m
        maxima = windowed_maxima(terms, lines, self.k, self.synchronization_groups)
        cycles = maxima[None] if self.serial == "weights" else maxima[:, None]
        return cycles, int(terms.sum(dtype=np.int64))

    def parts(self) -> Mapping[str, Part]:
        """The array."""
        return {"bit_serial_array": Part(component("bit_serial_array", lanes=self.lanes))}

    def actions(self, busy_cycles: int) -> dict[str, int]:
        """Every lane of a working array counts, waiting ones too: nothing published says what gating would save."""
        return {"bit_serial_array.lane_cycle": busy_cycles * self.lanes}


class VectorUnit(ArrayUnit):
    """FP16 lanes for everything that is no mpGEMM: attention, the head, norms, softmax. In a matrix product every lane
    owns one output column."""

    m: Literal[1] = 1
    k: Literal[1] = 1

    def supports(self, activations: Format, weights: Format) -> bool:
        """Floats of at most 16 bits, and integers, which it converts."""
        return all(value.kind == "integer" or value.bits <= 16 for value in (activations, weights))

    @property
    def unit_kind(self) -> UnitKind:
        """The vector unit."""
        return "vector"

    @property
    def weight_order(self) -> Literal["blocks", "rows"]:
        """Keys and values lie in the cache as they were written."""
        return "rows"

    def weight_type(self, weights: Format) -> WeightType:
        """Codes of as many bits as the format's, which the unit converts to FP16. Where codes are no integers (8-bit
        floats in a KV cache), a program has their size and not their values."""
        return WEIGHT_TYPES[f"int{weights.bits}" if 2 <= weights.bits <= 8 else "fp16"]

    def activation_type(self, activations: Format) -> ActivationType:
        """As `weight_type`."""
        return ACTIVATION_TYPES[f"int{activations.bits}" if activations.bits <= 8 else "fp16"]

    def pass_cycles(self, weight_bits: int) -> int:  # noqa: ARG002  (all formats are FP16 inside)
        """One cycle."""
        return 1

    def parts(self) -> Mapping[str, Part]:
        """The lanes."""
        return {"vector_unit": Part(component("vector_unit", lanes=self.n))}

    def actions(self, busy_cycles: int) -> dict[str, int]:
        """Every lane of a working unit."""
        return {"vector_unit.operation": busy_cycles * self.n}


ComputeUnit = Annotated[LutArray | BitSerialArray | MacArray, Field(discriminator="kind")]
