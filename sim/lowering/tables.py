"""The program that makes the tables of a product's activations beforehand and writes them to memory, from where the
product, and others that read the same activations, load them (LUT Tensor Core's separate precompute, Table 4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isa import InputError
from isa.instructions import Halt, Load, LutGen, Store
from isa.instructions.transfer import SIZE_BITS
from isa.instructions.types import ELEMENT_DTYPES
from isa.layouts import ENTRY_BYTES, row_bytes
from isa.program import Program
from sim.lowering.emitter import Emitter
from sim.lowering.memory_map import memory_map
from sim.lowering.program import unit_of
from sim.lowering.rings import Ring, grant_places
from sim.timing.machine import Machine
from sim.timing.memory import Memory
from sim.timing.nest import Tile
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit, LutArray

__all__ = ["TablePhase", "table_phase"]

_INPUT, _TABLES = (0, 1), (2, 3)
_PLACES = 2


@dataclass(frozen=True, eq=False)
class TablePhase:
    """A program that makes tables.

    Parameters
    ----------
    program : Program
    cycles : int
        Its time in closed form: the memory channel's, the precompute unit's, or of one tile after the other.
    channel_cycles, table_cycles : int
        What the channel and the precompute unit work.
    """

    program: Program
    cycles: int
    channel_cycles: int
    table_cycles: int


def table_phase(machine: Machine, unit: ArrayUnit, product: MatrixProduct) -> TablePhase:
    """The table program of a product.

    Raises
    ------
    InputError
        If the scratchpads do not hold the tables of one row.
    """
    memory = memory_map(unit, replace(product, output_on_chip=False), 0, "tables")
    rows, all_rows = _tile_rows(machine, unit, product), product.copies * product.m
    emitter = Emitter()
    inputs = Ring.make(emitter, 0, "table", _INPUT, 0, rows * memory.input_row_bytes, _PLACES)
    tables = Ring.make(emitter, 0, "store", _TABLES, 0, rows * memory.table_row_bytes, _PLACES)
    on_chip = product.input_on_chip
    source = emitter.pointer(memory.address("input"))
    target = emitter.pointer(memory.address("tables"))
    grant_places(emitter, [tables] if on_chip else [inputs, tables])
    strides = {source: rows * memory.input_row_bytes, target: rows * memory.table_row_bytes}
    for count, size in ((all_rows // rows, rows), (1, all_rows % rows)):
        if count and size:
            with emitter.repeat(count, strides):
                _write_tile(emitter, unit, product, size, memory.input_row_bytes, inputs, tables, source, target)
    emitter.emit(Halt())
    program = Program(tuple(emitter.instructions), memory.buffers, unit_of(machine, unit))
    return _timed(
        machine, unit, program, rows, all_rows, 0 if on_chip else memory.input_row_bytes, memory.table_row_bytes
    )


def _tile_rows(machine: Machine, unit: ArrayUnit, product: MatrixProduct) -> int:
    buffers, groups = machine.buffers, -(-product.k // unit.k)
    table_bytes = groups * (ENTRY_BYTES << unit.k - 1)
    input_bytes = row_bytes(product.k, product.activation.bits)
    rows = buffers.table_bytes // (_PLACES * table_bytes)
    if not product.input_on_chip:
        rows = min(rows, buffers.activation_bytes // (_PLACES * input_bytes))
    if not rows:
        expected = f"scratchpads that hold the tables of two rows: {_PLACES * table_bytes} bytes"
        raise InputError(f"machine {machine.name}", "buffers.table_bytes", buffers.table_bytes, expected)
    return min(rows, product.copies * product.m, max(1, ((1 << SIZE_BITS) - 1) // table_bytes))


def _write_tile(
    emitter: Emitter,
    unit: ArrayUnit,
    product: MatrixProduct,
    rows: int,
    pitch_bytes: int,
    inputs: Ring,
    tables: Ring,
    source: int,
    target: int,
) -> None:
    """Load activations unless they are on chip, make their tables, and store them."""
    on_chip = product.input_on_chip
    if not on_chip:
        wait, signal = frozenset({inputs.free}), frozenset({inputs.full})
        emitter.emit(
            Load(
                space="activation",
                source=source,
                target=inputs.fill,
                rows=1,
                row_bytes=rows * pitch_bytes,
                pitch_bytes=0,
                wait=wait,
                signal=signal,
            )
        )
        inputs.filled(emitter)
    emitter.emit(
        LutGen(
            k=unit.k,
            activation=product.activation.name,
            source=source if on_chip else inputs.use,
            target=tables.fill,
            rows=rows,
            depth=product.k,
            pitch_bytes=pitch_bytes,
            wait=frozenset({tables.free} | (set() if on_chip else {inputs.full})),
            signal=frozenset({tables.full} | (set() if on_chip else {inputs.free})),
        )
    )
    if not on_chip:
        inputs.used(emitter)
    tables.filled(emitter)
    entries = -(-product.k // unit.k) << unit.k - 1
    emitter.emit(
        Store(
            space="memory",
            mode="overwrite",
            origin="table",
            element="int16",
            result="int16",
            source=tables.use,
            target=target,
            rows=1,
            columns=rows * entries,
            pitch_bytes=rows * entries * ELEMENT_DTYPES["int16"].itemsize,
            wait=frozenset({tables.full}),
            signal=frozenset({tables.free}),
        )
    )
    tables.used(emitter)


def _timed(
    machine: Machine, unit: ArrayUnit, program: Program, rows: int, all_rows: int, input_bytes: int, table_bytes: int
) -> TablePhase:
    """The longest of what the channel does, what the precompute unit does, and what two places for tiles allow."""
    assert isinstance(unit, LutArray)  # noqa: S101
    memory = Memory.of(machine.memory_timings)
    sizes = np.array([rows, all_rows % rows or rows], np.int64)
    tiles = -(-all_rows // rows)

    def transfers(size_bytes: int) -> np.ndarray:
        one, none = np.ones(2, np.int64), np.zeros(2, np.int64)
        return np.ceil(memory.service_cycles(Tile(one, sizes * size_bytes, none))).astype(np.int64)

    groups = table_bytes // (ENTRY_BYTES << unit.k - 1)
    loads, stores, made = transfers(input_bytes), transfers(table_bytes), sizes * -(-groups // unit.tables_per_cycle)
    all_loads, all_stores, all_made = (int(part[0] * (tiles - 1) + part[1]) for part in (loads, stores, made))
    latency = int(memory.latency_cycles) if input_bytes else 0
    first = int(loads[0]) + latency + int(made[0]) + unit.pipeline_cycles
    places = (all_made + all_stores + tiles * unit.pipeline_cycles) // _PLACES
    cycles = max(
        first + all_made - int(made[0]) + int(stores[1]),
        all_loads + all_stores + (latency + int(made[1]) + unit.pipeline_cycles if tiles == 1 else 0),
        places + int(loads[0]) + latency,
        first + all_stores,
    )
    return TablePhase(program, cycles + len(program.instructions) // 2, all_loads + all_stores, all_made)
