"""What every compute unit has, and what a machine is to know of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cost_models import Component
from isa import Format
from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES, ActivationType, WeightType
from isa.program import UnitKind
from isa.recoding import twos_complement_bits

__all__ = ["ArrayUnit", "Part", "PassCycles"]

Lanes = Annotated[int, Field(strict=True, ge=1, le=1 << 16)]
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
