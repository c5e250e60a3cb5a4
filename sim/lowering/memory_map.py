"""Where the operands of a matrix product lie: in memory, one buffer after the other, or on chip."""

from __future__ import annotations

from dataclasses import dataclass

from isa.instructions.types import Space
from isa.layouts import ENTRY_BYTES, group_bytes, row_bytes
from isa.program import Buffer, Role
from sim.timing.nest import ROW_SCALE_BYTES
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit

__all__ = ["ALIGNMENT_BYTES", "MemoryMap", "memory_map"]

ALIGNMENT_BYTES = 8192
"""Buffers begin at multiples of this: a DRAM page of most technologies."""


@dataclass(frozen=True)
class MemoryMap:
    """Buffers of a product by role, and the sizes that addresses are made of.

    Parameters
    ----------
    buffers : tuple of Buffer
    input_row_bytes, table_row_bytes, block_bytes, result_row_bytes : int
        From one row of activations (tables, results) to the next, and from one block of N columns of weights (or one
        column, where they lie in rows) to the next.
    scale_row_bytes : int
        From the column scales of one group of inputs to those of the next.
    """

    buffers: tuple[Buffer, ...]
    input_row_bytes: int
    table_row_bytes: int
    block_bytes: int
    result_row_bytes: int
    scale_row_bytes: int

    def address(self, name: Role) -> int:
        """Where a buffer begins; buffers are named after their roles, tables `tables` whatever their role."""
        return next(buffer.address for buffer in self.buffers if buffer.name == name)

    def copy_bytes(self, name: Role, copies: int) -> int:
        """Bytes of one copy in a buffer."""
        return next(buffer.size_bytes for buffer in self.buffers if buffer.name == name) // copies


def memory_map(
    unit: ArrayUnit, product: MatrixProduct, result_address: int, tables_role: Role | None = None
) -> MemoryMap:
    """The memory map of a product on a unit.

    Parameters
    ----------
    result_address : int
        Where results go in the activation scratchpad, if they stay on chip.
    tables_role : Role, optional
        What tables in memory are to the program: `tables` where it makes them, `input` where it loads them. None: there
        are none.
    """
    groups = -(-product.k // unit.k)
    inputs = row_bytes(product.k, product.activation.bits)
    if unit.weight_order == "rows":
        blocks, block = product.n, row_bytes(product.k, product.weight.bits)
        order = "n, k], each column from a byte on"
    else:
        blocks, block = -(-product.n // unit.n), groups * group_bytes(unit.n, unit.k, product.weight.bits)
        order = f"⌈n/{unit.n}⌉, ⌈k/{unit.k}⌉, {unit.n} x {unit.k}]"
    tables = groups * (ENTRY_BYTES << unit.k - 1) if unit.looks_up_tables else 0
    results = product.n * product.result_bytes if product.output_on_chip else product.result_pitch_bytes
    scaling, scale_row, scale_rows = product.scaling, 0, 0
    if scaling is not None:
        scale_row = (1 if scaling.granularity == "tensor" else product.n) * scaling.element_bytes
        scale_rows = -(-product.k // scaling.group_size) if scaling.granularity == "group" else 1
    sizes: list[tuple[Role, int, str]] = [
        ("input", product.m * inputs, f"{product.activation.name} [copies, m, k], rows of whole bytes"),
        ("weights", blocks * block, f"{product.weight.name} [copies, {order}"),
        ("tables", product.m * tables if tables_role else 0, "int16 [copies, m, groups, entries]"),
        ("scales", scale_rows * scale_row, "of columns [copies, groups, n]"),
        ("row_scales", product.m * ROW_SCALE_BYTES if scaling else 0, "fp32 [copies, m]"),
        ("output", product.m * results, f"{product.result} [copies, m, n]"),
    ]
    buffers, address = [], 0
    on_chip: dict[Role, tuple[Space, int]] = {}
    if product.input_on_chip:
        on_chip |= {"input": ("activation", 0), "row_scales": ("scale", 0)}
    if product.output_on_chip:
        on_chip["output"] = ("activation", result_address)
    for name, size, layout in sizes:
        role = tables_role if name == "tables" and tables_role else name
        if not size:
            continue
        one_for_all = name == "scales" and scaling is not None and scaling.granularity == "tensor"
        size_bytes = size * (1 if one_for_all else product.copies)
        if name in on_chip:
            buffers.append(Buffer(name, role, *on_chip[name], size_bytes, layout))
            continue
        buffers.append(Buffer(name, role, "memory", address, size_bytes, layout))
        address += -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return MemoryMap(tuple(buffers), inputs, tables, block, results, scale_row)
