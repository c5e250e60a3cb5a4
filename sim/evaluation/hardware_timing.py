"""Times the work of operations on hardware: the RTL of the machine, simulated cycle by cycle.

What the array computes runs as the very programs of the event model, on operands made up at random; what the vector
unit computes has no instructions, and takes the event model's time. Needs the extra `rtl`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isa import InputError
from isa.instructions.types import ELEMENT_DTYPES, WeightType
from isa.program import Program
from rtl.registers import Counters
from sim.evaluation.timing import OperationTiming, event_timing
from sim.evaluation.work import Work
from sim.functional.lowered import run_lowered
from sim.hardware.description import hardware_of
from sim.hardware.execution import HardwareExecution
from sim.lowering import Lowered
from sim.lowering.images import MemoryImage, ProductOperands, pack_product_weights
from sim.timing.machine import Machine
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit

__all__ = ["in_hardware", "random_operands"]


def in_hardware(machine: Machine, works: Sequence[Work]) -> Iterator[OperationTiming]:
    """The times of works, one after the other as they are asked for; the simulation is built first if it is not there.

    Parameters
    ----------
    machine : Machine
        As it is built: `sim.hardware.description.hardware_of(machine).machine`.
    works : sequence of Work

    Raises
    ------
    InputError
        If the RTL would be another machine, or cannot be built.
    DeviceError
        If the hardware stops with an error.
    """
    hardware = hardware_of(machine)
    if hardware.changed:
        field, (asked, built) = next(iter(hardware.changed.items()))
        raise InputError(f"machine {machine.name}", field, asked, f"{built}, as the RTL has it")
    with hardware.device() as device:
        for work in works:
            event = event_timing(machine, work)
            if work.unit is machine.compute and isinstance(work.body, Lowered):
                yield _measured(work.body, HardwareExecution(device), event)
            else:
                yield event


def _measured(lowered: Lowered, execution: HardwareExecution, event: OperationTiming) -> OperationTiming:
    """Time on hardware; the counters know when an engine works, not why not, so that is as in the event model."""

    def execute(program: Program, image: MemoryImage, buffer: str) -> NDArray[np.uint8]:
        execution.run(program, image)
        # Cycles do not depend on what comes out.
        return np.zeros(next(item.size_bytes for item in program.buffers if item.name == buffer), np.uint8)

    product, random = lowered.product, np.random.default_rng(0)
    codes = _random_codes(product.weight, random, (product.copies, product.n, product.k))
    run_lowered(lowered, random_operands(lowered.unit, product, codes, random), execute)
    spent: Counters = execution.spent.counters
    compute = min(spent.array_cycles, spent.cycles)
    waiting = spent.cycles - compute
    fill = min(event.fill_cycles, waiting)
    drain = min(event.drain_cycles, waiting - fill)
    return replace(
        event,
        fill_cycles=fill,
        compute_cycles=compute,
        stall_cycles=waiting - fill - drain,
        drain_cycles=drain,
        table_cycles=spent.table_cycles,
        scale_cycles=spent.scale_cycles,
    )


def _random_codes(weight: WeightType, random: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.int8]:
    """Codes from all that the type has."""
    codes = random.integers(-(1 << weight.bits - 1), 1 << weight.bits - 1, shape)
    return (2 * codes + 1 if weight.coding == "odd" else codes).astype(np.int8)


def random_operands(
    unit: ArrayUnit, product: MatrixProduct, codes: NDArray[np.int8], random: np.random.Generator
) -> ProductOperands:
    """Operands of a product of int8 activations, with weights codes [copies, n, k] and scales in a usual range."""
    copies, m, n, scaling = product.copies, product.m, product.n, product.scaling
    activations = random.integers(-128, 128, (copies, m, product.k)).astype(np.int8)
    operands = ProductOperands(activations, pack_product_weights(unit, product.weight, codes))
    if scaling is None:
        return operands
    groups = -(-product.k // scaling.group_size) if scaling.group_size else 1
    shape = (1, 1, 1) if scaling.granularity == "tensor" else (copies, groups, n)
    column_scales = random.uniform(1e-3, 2, shape).astype(ELEMENT_DTYPES[scaling.element])
    row_scales = random.uniform(0.5, 200, (copies, m)).astype(np.float32)
    return replace(operands, column_scales=column_scales, row_scales=row_scales)
