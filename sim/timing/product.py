"""A matrix product as the hardware sees it: sizes, stored types, where its operands live, what becomes of its sums.

It knows nothing of tiles (`sim.timing.nest`), of traces (`sim.evaluation`) or of instructions (`sim.lowering`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isa.instructions.types import ELEMENT_DTYPES, ActivationType, WeightType

__all__ = ["MatrixProduct", "Scaling"]


@dataclass(frozen=True)
class Scaling:
    """What makes real numbers of integer sums.

    Parameters
    ----------
    granularity : {"tensor", "row", "group"}
        What shares a scale of the weights: all, an output, or a group of the inputs of an output.
    group_size : int
        Inputs of one group; 0 without groups.
    rule : {"multiply", "divide"}
        Whether activations carry a multiplier or a divisor.
    element : {"fp16", "fp32"}
        How the scales of the weights are stored; those of activations are fp32.
    """

    granularity: Literal["tensor", "row", "group"]
    group_size: int = 0
    rule: Literal["multiply", "divide"] = "multiply"
    element: Literal["fp16", "fp32"] = "fp32"

    @property
    def element_bytes(self) -> int:
        """Bytes of one scale of the weights."""
        return ELEMENT_DTYPES[self.element].itemsize


@dataclass(frozen=True)
class MatrixProduct:
    """`copies` independent products of activations [m, k] and weights [n, k].

    Parameters
    ----------
    m, k, n, copies : int
    activation : ActivationType
    weight : WeightType
    result : str
        Type of the outputs in memory: a name of `ELEMENT_DTYPES`.
    scaling : Scaling or None
        None: sums leave as they are (but for a conversion of floats).
    input_on_chip, output_on_chip : bool
        Whether activations are in their scratchpad already, and whether outputs stay there.
    result_columns : int
        Columns of the matrix in memory that outputs are a part of; 0: they are all of it.
    """

    m: int
    k: int
    n: int
    copies: int
    activation: ActivationType
    weight: WeightType
    result: str
    scaling: Scaling | None = None
    input_on_chip: bool = False
    output_on_chip: bool = False
    result_columns: int = 0

    @property
    def result_pitch_bytes(self) -> int:
        """From one row of outputs in memory to the next."""
        return (self.result_columns or self.n) * self.result_bytes

    @property
    def result_bytes(self) -> int:
        """Bytes of one output."""
        return ELEMENT_DTYPES[self.result].itemsize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all copies."""
        return self.copies * self.m * self.k * self.n
