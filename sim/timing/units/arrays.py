"""The arrays of low-bit products: multiply-accumulate, table lookup, term-serial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cost_models import component
from isa import Format
from isa.instructions.types import WEIGHT_TYPES, WeightType
from isa.program import UnitKind
from sim.timing.terms import booth_terms, dense_terms, windowed_maxima
from sim.timing.units.base import ArrayUnit, Part, PassCycles

__all__ = ["BitSerialArray", "LutArray", "MacArray", "Precompute"]

Precompute = Literal["fused", "separate", "none"]


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
        When tables are made. `fused`: when the activations arrive, for all products that read them (the paper's
        operator fusion), which is once if tiles of whole rows are chosen, and otherwise once for every column tile;
        `separate`: once, by a program that writes them to memory, from where each product loads them; `none`: by each
        product, anew for every N columns.
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
        """Lanes wait for each other at the end of a group at the latest: its windows are equal, and as long as the
        unit's allow."""
        passes = max(1, group_size // self.k)
        longest = min(self.synchronization_groups, passes)
        window = next(size for size in range(longest, 0, -1) if passes % size == 0)
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
