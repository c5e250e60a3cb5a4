"""The data types of instructions, and the places that data lies in.

A name here is a choice in an instruction: its position is its binary code, so new ones are added at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = [
    "ACCUMULATOR_TYPES",
    "ACTIVATION_TYPES",
    "ELEMENT_DTYPES",
    "ELEMENT_TYPES",
    "ENGINES",
    "INPUTS",
    "SCALE_TYPES",
    "SCRATCHPADS",
    "WEIGHT_ORDERS",
    "WEIGHT_TYPES",
    "ActivationType",
    "Engine",
    "Space",
    "WeightType",
]

Engine = Literal["load", "table", "array", "scale", "store"]
ENGINES: tuple[Engine, ...] = ("load", "table", "array", "scale", "store")
"""The units that work independently of each other, each with a queue of instructions: memory to scratchpads, table
precompute, the multiplying array, scaling of accumulators, results to memory."""

Space = Literal["memory", "activation", "weight", "table", "accumulator", "scale"]
SCRATCHPADS: tuple[Space, ...] = ("activation", "weight", "table", "accumulator", "scale")
"""The scratchpads; `memory` is the one space beside them."""

WEIGHT_ORDERS = ("blocks", "rows")
"""How weights follow each other: in blocks of N columns as an array takes them, or column after column, each with all
its inputs, as a KV cache has its keys."""

INPUTS = ("activation", "table")
"""What an array multiplies weights by: activations, or the tables made of them."""


@dataclass(frozen=True)
class ActivationType:
    """Activations of `bits` bits, two's complement unless `floating`; rows are packed without gaps."""

    name: str
    bits: int
    floating: bool = False


@dataclass(frozen=True)
class WeightType:
    """Weights as they are stored.

    Parameters
    ----------
    name : str
    bits : int
        Bits of one weight, bit planes of a bit-serial array.
    coding : {"twos_complement", "odd", "float"}
        `odd`: b bits stand for the odd integers from -(2^b - 1) to 2^b - 1; of one bit, -1 and +1.
    """

    name: str
    bits: int
    coding: Literal["twos_complement", "odd", "float"] = "twos_complement"


_ACTIVATIONS = (*(ActivationType(f"int{bits}", bits) for bits in range(1, 9)), ActivationType("fp16", 16, True))
_WEIGHTS = (
    WeightType("binary", 1, "odd"),
    WeightType("ternary", 2),
    *(WeightType(f"int{bits}", bits) for bits in range(2, 9)),
    WeightType("fp16", 16, "float"),
)

ACTIVATION_TYPES: dict[str, ActivationType] = {item.name: item for item in _ACTIVATIONS}
WEIGHT_TYPES: dict[str, WeightType] = {item.name: item for item in _WEIGHTS}
"""`ternary` is stored as `int2` is; its codes are -1, 0 and 1."""

ACCUMULATOR_TYPES = ("int32", "fp32")
SCALE_TYPES = ("fp32", "fp16")
ELEMENT_DTYPES: dict[str, np.dtype] = {
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "fp16": np.dtype("<f2"),
    "fp32": np.dtype("<f4"),
}
"""Elements that are stored: table entries, accumulators, results."""
ELEMENT_TYPES = tuple(ELEMENT_DTYPES)
