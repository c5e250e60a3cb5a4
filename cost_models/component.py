"""The values that describe a component: the component itself, its class, and which attributes a class takes.

What lives here knows no number and no law: those are in `cost_models.logic` and `cost_models.memory`, and
`cost_models.library` binds both to class names.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from isa import InputError

__all__ = ["AttributeValue", "Choice", "Component", "ComponentClass", "CostKind", "WholeNumber"]

AttributeValue = int | str
CostKind = Literal["published", "calibrated", "predicted"]


@dataclass(frozen=True)
class Component:
    """Cost of one hardware component.

    Parameters
    ----------
    class_name : str
        The class, such as "sram".
    attributes : mapping of str to int or str
        What was asked for, such as {"bytes": 65536}. Read-only.
    area_um2 : float
        Silicon area in µm² of cells or macro, without routing; 0 for what stands off the chip.
    energy_pj : mapping of str to float
        pJ of one action, by the action's name. Read-only.
    node_nm : int
        Technology node of the energy figures in nm; 0 where no logic node applies (DRAM).
    kind : {"published", "calibrated", "predicted"}
        "published": the source reports this very unit, or the component is whole copies of it. "calibrated": fitted
        to published points. "predicted": a law says so, away from any published point.
    sources : tuple of str
        Citations of all the figures that went in.
    """

    class_name: str
    attributes: Mapping[str, AttributeValue] = field(hash=False)
    area_um2: float
    energy_pj: Mapping[str, float] = field(hash=False)
    node_nm: int
    kind: CostKind
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        # Components are shared through a cache, so nobody may change one.
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        object.__setattr__(self, "energy_pj", MappingProxyType(dict(self.energy_pj)))

    def __reduce__(self) -> tuple[type[Component], tuple[object, ...]]:
        """Travel to worker processes, although a read-only mapping cannot be pickled itself."""
        return Component, (
            self.class_name,
            dict(self.attributes),
            self.area_um2,
            dict(self.energy_pj),
            self.node_nm,
            self.kind,
            self.sources,
        )


@dataclass(frozen=True)
class WholeNumber:
    """An attribute that is a whole number from `smallest` to `largest`, both included."""

    smallest: int
    largest: int

    def check(self, value: object, source: str, name: str) -> int:
        """The value as an int (numpy integers are welcome, booleans are not); InputError if it does not fit."""
        try:
            number = operator.index(value)  # type: ignore[arg-type]  # it raises TypeError for anything else
        except TypeError:
            raise InputError(source, name, value, str(self)) from None
        if isinstance(value, bool) or not self.smallest <= number <= self.largest:
            raise InputError(source, name, value, str(self))
        return number

    def __str__(self) -> str:
        return f"a whole number from {self.smallest} to {self.largest}"


@dataclass(frozen=True)
class Choice:
    """An attribute that is one of some names."""

    names: tuple[str, ...]

    def check(self, value: object, source: str, name: str) -> str:
        """The value if it is one of the names; InputError that lists them otherwise."""
        if not isinstance(value, str) or value not in self.names:
            raise InputError(source, name, value, str(self))
        return value

    def __str__(self) -> str:
        return "one of " + ", ".join(self.names)


@dataclass(frozen=True)
class ComponentClass:
    """A kind of component: what may be asked of it, and the law that answers.

    Parameters
    ----------
    name : str
        The name that `component` is called with.
    attributes : mapping of str to WholeNumber or Choice
        All attributes, each required, with the values that they take.
    actions : tuple of str
        Names of the actions, the keys of `Component.energy_pj`.
    law : callable
        Takes the attributes by keyword and returns the Component.
    """

    name: str
    attributes: Mapping[str, WholeNumber | Choice]
    actions: tuple[str, ...]
    law: Callable[..., Component]

    def check(self, attributes: Mapping[str, object]) -> tuple[AttributeValue, ...]:
        """The checked values in the order of `self.attributes`; InputError for one unknown, missing or unfit."""
        source = f"component {self.name}"
        for name in attributes:
            if name not in self.attributes:
                raise InputError(source, name, "unknown attribute", "one of " + ", ".join(self.attributes))
        for name, rule in self.attributes.items():
            if name not in attributes:
                raise InputError(source, name, "no such attribute given", str(rule))
        return tuple(rule.check(attributes[name], source, name) for name, rule in self.attributes.items())
