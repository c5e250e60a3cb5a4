"""From a matrix product to what every core executes: the split among cores, the cut, and the programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from isa.program import Program
from sim.lowering.program import write_program
from sim.lowering.search import Choice, choose_cut
from sim.lowering.tables import TablePhase, table_phase
from sim.timing.analytic import Shares
from sim.timing.machine import Machine
from sim.timing.nest import Nest, Products
from sim.timing.product import MatrixProduct
from sim.timing.totals import Totals
from sim.timing.units import ArrayUnit, LutArray

__all__ = ["Lowered", "lower", "split"]


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
    def shares(self) -> Shares:
        """What all cores load and store of what the first does: each loads activations for itself, and its own part of
        weights and results."""
        parts, n = self.parts, self.unit.n
        if self.product.copies > 1:
            copies = self.product.copies / parts[0].copies
            return Shares(copies, copies, copies)
        blocks, columns = (sum(-(-part.n // step) for part in parts) / -(-parts[0].n // step) for step in (n, 1))
        return Shares(float(len(parts)), blocks, columns)

    def channel_cycles(self, totals: Totals) -> int:
        """For how long all cores have the memory channel, from the totals of the first; tables that are made beforehand
        aside."""
        shares = self.shares
        loads = totals.input_load_cycles * shares.inputs
        loads = loads + (totals.weight_load_cycles + totals.scale_load_cycles) * shares.weights
        return round(float(loads + totals.store_cycles * shares.results))


@lru_cache(maxsize=4096)
def lower(machine: Machine, unit: ArrayUnit, product: MatrixProduct) -> Lowered:
    """Split a product among cores and choose its cut.

    Raises
    ------
    InputError
        If it does not fit the machine (see `choose_cut`).
    """
    parts = split(machine, unit, product)
    separate = isinstance(unit, LutArray) and unit.precompute == "separate"
    choice = choose_cut(machine, unit, parts[0], len(parts), int(separate))
    return Lowered(machine, unit, product, parts, choice, table_phase(machine, unit, product) if separate else None)


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
