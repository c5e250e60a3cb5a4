"""Hand-written programs of a tiled matmul, double-buffered, with tables or with activations; tests of what executes
programs run them, and break them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isa.instructions import End, Halt, Instruction, Lmma, Load, Loop, LutGen, SetPointer, Step, Store, Sync
from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from isa.layouts import ENTRY_BYTES, group_bytes, pack_activations, pack_weights
from isa.program import Buffer, Program, Unit

# Pointers
ACTIVATIONS_IN_MEMORY, ACTIVATIONS, WEIGHTS_IN_MEMORY, WEIGHTS, TABLES, SUMS, OUTPUT = range(7)
# Counters, each given by one engine and taken by one
(
    ACTIVATIONS_LOADED,
    ACTIVATIONS_FREE,
    WEIGHTS_LOADED,
    WEIGHTS_FREE,
    TABLES_MADE,
    TABLES_FREE,
    SUMS_MADE,
    SUMS_FREE,
) = range(8)


@dataclass(frozen=True)
class Matmul:
    """A product in tiles of what a unit takes: activations [rows, depth], weights [columns, depth]."""

    form: str
    weight: str
    unit: Unit
    tile_rows: int
    tile_columns: int
    tile_depth: int
    activations: np.ndarray
    weights: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """The product, from int64."""
        return (self.activations.astype(np.int64) @ self.weights.astype(np.int64).T).astype(np.int32)


def matmul(
    form: str,
    weight: str,
    mnk: tuple[int, int, int],
    blocks: tuple[int, int, int],
    tiles: tuple[int, int, int],
    *,
    seed: int = 0,
    queue_depth: int = 8,
) -> Matmul:
    """Random operands of `tiles` tiles of `blocks` times what the array takes."""
    rng = np.random.default_rng(seed)
    tile = [count * size for count, size in zip(blocks, mnk, strict=True)]
    rows, columns, depth = (count * size for count, size in zip(tiles, tile, strict=True))
    m, n, k = mnk
    kind = WEIGHT_TYPES[weight]
    if kind.coding == "odd":
        codes = 2 * rng.integers(0, 1 << kind.bits, (columns, depth)) - (1 << kind.bits) + 1
    else:
        codes = rng.integers(-(1 << kind.bits - 1) + (weight == "ternary"), 1 << kind.bits - 1, (columns, depth))
    unit = Unit(
        kind="lut" if form == "table" else "mac",
        m=m,
        n=n,
        k=k,
        activation_bytes=2 * tile[0] * tile[2],
        weight_bytes=2 * blocks[1] * blocks[2] * group_bytes(n, k, kind.bits),
        table_bytes=2 * tile[0] * blocks[2] * (ENTRY_BYTES << k - 1) if form == "table" else 0,
        accumulator_bytes=2 * tile[0] * tile[1] * 4,
        scale_bytes=0,
        queue_depth=queue_depth,
    )
    activations = rng.integers(-128, 128, (rows, depth)).astype(np.int8)
    return Matmul(form, weight, unit, *tile, activations, codes)


def program_of(case: Matmul) -> tuple[Program, np.ndarray]:
    """A program for a product, and the memory image that it runs on."""
    n, k = case.unit.n, case.unit.k
    (rows, depth), columns = case.activations.shape, len(case.weights)
    layout = "planes" if case.form == "table" else "codes"
    inputs = pack_activations(case.activations, ACTIVATION_TYPES["int8"]).reshape(-1)
    weights = pack_weights(case.weights, n, k, WEIGHT_TYPES[case.weight], layout).reshape(-1)
    at = len(inputs), len(inputs) + len(weights)
    buffers = (
        Buffer("activations", "input", "memory", 0, len(inputs)),
        Buffer("weights", "weights", "memory", at[0], len(weights)),
        Buffer("output", "output", "memory", at[1], rows * columns * 4),
    )
    memory = np.zeros(at[1] + rows * columns * 4, np.uint8)
    memory[: at[1]] = np.concatenate((inputs, weights))
    tiles = rows // case.tile_rows, columns // case.tile_columns, depth // case.tile_depth
    instructions = (*_start(case, at), *_rows(case, tiles, group_bytes(n, k, WEIGHT_TYPES[case.weight].bits)), Halt())
    return Program(instructions, buffers, case.unit), memory


def changed(program: Program, position: int, **changes: Any) -> Program:
    """A program with other operands of one instruction."""
    instruction = replace(program.instructions[position], **changes)
    return replaced(program, position, instruction)


def replaced(program: Program, position: int, *instructions: Instruction) -> Program:
    """A program with other instructions in the place of one, or none."""
    before, after = program.instructions[:position], program.instructions[position + 1 :]
    return replace(program, instructions=(*before, *instructions, *after))


def position_of(program: Program, kind: type[Instruction], nth: int = 0, **operands: Any) -> int:
    """Where the nth instruction of a kind and with these operands stands."""
    positions = [
        position
        for position, instruction in enumerate(program.instructions)
        if isinstance(instruction, kind)
        and all(getattr(instruction, name) == value for name, value in operands.items())
    ]
    return positions[nth]


def _start(case: Matmul, at: tuple[int, int]) -> list[Instruction]:
    unit, table = case.unit, case.form == "table"
    bases = {ACTIVATIONS_IN_MEMORY: (0, 0), WEIGHTS_IN_MEMORY: (at[0], 0), OUTPUT: (at[1], 0)}
    bases |= {ACTIVATIONS: (0, unit.activation_bytes), WEIGHTS: (0, unit.weight_bytes)}
    bases |= {TABLES: (0, unit.table_bytes), SUMS: (0, unit.accumulator_bytes)}
    pointers = [SetPointer(target=target, base=base, ring_bytes=ring) for target, (base, ring) in bases.items()]
    reader, freed = ("table", {WEIGHTS_FREE, TABLES_FREE}) if table else ("array", {WEIGHTS_FREE})
    free = [
        Sync(unit=reader, signal=frozenset({ACTIVATIONS_FREE})),
        Sync(unit="array", signal=frozenset(freed)),
        Sync(unit="store", signal=frozenset({SUMS_FREE})),
    ]
    return [*pointers, *free, *free]


def _rows(case: Matmul, tiles: tuple[int, int, int], group: int) -> list[Instruction]:
    """Every tile of the result: rows outside, columns inside."""
    depth = case.activations.shape[1]
    weights_of_a_tile = case.tile_columns // case.unit.n * (depth // case.unit.k) * group
    columns = len(case.weights)
    return [
        Loop(count=tiles[0]),
        Loop(count=tiles[1]),
        *_tile(case, tiles[2], group),
        # to the next columns: the weights go on, the activations go back
        Step(target=ACTIVATIONS_IN_MEMORY, stride_bytes=-depth),
        Step(target=WEIGHTS_IN_MEMORY, stride_bytes=weights_of_a_tile - depth // case.unit.k * group),
        Step(target=OUTPUT, stride_bytes=case.tile_columns * 4),
        End(),
        Step(target=ACTIVATIONS_IN_MEMORY, stride_bytes=case.tile_rows * depth),
        Step(target=WEIGHTS_IN_MEMORY, stride_bytes=-tiles[1] * weights_of_a_tile),
        Step(target=OUTPUT, stride_bytes=(case.tile_rows - 1) * columns * 4),
        End(),
    ]


def _tile(case: Matmul, steps: int, group: int) -> list[Instruction]:
    """One tile of the result: its products over the depth, and its store."""
    step, columns = _step(case, group), len(case.weights)
    rest = [Loop(count=steps - 1), *_step(case, group, mode="accumulate"), End()] if steps > 1 else []
    half = case.unit.accumulator_bytes // 2
    return [
        Sync(unit="array", wait=frozenset({SUMS_FREE})),
        *step,
        *rest,
        Sync(unit="array", signal=frozenset({SUMS_MADE})),
        Store(
            space="memory",
            mode="overwrite",
            origin="accumulator",
            element="int32",
            result="int32",
            source=SUMS,
            target=OUTPUT,
            rows=case.tile_rows,
            columns=case.tile_columns,
            pitch_bytes=columns * 4,
            wait=frozenset({SUMS_MADE}),
            signal=frozenset({SUMS_FREE}),
        ),
        Step(target=SUMS, stride_bytes=half),
    ]


def _step(case: Matmul, group: int, mode: str = "overwrite") -> list[Instruction]:
    """Load a tile of both operands, make its tables, multiply."""
    unit, table, depth = case.unit, case.form == "table", case.activations.shape[1]
    blocks, groups = case.tile_columns // unit.n, case.tile_depth // unit.k
    made = [
        LutGen(
            k=unit.k if table else 1,
            activation="int8",
            source=ACTIVATIONS,
            target=TABLES,
            rows=case.tile_rows,
            depth=case.tile_depth,
            pitch_bytes=case.tile_depth,
            wait=frozenset({ACTIVATIONS_LOADED, TABLES_FREE}),
            signal=frozenset({ACTIVATIONS_FREE, TABLES_MADE}),
        )
    ] * table
    taken = (TABLES_MADE, TABLES_FREE) if table else (ACTIVATIONS_LOADED, ACTIVATIONS_FREE)
    return [
        Load(
            space="activation",
            source=ACTIVATIONS_IN_MEMORY,
            target=ACTIVATIONS,
            rows=case.tile_rows,
            row_bytes=case.tile_depth,
            pitch_bytes=depth,
            wait=frozenset({ACTIVATIONS_FREE}),
            signal=frozenset({ACTIVATIONS_LOADED}),
        ),
        Load(
            space="weight",
            source=WEIGHTS_IN_MEMORY,
            target=WEIGHTS,
            rows=blocks,
            row_bytes=groups * group,
            pitch_bytes=depth // unit.k * group,
            wait=frozenset({WEIGHTS_FREE}),
            signal=frozenset({WEIGHTS_LOADED}),
        ),
        *made,
        Lmma(
            m=unit.m,
            n=unit.n,
            k=unit.k,
            activation="int8",
            weight=case.weight,
            accumulator="int32",
            inputs="table" if table else "activation",
            order="blocks",
            mode=mode,
            source=TABLES if table else ACTIVATIONS,
            weights=WEIGHTS,
            target=SUMS,
            rows=case.tile_rows,
            columns=case.tile_columns,
            depth=case.tile_depth,
            pitch_bytes=groups * (ENTRY_BYTES << unit.k - 1) if table else case.tile_depth,
            wait=frozenset({taken[0], WEIGHTS_LOADED}),
            signal=frozenset({taken[1], WEIGHTS_FREE}),
        ),
        Step(target=ACTIVATIONS_IN_MEMORY, stride_bytes=case.tile_depth),
        Step(target=WEIGHTS_IN_MEMORY, stride_bytes=groups * group),
        Step(target=ACTIVATIONS, stride_bytes=unit.activation_bytes // 2),
        Step(target=WEIGHTS, stride_bytes=unit.weight_bytes // 2),
        Step(target=TABLES, stride_bytes=unit.table_bytes // 2),
    ]
