"""Compute units: arrays of M rows × N columns, each cell taking a group of K inputs, and what a cell's pass costs.

             N columns (weight outputs)
           ┌──┬──┬──┬──┐      one pass of the array: M × N dot products over K inputs
    M rows │  │  │  │  │      a tile of m × k × n takes ⌈m/M⌉ · ⌈k/K⌉ · ⌈n/N⌉ passes
  (tokens) └──┴──┴──┴──┘      a pass takes `pass_cycles`: 1 (MAC), weight bit planes (LUT), terms (bit-serial)

Each unit is a pydantic model (its fields are the `[compute]` or `[vector]` table of a machine file) that also says how
its cycles, actions and components follow from them. `base` is what all have, `arrays` the low-bit arrays, `vector` the
unit for everything else. A new kind of array is a new class in `ComputeUnit`.
"""

from typing import Annotated

from pydantic import Field

from sim.timing.units.arrays import BitSerialArray, LutArray, MacArray, Precompute
from sim.timing.units.base import ArrayUnit, Part, PassCycles
from sim.timing.units.vector import VectorUnit

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

ComputeUnit = Annotated[LutArray | BitSerialArray | MacArray, Field(discriminator="kind")]
