"""The component classes by name, and the one call that makes a component.

The laws are in `cost_models.logic` and `cost_models.memory`. A new class is one more entry of `component_classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType

from cost_models.component import AttributeValue, Choice, Component, ComponentClass, WholeNumber
from cost_models.logic import bit_serial_array, int8_mac_array, lut_array, table_precompute, vector_unit
from cost_models.memory import SRAM_BYTES_PER_READ, dram, dram_technologies, sram
from isa import InputError

__all__ = ["component", "component_classes"]

# Far beyond any chip, and near enough that a slip of the pen is told from a design.
LARGEST_LANES = 2**24
LARGEST_GROUP = 16
LARGEST_SRAM_BYTES = 2**40


@cache
def component_classes() -> Mapping[str, ComponentClass]:
    """All classes by name, each with its attributes and actions. Read-only."""
    lanes = {"lanes": WholeNumber(1, LARGEST_LANES)}
    group = WholeNumber(1, LARGEST_GROUP)
    tables = WholeNumber(1, LARGEST_LANES)
    sram_bytes = WholeNumber(SRAM_BYTES_PER_READ, LARGEST_SRAM_BYTES)
    classes = (
        ComponentClass("lut_array", {"m": tables, "n": tables, "k": group}, ("lookup",), lut_array),
        ComponentClass(
            "table_precompute", {"k": group, "activation_bits": WholeNumber(1, 16)}, ("table",), table_precompute
        ),
        ComponentClass("int8_mac_array", lanes, ("multiply_accumulate",), int8_mac_array),
        ComponentClass("bit_serial_array", lanes, ("lane_cycle",), bit_serial_array),
        ComponentClass("vector_unit", lanes, ("operation",), vector_unit),
        ComponentClass("sram", {"bytes": sram_bytes}, ("read_byte", "write_byte"), sram),
        ComponentClass("dram", {"technology": Choice(dram_technologies())}, ("read_byte", "write_byte"), dram),
    )
    return MappingProxyType({item.name: item for item in classes})


def component(class_name: str, **attributes: object) -> Component:
    """The cost of one component.

    Parameters
    ----------
    class_name : str
        One of `component_classes()`.
    **attributes : int or str
        All attributes of that class.

    Returns
    -------
    Component
        Shared: the same call gives the same object, in microseconds.

    Raises
    ------
    InputError
        Unknown class; an attribute that is unknown, missing or out of range. The message lists what is known.

    Examples
    --------
    >>> scratchpad = component("sram", bytes=64 * 1024)
    >>> scratchpad.area_um2, scratchpad.energy_pj["read_byte"], scratchpad.kind
    (88000.0, 0.7875, 'published')
    """
    classes = component_classes()
    if class_name not in classes:
        raise InputError("component", "class", class_name, "one of " + ", ".join(classes))
    return _component(class_name, classes[class_name].check(attributes))


@lru_cache(maxsize=2**16)
def _component(class_name: str, values: tuple[AttributeValue, ...]) -> Component:
    chosen = component_classes()[class_name]
    return chosen.law(**dict(zip(chosen.attributes, values, strict=True)))
