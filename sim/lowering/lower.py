"""From a matrix product to what every core executes: the split among cores, the cut, and the programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from isa.program import Program
from sim.lowering.candidates import Problem
from sim.lowering.program import write_program
from sim.lowering.search import Choice, choose_cuts
from sim.lowering.tables import TablePhase, table_phase
from sim.timing.machine import Machine
from sim.timing.nest import Nest, Products
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit, LutArray

__all__ = ["Lowered", "forget_lowered", "lower", "lower_all", "split"]


@dataclass(frozen=True, eq=False)
class Lowered:
    """A matrix product on a machine.

    Parameters
    ----------
    machine : Machine
    unit : ArrayUnit
    product : MatrixProduct
        The whole.
    parts : tuple of MatrixProduct
        One a core that has something to do, the largest first.
    choice : Choice
        The cut of the largest part; the others are cut alike.
    tables : TablePhase or None
        The program that makes tables beforehand, on one core, where they are made separately.
    """

    machine: Machine
    unit: ArrayUnit
    product: MatrixProduct
    parts: tuple[MatrixProduct, ...]
    choice: Choice
    tables: TablePhase | None

    @cached_property
    def nests(self) -> tuple[Nest, ...]:
        """The loops of every part."""
        first = self.choice.nest
        given = int(first.products.tables_given)
        return tuple(Nest(first.hardware, Products.of(part, given), first.cuts) for part in self.parts)

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """The program of every part; equal parts share one."""
        written: dict[MatrixProduct, Program] = {}
        for part, nest in zip(self.parts, self.nests, strict=True):
            if part not in written:
                written[part] = write_program(self.machine, self.unit, part, nest)
        return tuple(written[part] for part in self.parts)

    @property
    def shares(self) -> tuple[float, float, float]:
        """How much all cores load of inputs and of weights, and store of results, for what the first does: each loads
        activations for itself, and its own part of weights and results."""
        parts, n = self.parts, self.unit.n
        if self.product.copies > 1:
            copies = self.product.copies / parts[0].copies
            return copies, copies, copies
        blocks, columns = (sum(-(-part.n // step) for part in parts) / -(-parts[0].n // step) for step in (n, 1))
        return float(len(parts)), blocks, columns


def lower(machine: Machine, unit: ArrayUnit, product: MatrixProduct) -> Lowered:
    """Split a product among cores and choose its cut.

    Raises
    ------
    InputError
        If it does not fit the machine (see `choose_cuts`).
    """
    return lower_all(machine, [(unit, product)])[0]


def lower_all(machine: Machine, products: Sequence[tuple[ArrayUnit, MatrixProduct]]) -> list[Lowered]:
    """`lower` for several products, whose cuts are searched together; what was lowered before is not searched again."""
    places = {(unit, product): _place(machine, unit, product) for unit, product in products}
    new = [key for key, place in places.items() if place.lowered is None]
    parts = [split(machine, *key) for key in new]
    separate = [isinstance(unit, LutArray) and unit.precompute == "separate" for unit, _ in new]
    problems = [
        Problem(unit, own[0], len(own), int(given)) for (unit, _), own, given in zip(new, parts, separate, strict=True)
    ]
    choices = choose_cuts(machine, problems)
    for (unit, product), own, given, choice in zip(new, parts, separate, choices, strict=True):
        tables = table_phase(machine, unit, product) if given else None
        places[unit, product].lowered = Lowered(machine, unit, product, own, choice, tables)
    return [lowered for key in products if (lowered := places[key].lowered)]


def forget_lowered() -> None:
    """Lower everything anew from now on."""
    _place.cache_clear()


@dataclass
class _Place:
    """Where a lowered product is kept."""

    lowered: Lowered | None = None


@lru_cache(maxsize=4096)
def _place(machine: Machine, unit: ArrayUnit, product: MatrixProduct) -> _Place:  # noqa: ARG001
    """The place of a product, the same one as long as it is remembered."""
    return _Place()


def split(machine: Machine, unit: ArrayUnit, product: MatrixProduct) -> tuple[MatrixProduct, ...]:
    """The parts of a product, one a core: copies are shared out, or blocks of N columns where there is one copy."""
    if machine.cores == 1:
        return (product,)
    if product.copies > 1:
        return tuple(replace(product, copies=copies) for copies in _shares(product.copies, machine.cores))
    blocks = _shares(-(-product.n // unit.n), machine.cores)
    ends = np.minimum(np.cumsum(blocks) * unit.n, product.n)
    columns = np.diff(ends, prepend=0)
    return tuple(replace(product, n=int(count), result_columns=product.n) for count in columns)


def _shares(total: int, cores: int) -> list[int]:
    """Nearly equal shares, the larger ones first; none is empty."""
    quotient, remainder = divmod(total, cores)
    shares = [quotient + (core < remainder) for core in range(cores)]
    return [share for share in shares if share]
