"""Arrays under test: small ones of every kind side by side, blocks of steps, and the sums that they make."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from numpy.typing import NDArray

from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from isa.layouts import pack_activations, pack_weights
from isa.program import Unit, UnitKind
from rtl.arrays.ternary import number_bits, ternary_step_layout
from rtl.configuration import Configuration
from rtl.interfaces import step_layout

__all__ = [
    "Block",
    "SideBySide",
    "configuration_of",
    "corner_matrix",
    "product_block",
    "random_block",
    "random_ternary_block",
    "sums_payload",
    "ternary_block",
]

Int64 = NDArray[np.int64]


def configuration_of(
    kind: UnitKind, weight_bits: int, shape: tuple[int, int, int] = (2, 4, 2), *, skips_zero_terms: bool = False
) -> Configuration:
    """An array [M, N, K] with small scratchpads."""
    unit = Unit(kind, *shape, 4096, 4096, 0, 4096, 4096)
    return Configuration(unit=unit, weight_bits=weight_bits, skips_zero_terms=skips_zero_terms)


class SideBySide(wiring.Component):
    """Components that have nothing to do with each other, in one design: ports are called `component_port`."""

    def __init__(self, components: Mapping[str, wiring.Component]) -> None:
        self._components = components
        super().__init__(
            {
                f"{name}_{port}": member
                for name, component in components.items()
                for port, member in component.signature.members.items()
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        for name, component in self._components.items():
            m.submodules[name] = component
            for port in component.signature.members:
                wiring.connect(m, getattr(component, port), wiring.flipped(getattr(self, f"{name}_{port}")))
        return m


@dataclass(frozen=True)
class Block:
    """The steps of one block of sums, and the sums, as payloads of streams."""

    steps: list[int]
    sums: int


def product_block(configuration: Configuration, activations: Int64, weights: Int64) -> Block:
    """Activations [M, depth] times weights [N, depth], in steps of K inputs of an array that multiplies activations."""
    unit, layout = configuration.unit, step_layout(configuration)
    weight = WEIGHT_TYPES[configuration.weight_types[0]]
    packed = pack_weights(weights, unit.n, unit.k, weight, "codes")[0]
    steps = []
    for number, plane in enumerate(packed):
        part = activations[:, number * unit.k : (number + 1) * unit.k]
        part = np.pad(part, ((0, 0), (0, unit.k - part.shape[1])))
        rows = pack_activations(part, ACTIVATION_TYPES["int8"])
        steps.append(
            _payload(
                layout,
                first=number == 0,
                last=number == len(packed) - 1,
                first_plane=1,
                last_plane=1,
                odd=weight.coding == "odd",
                inputs=int.from_bytes(rows.tobytes(), "little"),
                weights=int.from_bytes(plane.tobytes(), "little"),
            )
        )
    return Block(steps, sums_payload(activations @ weights.T))


def ternary_block(mu: int, activations: Int64, numbers: Int64) -> Block:
    """Activations [M, groups · mu] times the weights in base-3 numbers [N, groups]; those from 3^mu on count as 0."""
    (m, depth), (n, groups) = activations.shape, numbers.shape
    digits = np.where(
        numbers[:, :, None] < 3**mu, numbers[:, :, None] // 3 ** np.arange(mu - 1, -1, -1) % 3 - 1, 0
    ).reshape(n, depth)
    layout = ternary_step_layout(m=m, n=n, mu=mu)
    steps = [
        _payload(
            layout,
            first=group == 0,
            last=group == groups - 1,
            inputs=_fields(activations[:, group * mu : (group + 1) * mu], 8),
            numbers=_fields(numbers[:, group], number_bits(mu)),
        )
        for group in range(groups)
    ]
    return Block(steps, sums_payload(activations @ digits.T))


def corner_matrix(rng: random.Random, shape: tuple[int, int], least: int, largest: int, step: int = 1) -> Int64:
    """Numbers of a range: all of them one extreme or zero, extremes of both signs, sparse, or of all values."""
    values = list(range(least, largest + 1, step))
    zero = 0 if 0 in values else values[0]
    choices = rng.choice([[least], [largest], [zero], [least, largest], [*[zero] * 6, least, largest], values, values])
    return np.array([rng.choice(choices) for _ in range(shape[0] * shape[1])], np.int64).reshape(shape)


def random_block(configuration: Configuration, rng: random.Random, most_steps: int = 5) -> Block:
    """A block of random depth, whole steps or not, with operands of `corner_matrix`."""
    unit, bits = configuration.unit, configuration.weight_bits
    depth = rng.randint(1, most_steps * unit.k)
    odd = WEIGHT_TYPES[configuration.weight_types[0]].coding == "odd"
    least, largest, step = (1 - (1 << bits), (1 << bits) - 1, 2) if odd else (-(1 << bits - 1), (1 << bits - 1) - 1, 1)
    weights = corner_matrix(rng, (unit.n, depth), least, largest, step)
    return product_block(configuration, corner_matrix(rng, (unit.m, depth), -128, 127), weights)


def random_ternary_block(m: int, n: int, mu: int, rng: random.Random, most_steps: int = 5) -> Block:
    """A block with operands of `corner_matrix`, illegal numbers among them."""
    groups = rng.randint(1, most_steps)
    numbers = corner_matrix(rng, (n, groups), 0, (1 << number_bits(mu)) - 1)
    return ternary_block(mu, corner_matrix(rng, (m, groups * mu), -128, 127), numbers)


def sums_payload(sums: Int64) -> int:
    """Sums [M][N] as a payload, wrapped around to 32 bits."""
    return _fields(sums, 32)


def _fields(values: Int64, bits: int) -> int:
    return sum((int(value) & (1 << bits) - 1) << position * bits for position, value in enumerate(values.ravel()))


def _payload(layout: data.Layout, **fields: int) -> int:
    return sum(int(value) << layout[name].offset for name, value in fields.items())
