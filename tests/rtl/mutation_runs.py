"""How a bench meets a unit with planted faults: built once with all of them, then run with one at a time, and counted.

Whatever a bench runs on, here is the way to give it a design with a fault: a `compiled.Simulation` or pins of one, what
stands for a `compile_component` in a test, a cocotb testbench, or a C++ bench of its own. Which units there are is the
subject of `mutation_targets`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import cocotb_runner
import pytest
from amaranth.lib import wiring
from cocotb_runner import run_cocotb
from compiled import Simulation, compile_verilog, port_widths, to_verilog
from equivalence import changes_nothing
from mutations import NUMBER_BITS, Mutant, plant_mutants

from rtl.simulation import LIBRARY, SimulationKind, build_simulation

__all__ = [
    "FaultyLibrary",
    "PinsOfSimulation",
    "Report",
    "Run",
    "Target",
    "claims_of",
    "on_cocotb",
    "on_library",
    "on_own_driver",
    "on_pins",
    "on_simulation",
    "run_mutants",
    "table_of",
]

Run = Callable[[int], None]
"""Runs the bench with the fault of this number active."""

_VARIABLE = "BITLOOM_MUTANT"
_QUICKLY_BUILT = SimulationKind(LIBRARY.options, ("OPT_FAST=-O1", "OPT_GLOBAL=-O1", "OPT_SLOW=-O0"))
_COCOTB_SECONDS = 40

# Put before a C++ bench: its models are made with the fault that the environment names.
_WITH_FAULT = f"""#include <cstdlib>
#include <utility>
#include "Vtop.h"
namespace {{
struct FaultyTop : Vtop {{
    template <typename... Given> explicit FaultyTop(Given&&... given) : Vtop(std::forward<Given>(given)...) {{
        const char* number = std::getenv("{_VARIABLE}");
        this->mutant = number ? std::atoi(number) : 0;
    }}
}};
}}
#define Vtop FaultyTop
"""


@dataclass(frozen=True)
class Target:
    """A unit and its bench.

    Parameters
    ----------
    component : function
        Makes the unit.
    opened : function
        From Verilog with an input `mutant`, and the widths of its ports, to what runs the bench on it.
    within : str
        Faults are planted into this module and those in it.
    faults : int
        How many of them are planted where time does not matter.
    """

    component: Callable[[], wiring.Component]
    opened: Callable[[str, Mapping[str, int]], Run]
    within: str = "top"
    faults: int = 100


@dataclass(frozen=True)
class Report:
    """Faults that were found, that were not, and that change nothing."""

    killed: list[Mutant] = field(default_factory=list)
    survived: list[Mutant] = field(default_factory=list)
    equivalent: list[Mutant] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.counts]
        for verdict, mutants in (("survived", self.survived), ("changes nothing", self.equivalent)):
            lines += [f"{verdict}: {mutant}" for mutant in mutants]
        return "\n".join(lines)

    @property
    def counts(self) -> str:
        """How many there are of each, as cells of a table."""
        kinds = self.killed, self.equivalent, self.survived
        return " | ".join(f"{count:>11}" for count in (sum(map(len, kinds)), *map(len, kinds)))


def table_of(reports: Mapping[str, Report]) -> str:
    """The reports of some units, and below them the faults that nobody has found."""
    head = " | ".join(f"{title:>11}" for title in ("planted", "killed", "no change", "survived"))
    lines = [f"{'unit':27} | {head}", *(f"{name:27} | {report.counts}" for name, report in reports.items())]
    lines += [f"{name}: {mutant}" for name, report in reports.items() for mutant in report.survived]
    return "\n".join(lines)


def run_mutants(target: Target, count: int, seed: int) -> Report:
    """Run the bench of a unit on it with each of some faults, after a run without any.

    Parameters
    ----------
    target : Target
    count, seed : int
        How many faults, and which.
    """
    component = target.component()
    text, mutants = plant_mutants(to_verilog(component), count, seed, target.within)
    run = target.opened(text, port_widths(component) | {"mutant": NUMBER_BITS})
    run(0)
    report = Report()
    for mutant in mutants:
        if _is_found(run, mutant.number):
            report.killed.append(mutant)
        else:
            (report.equivalent if changes_nothing(text, mutant.number, mutant.module) else report.survived).append(
                mutant
            )
    return report


def _is_found(run: Run, number: int) -> bool:
    """Whether a bench ends with an error; it has none without a fault, so of whatever kind it is, it is the fault's."""
    try:
        run(number)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001
        return True
    return False


def on_simulation(bench: Callable[[Simulation], None], text: str, widths: Mapping[str, int]) -> Run:
    """Runs of a bench that works on a `compiled.Simulation`."""

    def run(library: FaultyLibrary) -> None:
        with library.simulation() as simulation:
            bench(simulation)

    return on_library(run, text, widths)


class FaultyLibrary:
    """What `compiled.compile_component` gives, with a fault in each of its simulations."""

    def __init__(self, library: Any, number: int) -> None:
        self._library, self._number = library, number

    def simulation(self, **inputs: int) -> Simulation:
        """A new simulation after its reset, with these inputs set before."""
        simulation: Simulation = self._library.simulation(mutant=self._number, **inputs)
        return simulation


def on_library(bench: Callable[[FaultyLibrary], None], text: str, widths: Mapping[str, int]) -> Run:
    """Runs of a bench that makes simulations of its own of a compiled library."""
    library = compile_verilog(text, widths)
    return lambda number: bench(FaultyLibrary(library, number))


class PinsOfSimulation:
    """`engine_bench.Pins` of a `compiled.Simulation`.

    A fault may make a bench wait for ever: it fails after `limit` cycles.
    """

    def __init__(self, simulation: Simulation, widths: Mapping[str, int], limit: float = float("inf")) -> None:
        self._simulation, self._widths, self._limit, self.cycles = simulation, widths, limit, 0

    def get(self, name: str) -> int:
        """The bits of an output."""
        return self._simulation[name]

    def set(self, name: str, value: int) -> None:
        """Drive an input: as many bits as it has."""
        self._simulation[name] = int(value) & (1 << self._widths[name]) - 1

    async def settle(self) -> None:
        """Nothing to wait for: what is driven is seen at once."""

    async def edge(self) -> None:
        """The next cycle."""
        # What is looked at is evaluated first.
        self.get("clk")
        for level in (1, 0):
            self.set("clk", level)
            self.get("clk")
        self.cycles += 1
        assert self.cycles <= self._limit, "the bench takes longer than without a fault"


def on_pins(
    bench: Callable[[PinsOfSimulation], Coroutine[Any, Any, None]], text: str, widths: Mapping[str, int]
) -> Run:
    """Runs of a bench that is one coroutine on pins."""
    library = compile_verilog(text, widths)
    longest = [float("inf")]

    def run(number: int) -> None:
        with library.simulation(mutant=number) as simulation:
            pins = PinsOfSimulation(simulation, widths, longest[0])
            coroutine = bench(pins)
            try:
                coroutine.send(None)
            except StopIteration:
                pass
            else:
                raise RuntimeError("a bench on pins waits for nothing else than pins")
            if not number:
                longest[0] = 4 * pins.cycles

    return run


def on_cocotb(bench: str, parameters: Mapping[str, Any], text: str, _widths: Mapping[str, int]) -> Run:
    """Runs of all tests of a cocotb testbench."""
    folder = TemporaryDirectory(prefix="bitloom-mutants-")
    main = Path(folder.name) / "main.cpp"
    main.write_text(_WITH_FAULT + cocotb_runner._MAIN.read_text())
    converter = SimpleNamespace(convert=lambda *_given, **_options: text)

    def run(number: int) -> None:
        assert main.is_file(), folder
        with patch.multiple(cocotb_runner, _MAIN=main, verilog=converter), patch.dict(os.environ, _chosen(number)):
            run_cocotb(wiring.Component({}), bench, parameters=parameters, limit_seconds=_COCOTB_SECONDS)

    return run


def on_own_driver(driver: Path, bench: Callable[[Path], None], text: str, _widths: Mapping[str, int]) -> Run:
    """Runs of a bench on the shared library of the design and a C++ file."""
    with TemporaryDirectory(prefix="bitloom-mutants-") as name:
        source, faulty = Path(name) / "top.v", Path(name) / "driver.cpp"
        source.write_text(text)
        faulty.write_text(_WITH_FAULT + driver.read_text())
        library = build_simulation([source], "top", faulty, _QUICKLY_BUILT)

    def run(number: int) -> None:
        with patch.dict(os.environ, _chosen(number)):
            bench(library)

    return run


def _chosen(number: int) -> dict[str, str]:
    return {_VARIABLE: str(number)}


def claims_of(tests: ModuleType, **fixtures: Any) -> Iterator[Callable[[], None]]:
    """All tests of a module, with each of their parameters; not those that search for examples."""
    for name, test in vars(tests).items():
        if not name.startswith("test_") or hasattr(test, "hypothesis"):
            continue
        marks = [mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        names = [mark[0].split(",") if isinstance(mark[0], str) else mark[0] for mark in marks]
        for chosen in product(*(mark[1] for mark in marks)):
            given = dict(fixtures)
            for together, values in zip(names, chosen, strict=True):
                given |= zip(together, values if len(together) > 1 else [values], strict=True)
            yield partial(test, **{key: given[key] for key in signature(test).parameters})
