"""Blocks of steps for a LUT array, with the sums that the instruction set gives them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Value
from numpy.typing import NDArray

from isa.instructions.types import WEIGHT_TYPES, WeightType
from isa.layouts import table_sums
from rtl.configuration import Configuration
from rtl.interfaces import step_layout

__all__ = ["Block", "largest_block", "random_block"]


@dataclass(frozen=True)
class Block:
    """The payloads of the steps of a block, and the bits of its M x N sums."""

    steps: list[int]
    sums: int


def random_block(configuration: Configuration, most_groups: int = 5) -> Block:
    """A block of random tables or extreme ones, of random weights, of any type that the array could multiply."""
    unit, entries = configuration.unit, configuration.table_entries
    weight = random.choice(_weight_types(configuration))
    groups = random.randint(1, most_groups)
    generator = np.random.default_rng(random.getrandbits(32))
    if random.random() < 0.5:
        # The least int16 has no negative.
        drawn = generator.integers(-(1 << 15) + 1, 1 << 15, (unit.m, groups, entries))
    else:
        drawn = generator.choice([-(1 << 15) + 1, (1 << 15) - 1, -1024, 1024, 0, -1], (unit.m, groups, entries))
    tables: NDArray[np.int16] = drawn.astype("<i2")
    fill = random.choice((None, 0, 255))
    shape = (1, groups, weight.bits * configuration.plane_bytes)
    packed = generator.integers(0, 256, shape, np.uint8) if fill is None else np.full(shape, fill, np.uint8)
    return _block(configuration, tables, packed, weight)


def _weight_types(configuration: Configuration) -> list[WeightType]:
    """The types that there are, and odd ones of several planes, which steps can be of too."""
    odd = [WeightType(f"odd{bits}", bits, "odd") for bits in range(2, configuration.weight_bits + 1)]
    return [*(WEIGHT_TYPES[name] for name in configuration.weight_types), *odd]


def largest_block(configuration: Configuration, groups: int, sign: int) -> Block:
    """A block whose sums are as far from 0 as they can be, of the widest type in two's complement."""
    tables = np.full((configuration.unit.m, groups, configuration.table_entries), sign * ((1 << 15) - 1), "<i2")
    weight = WEIGHT_TYPES[f"int{configuration.weight_bits}"]
    packed = np.zeros((1, groups, weight.bits * configuration.plane_bytes), np.uint8)
    return _block(configuration, tables, packed, weight)


def _block(
    configuration: Configuration, tables: NDArray[np.int16], packed: NDArray[np.uint8], weight: WeightType
) -> Block:
    sums = table_sums(tables, packed, configuration.unit.n, weight).astype("<i4")
    return Block(_steps(configuration, tables, packed, weight.bits, weight.coding == "odd"), _bits(sums))


def _steps(
    configuration: Configuration, tables: NDArray[np.int16], packed: NDArray[np.uint8], planes: int, odd: bool
) -> list[int]:
    layout, groups = step_layout(configuration), tables.shape[1]
    steps = []
    for group in range(groups):
        by_plane = packed[0, group].reshape(planes, -1)
        for plane in reversed(range(planes)):
            first_plane = plane == planes - 1
            # What comes with the other planes must not matter.
            inputs = [_bits(row) if first_plane else random.getrandbits(8 * row.nbytes) for row in tables[:, group]]
            step = layout.const(
                {
                    "first": group == 0 and first_plane,
                    "last": group == groups - 1 and plane == 0,
                    "first_plane": first_plane,
                    "last_plane": plane == 0,
                    "odd": odd,
                    "inputs": inputs,
                    "weights": _bits(by_plane[plane]),
                }
            )
            steps.append(Value.cast(step).value)
    return steps


def _bits(values: NDArray[np.generic]) -> int:
    return int.from_bytes(np.ascontiguousarray(values).tobytes(), "little")
