"""The vector unit: everything that is no low-bit product, and those that the array cannot multiply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from cost_models import component
from isa import Format
from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES, ActivationType, WeightType
from isa.program import UnitKind
from sim.timing.units.base import ArrayUnit, Part

__all__ = ["VectorUnit"]


class VectorUnit(ArrayUnit):
    """FP16 lanes for everything that is no mpGEMM: attention, the head, norms, softmax. In a matrix product every lane
    owns one output column.

    Parameters
    ----------
    divide_cycles : int
        Cycles in which all lanes together divide once: scales of columns by those of rows, where a format wants that.
    """

    m: Literal[1] = 1
    k: Literal[1] = 1
    divide_cycles: Annotated[int, Field(strict=True, ge=1, le=64)] = 1

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
