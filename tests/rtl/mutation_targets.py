"""Which units are mutated, and the bench that has to find the faults of each: that of the unit's own tests.

To add a unit, add a `Target`; how its bench gets at a design with a fault is the subject of `mutation_runs`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import test_hardware_front_end
import test_packer
from amaranth.lib import wiring
from array_cases import Cases, array_bench, table_bench
from array_units import ArrayWithEngine, small_configuration
from compiled import Simulation, Stream
from engine_checks import check_commands, check_faults, check_random_addresses, check_timing
from front_end_runs import CONFIGURATION as FRONT_END_CONFIGURATION
from front_end_runs import OneRun
from load_path import MemoryPath, path_parameters
from lut_cases import random_block as random_table_block
from mutation_runs import (
    FaultyLibrary,
    PinsOfSimulation,
    Target,
    claims_of,
    on_cocotb,
    on_library,
    on_pins,
    on_simulation,
)
from mutation_store import STORE_ENGINE
from mutation_unit import WHOLE_UNIT
from product_arrays import configuration_of, random_block, random_ternary_block
from test_control import CONFIGURATION as CONTROL_CONFIGURATION
from test_issue import IssuingEngines, check_issuing

from rtl.arrays.bit_serial import BitSerialArray
from rtl.arrays.lut import LutArray
from rtl.arrays.mac import MacArray
from rtl.arrays.ternary import TernaryArray
from rtl.control import Control
from rtl.engines.table import TableEngine
from rtl.registers import REGISTERS

__all__ = ["TARGETS"]


def _array_bench(
    block: Callable[[random.Random], Any], latency_cycles: int, step_every_cycle: bool, simulation: Simulation
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
    block: Callable[[random.Random], Any],
    latency_cycles: int,
    *,
    step_every_cycle: bool,
) -> Target:
    bench = partial(_array_bench, block, latency_cycles, step_every_cycle)
    return Target(component, partial(on_simulation, bench))


def _table_block(rng: random.Random) -> Any:
    random.seed(rng.getrandbits(32))
    return random_table_block(_LUT)


async def _engine_bench(kind: str, pins: PinsOfSimulation) -> None:
    """The commands of `bench_array_engine`."""
    random.seed(3)
    cases = Cases(_LUT, kind)
    bench = (array_bench if kind == "lmma" else table_bench)(pins, _LUT, cases.storage())
    for rate in (1.0, 0.3, 0.03):
        for _ in range(3):
            bench.fill(cases.storage())
            await check_commands(cases, bench, rate, 40)
    await check_timing(cases, bench, 20)
    await check_faults(cases, bench)
    await check_random_addresses(cases, bench, 60)
    for _ in range(4):
        await bench.run([cases.command() for _ in range(20)], cycles=random.randrange(40))
        pins.set("rst", 1)
        await pins.edge()
        pins.set("rst", 0)
        bench.fill(cases.storage())
        await check_commands(cases, bench, 1.0, 5)


def _packer_bench(library: FaultyLibrary) -> None:
    with patch.object(test_packer, "compile_component", return_value=library):
        for claim in claims_of(test_packer):
            claim()


def _front_end(bus_bytes: int) -> Target:
    configuration = replace(FRONT_END_CONFIGURATION, bus_bytes=bus_bytes)

    def bench(library: FaultyLibrary) -> None:
        for claim in claims_of(test_hardware_front_end, built=(configuration, library)):
            claim()

    return Target(partial(OneRun, configuration), partial(on_library, bench), "top.front_end")


def _control() -> Target:
    after_reset = {item.name: item.value(CONTROL_CONFIGURATION) for item in REGISTERS}
    component = partial(Control, configuration=CONTROL_CONFIGURATION)
    return Target(component, partial(on_cocotb, "bench_control", {"after_reset": after_reset}), faults=40)


_MAC = configuration_of("mac", 2)
_DENSE = configuration_of("bit-serial", 4)
_SKIPPING = configuration_of("bit-serial", 6, skips_zero_terms=True)
_LUT = small_configuration(weight_bits=4)

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
    "LUT array": _array(partial(LutArray, _LUT), _table_block, LutArray.LATENCY_CYCLES, step_every_cycle=True),
    # The table builder is in it.
    "table engine": Target(partial(TableEngine, _LUT), partial(on_pins, partial(_engine_bench, "lutgen"))),
    "array engine": Target(
        partial(ArrayWithEngine, _LUT), partial(on_pins, partial(_engine_bench, "lmma")), within="top.U$1"
    ),
    "packer": Target(lambda: test_packer.COMPONENT, partial(on_library, _packer_bench)),
    "load engine": Target(
        MemoryPath, partial(on_cocotb, "bench_load", path_parameters()), within="top.engine", faults=40
    ),
    "store engine": STORE_ENGINE,
    "tokens and issue": Target(IssuingEngines, partial(on_pins, check_issuing)),
    "front end": _front_end(8),
    "front end with a wide bus": _front_end(128),
    "control": _control(),
    "whole unit": WHOLE_UNIT,
}
"""The units by name."""
