"""The program of a matrix product on a machine, once it is known how the product is cut."""

from __future__ import annotations

from isa.instructions import Instruction
from isa.program import Program, Role, Unit
from sim.lowering.emitter import Emitter
from sim.lowering.memory_map import memory_map
from sim.lowering.writer import ProgramWriter
from sim.timing.machine import Machine
from sim.timing.nest import Nest
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit

__all__ = ["unit_of", "write_program"]


def unit_of(machine: Machine, unit: ArrayUnit) -> Unit:
    """What programs say of the unit and the scratchpads that they were made for."""
    buffers = machine.buffers
    return Unit(
        kind=unit.unit_kind,
        m=unit.m,
        n=unit.n,
        k=unit.k,
        activation_bytes=buffers.activation_bytes,
        weight_bytes=buffers.weight_bytes,
        table_bytes=buffers.table_bytes,
        accumulator_bytes=buffers.output_bytes,
        scale_bytes=buffers.scale_bytes,
        queue_depth=machine.queue_depth,
    )


def write_program(machine: Machine, unit: ArrayUnit, product: MatrixProduct, nest: Nest) -> Program:
    """The program of a product, cut as the nest says (of this product on this unit, one cut)."""
    results = product.copies * product.m * product.n * product.result_bytes if product.output_on_chip else 0
    tables_role: Role | None = "input" if nest.products.tables_given else None
    memory = memory_map(unit, product, int(nest.activation_scratchpad_bytes) - results, tables_role)
    instructions: tuple[Instruction, ...] = ProgramWriter(unit, product, nest, memory, Emitter()).write()
    return Program(instructions, memory.buffers, unit_of(machine, unit))
