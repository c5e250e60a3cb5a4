"""Which units are mutated, the bench that has to find the faults of each, and how that went.

A bench takes the compiled unit with one fault active and raises an `AssertionError` if it finds it. Faults of which it
is proved that they change nothing, neither an output nor what any register becomes, are not counted. To add a unit, add
a `Target`; one whose bench has a driver of its own gives an `opened` of its own too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from amaranth.lib import wiring
from compiled import Simulation, Stream, compile_verilog, port_widths, to_verilog
from equivalence import changes_nothing
from mutations import NUMBER_BITS, Mutant, plant_mutants
from product_arrays import Block, configuration_of, random_block, random_ternary_block

from rtl.arrays.bit_serial import BitSerialArray
from rtl.arrays.mac import MacArray
from rtl.arrays.ternary import TernaryArray

__all__ = ["TARGETS", "Report", "Target", "compiled_with", "run_mutants"]

Run = Callable[[int], None]
"""Runs the bench with the fault of this number active."""


@dataclass(frozen=True)
class Target:
    """A unit and its bench.

    Parameters
    ----------
    component : function
        Makes the unit.
    opened : function
        From Verilog with an input `mutant`, and the widths of its ports, to what runs the bench on it.
    """

    component: Callable[[], wiring.Component]
    opened: Callable[[str, Mapping[str, int]], Run]


@dataclass(frozen=True)
class Report:
    """Faults that were found, that were not, and that change nothing."""

    killed: list[Mutant] = field(default_factory=list)
    survived: list[Mutant] = field(default_factory=list)
    equivalent: list[Mutant] = field(default_factory=list)

    def __str__(self) -> str:
        listed = [("survived", self.survived), ("changes nothing", self.equivalent)]
        return "\n".join(
            [
                f"{len(self.killed)} killed, {len(self.survived)} survived, {len(self.equivalent)} change nothing",
                *(
                    f"{verdict}: {mutant.number}, {mutant.kind} in {mutant.module}, line {mutant.line}: "
                    f"{mutant.before}  ->  {mutant.after}"
                    for verdict, mutants in listed
                    for mutant in mutants
                ),
            ]
        )


def run_mutants(target: Target, count: int, seed: int) -> Report:
    """Run the bench of a unit on it with each of some faults, after a run without any.

    Parameters
    ----------
    target : Target
    count, seed : int
        How many faults, and which.
    """
    component = target.component()
    text, mutants = plant_mutants(to_verilog(component), count, seed)
    run = target.opened(text, port_widths(component) | {"mutant": NUMBER_BITS})
    run(0)
    report = Report()
    for mutant in mutants:
        try:
            run(mutant.number)
        except AssertionError:
            report.killed.append(mutant)
        else:
            (report.equivalent if changes_nothing(text, mutant.number) else report.survived).append(mutant)
    return report


def compiled_with(bench: Callable[[Simulation], None], text: str, widths: Mapping[str, int]) -> Run:
    """Runs of a bench that works on a `compiled.Simulation`."""
    library = compile_verilog(text, widths)

    def run(number: int) -> None:
        with library.simulation(mutant=number) as simulation:
            bench(simulation)

    return run


def _array_bench(
    block: Callable[[random.Random], Block], latency_cycles: int, step_every_cycle: bool, simulation: Simulation
) -> None:
    """Sums at several paces, times at full pace, and all of it again after a reset in the middle."""
    rng = random.Random(1)
    for _ in range(8):
        for paces in ((1.0, 1.0), (0.6, 0.4)):
            blocks = [block(rng) for _ in range(50)]
            steps = [step for item in blocks for step in item.steps]
            streams = Stream("step", steps, paces[0]), Stream("sums", len(blocks), paces[1])
            taken, given = simulation.exchange(*streams, cycles=20 * len(steps), seed=rng.getrandbits(32))
            assert given.payloads == [item.sums for item in blocks]
            if paces == (1.0, 1.0):
                ends = np.cumsum([len(item.steps) for item in blocks]) - 1
                assert (given.cycles == taken.cycles[ends] + latency_cycles).all()
                assert not step_every_cycle or np.diff(taken.cycles).max() == 1
        cycles = rng.randint(1, 9)
        simulation.exchange(Stream("step", block(rng).steps * 9), Stream("sums", 9, 0.5), cycles=cycles)
        simulation["step__valid"] = simulation["sums__ready"] = 0
        simulation.reset(rng.randint(1, 2))


def _array(
    component: Callable[[], wiring.Component],
    block: Callable[[random.Random], Block],
    latency_cycles: int,
    *,
    step_every_cycle: bool,
) -> Target:
    bench = partial(_array_bench, block, latency_cycles, step_every_cycle)
    return Target(component, partial(compiled_with, bench))


_MAC = configuration_of("mac", 2)
_DENSE = configuration_of("bit-serial", 4)
_SKIPPING = configuration_of("bit-serial", 6, skips_zero_terms=True)

TARGETS: dict[str, Target] = {
    "multiply-accumulate array": _array(
        partial(MacArray, _MAC), partial(random_block, _MAC), MacArray.LATENCY_CYCLES, step_every_cycle=True
    ),
    "bit-serial array": _array(
        partial(BitSerialArray, _DENSE),
        partial(random_block, _DENSE),
        BitSerialArray.LATENCY_CYCLES,
        step_every_cycle=False,
    ),
    "bit-serial array that skips": _array(
        partial(BitSerialArray, _SKIPPING),
        partial(random_block, _SKIPPING),
        BitSerialArray.LATENCY_CYCLES,
        step_every_cycle=False,
    ),
    "ternary array": _array(
        partial(TernaryArray, m=2, n=3, mu=3),
        partial(random_ternary_block, 2, 3, 3),
        TernaryArray.LATENCY_CYCLES,
        step_every_cycle=True,
    ),
}
"""The units by name."""
