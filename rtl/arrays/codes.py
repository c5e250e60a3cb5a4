"""Weights and activations as they come to arrays that multiply activations, read as signed numbers."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from isa.instructions.types import WEIGHT_TYPES
from rtl.configuration import ACTIVATION_BITS, Configuration, UnsupportedConfiguration

__all__ = ["activations_of", "check_kind", "has_odd_codes", "weight_width", "weights_of"]


def check_kind(configuration: Configuration, kind: str) -> None:
    """Refuse a configuration for another kind of array.

    Raises
    ------
    UnsupportedConfiguration
    """
    if configuration.unit.kind != kind:
        raise UnsupportedConfiguration("unit.kind", configuration.unit.kind, kind)


def has_odd_codes(configuration: Configuration) -> bool:
    """Whether any weight type of the configuration stands for odd integers."""
    return any(WEIGHT_TYPES[name].coding == "odd" for name in configuration.weight_types)


def weight_width(configuration: Configuration) -> int:
    """Bits of a weight in two's complement; odd codes need one more than they are stored in."""
    return configuration.weight_bits + has_odd_codes(configuration)


def weights_of(m: Module, step: data.View, configuration: Configuration) -> list[list[Signal]]:
    """The weights [N][K] of a step as signed signals of the module.

    A field f of b bits is an odd code 2f - (2^b - 1), which is f with its highest bit inverted, as two's complement,
    and a one below it. The choice between both readings is built only where a weight type of b bits has odd codes.
    """
    unit, bits = configuration.unit, configuration.weight_bits
    weights = []
    for column in range(unit.n):
        lanes = []
        for lane in range(unit.k):
            field = step.weights.word_select(column * unit.k + lane, bits)
            weight = Signal(signed(weight_width(configuration)), name=f"weight_{column}_{lane}")
            m.d.comb += weight.eq(_either_way(field, step.odd) if has_odd_codes(configuration) else field.as_signed())
            lanes.append(weight)
        weights.append(lanes)
    return weights


def activations_of(step: data.View, configuration: Configuration) -> list[list[Value]]:
    """The activations [M][K] of a step, signed."""
    unit = configuration.unit
    return [
        [step.inputs[row].word_select(lane, ACTIVATION_BITS).as_signed() for lane in range(unit.k)]
        for row in range(unit.m)
    ]


def _either_way(field: Value, odd: Value) -> Value:
    return Mux(odd, Cat(Const(1, 1), field[:-1], ~field[-1]).as_signed(), field.as_signed())
