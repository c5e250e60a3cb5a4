"""Instructions that compute: tables of activations, products with low-bit weights, and scales.

`lutgen` and `lmma` follow LUT Tensor Core (ISCA 2025, arXiv 2408.06003, sections 3 and 4), whose instruction is
`lmma.{M}{N}{K}.{A}{W}{Accum}`; here one instruction multiplies a whole tile, of which the array takes M rows, N columns
and K inputs at a time. How operands lie in the scratchpads is the subject of `isa.layouts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isa.instructions.base import Addresses, Bytes, EngineInstruction, Region, Storage
from isa.instructions.operands import choice, flag, number, pointer
from isa.instructions.transfer import PITCH_BITS, SIZE_BITS
from isa.instructions.types import (
    ACCUMULATOR_TYPES,
    ACTIVATION_TYPES,
    ELEMENT_DTYPES,
    INPUTS,
    SCALE_TYPES,
    WEIGHT_ORDERS,
    WEIGHT_TYPES,
    Space,
)
from isa.layouts import (
    ENTRY_BYTES,
    LARGEST_TABLE_GROUP,
    group_bytes,
    row_bytes,
    table_sums,
    tables,
    unpack_activations,
    unpack_weights,
)

__all__ = ["Lmma", "LutGen", "Scale"]

SHAPE_BITS = 16
INTEGER_ACTIVATIONS = tuple(name for name, item in ACTIVATION_TYPES.items() if not item.floating)


@dataclass(frozen=True, kw_only=True)
class LutGen(EngineInstruction):
    """Makes the tables of a tile of activations: for every row and every K inputs the 2^(K-1) sums of them in which the
    last is taken negative (the other half is the negative of these, eq. 4). Inputs beyond the depth count as 0."""

    OPCODE: ClassVar[int] = 0x20
    MNEMONIC: ClassVar[str] = "lutgen"
    ENGINE = "table"

    k: int = number(3, "activations of a table", least=1, suffix="k")
    activation: str = choice(4, INTEGER_ACTIVATIONS, "type of the activations")
    source: int = pointer("where the first row of activations lies")
    target: int = pointer("where its first table goes")
    rows: int = number(SIZE_BITS, "rows", least=1)
    depth: int = number(SIZE_BITS, "activations of a row", least=1)
    pitch_bytes: int = number(PITCH_BITS, "from one row of activations to the next, in bytes")

    @property
    def groups(self) -> int:
        """Tables of a row."""
        return -(-self.depth // self.k)

    @property
    def tables(self) -> int:
        """How many tables it makes."""
        return self.rows * self.groups

    def reads(self, at: Addresses) -> tuple[Region, ...]:
        """The activations."""
        width = row_bytes(self.depth, ACTIVATION_TYPES[self.activation].bits)
        return (Region("activation", at["source"], self.rows, width, self.pitch_bytes),)

    def writes(self, at: Addresses) -> tuple[Region, ...]:
        """The tables, row after row."""
        return (Region.contiguous("table", at["target"], self.tables * (ENTRY_BYTES << self.k - 1)),)

    def execute(self, storage: Storage, at: Addresses) -> None:
        """Add up."""
        (source,), (target,) = self.reads(at), self.writes(at)
        codes = unpack_activations(storage.read(source), self.depth, ACTIVATION_TYPES[self.activation])
        made = np.ascontiguousarray(tables(codes, self.k)).reshape(1, -1)
        storage.write(target, made.view(np.uint8))


@dataclass(frozen=True, kw_only=True)
class Lmma(EngineInstruction):
    """Multiplies a tile: accumulators [rows, columns] become, or grow by, inputs [rows, depth] times weights
    [columns, depth] transposed.

    The inputs are activations, or the tables that `lutgen` made of them, in both cases rows at a pitch: a tile of the
    inputs may be a part of wider rows. Weights lie as `isa.layouts` says, one plane after the other where tables are
    looked up. Integers are exact and wrap around in 32 bits; floats are multiplied and added in float32, in any order.
    """

    OPCODE: ClassVar[int] = 0x21
    MNEMONIC: ClassVar[str] = "lmma"
    ENGINE = "array"

    m: int = number(SHAPE_BITS, "rows of the array", least=1, suffix="m")
    n: int = number(SHAPE_BITS, "columns of the array", least=1, suffix="n")
    k: int = number(SHAPE_BITS, "inputs that the array takes at a time", least=1, suffix="k")
    activation: str = choice(4, tuple(ACTIVATION_TYPES), "type of the activations")
    weight: str = choice(5, tuple(WEIGHT_TYPES), "type of the weights, and with it their bit planes")
    accumulator: str = choice(1, ACCUMULATOR_TYPES, "type of the accumulators")
    inputs: Space = choice(1, INPUTS, "where the inputs lie, and what they are")
    order: str = choice(1, WEIGHT_ORDERS, "how the weights follow each other")
    mode: str = flag("overwrite", "accumulate", "whether to add to the accumulators")
    source: int = pointer("where the first row of inputs lies")
    weights: int = pointer("where the first block of N columns lies")
    target: int = pointer("where the first row of accumulators lies")
    rows: int = number(SIZE_BITS, "rows of inputs", least=1)
    columns: int = number(SIZE_BITS, "columns of accumulators", least=1)
    depth: int = number(SIZE_BITS, "inputs that are summed over", least=1)
    pitch_bytes: int = number(PITCH_BITS, "from one row of inputs to the next, in bytes")

    def __post_init__(self) -> None:
        super().__post_init__()
        integers = not ACTIVATION_TYPES[self.activation].floating and WEIGHT_TYPES[self.weight].coding != "float"
        if integers != (self.accumulator == "int32"):
            raise ValueError("lmma: integers are added up in int32, and fp32 takes what has a float among its factors")
        if self.inputs == "table" and not (integers and self.k <= LARGEST_TABLE_GROUP):
            raise ValueError(f"lmma: tables are of at most {LARGEST_TABLE_GROUP} integer activations")
        if self.inputs == "table" and self.order == "rows":
            raise ValueError("lmma: tables are looked up by blocks of weights")

    @property
    def groups(self) -> int:
        """Groups of K inputs."""
        return -(-self.depth // self.k)

    @property
    def passes(self) -> int:
        """How often the array takes M rows, N columns and K inputs."""
        return -(-self.rows // self.m) * -(-self.columns // self.n) * self.groups

    def reads(self, at: Addresses) -> tuple[Region, ...]:
        """Inputs, weights and, where it adds to them, accumulators."""
        if self.inputs == "table":
            width = self.groups * (ENTRY_BYTES << self.k - 1)
        else:
            width = row_bytes(self.depth, ACTIVATION_TYPES[self.activation].bits)
        inputs = Region(self.inputs, at["source"], self.rows, width, self.pitch_bytes)
        bits = WEIGHT_TYPES[self.weight].bits
        if self.order == "rows":
            size = self.columns * row_bytes(self.depth, bits)
        else:
            size = -(-self.columns // self.n) * self.groups * group_bytes(self.n, self.k, bits)
        regions = (inputs, Region.contiguous("weight", at["weights"], size))
        return (*regions, *self.writes(at)) if self.mode == "accumulate" else regions

    def writes(self, at: Addresses) -> tuple[Region, ...]:
        """The accumulators, row after row."""
        size = self.rows * self.columns * ELEMENT_DTYPES[self.accumulator].itemsize
        return (Region.contiguous("accumulator", at["target"], size),)

    def execute(self, storage: Storage, at: Addresses) -> None:
        """Look up or multiply, and add."""
        inputs, weights, *present = (storage.read(region) for region in self.reads(at))
        dtype = ELEMENT_DTYPES[self.accumulator]
        sums = self._products(inputs, weights).astype(dtype)
        with np.errstate(all="ignore"):
            for accumulators in present:
                sums = sums + accumulators.view(dtype).reshape(self.rows, self.columns)
        (target,) = self.writes(at)
        storage.write(target, np.ascontiguousarray(sums).reshape(1, -1).view(np.uint8))

    def _products(self, inputs: Bytes, weights: Bytes) -> np.ndarray:
        weight = WEIGHT_TYPES[self.weight]
        if self.order == "rows":
            packed = weights.reshape(self.columns, 1, -1)
        else:
            packed = weights.reshape(-(-self.columns // self.n), self.groups, -1)
        if self.inputs == "table":
            entries = inputs.view(ELEMENT_DTYPES["int16"]).reshape(self.rows, self.groups, -1)
            return table_sums(entries, packed, self.n, weight)[:, : self.columns]
        values = unpack_activations(inputs, self.depth, ACTIVATION_TYPES[self.activation])
        n, k = (1, self.depth) if self.order == "rows" else (self.n, self.k)
        matrix = unpack_weights(packed, n, k, weight)[: self.columns, : self.depth]
        if self.accumulator == "fp32":
            with np.errstate(all="ignore"):
                product: np.ndarray = values.astype(np.float32) @ matrix.astype(np.float32).T
            return product
        # float64 holds every partial sum of 8-bit integers exactly: 2^14 * 2^24 is far below 2^53.
        exact: np.ndarray = (values.astype(np.float64) @ matrix.astype(np.float64).T).astype(np.int64)
        return exact


@dataclass(frozen=True, kw_only=True)
class Scale(EngineInstruction):
    """Makes real numbers of integer accumulators: float32 [rows, columns], each the accumulator times a factor of its
    row and its column (or of its row and of all columns, with `one`). `row` replaces the result, `group` adds to it, as
    the sums over groups of inputs need it.

    The factor is column scale times row scale, or column scale over row scale where activations carry a divisor; it is
    rounded to float32, and so is the product with the accumulator, itself rounded to float32 before.
    """

    OPCODE: ClassVar[int] = 0x22
    MNEMONIC: ClassVar[str] = "scale"
    ENGINE = "scale"

    granularity: str = flag("row", "group", "whether to add to the result")
    rule: str = flag("multiply", "divide", "what to do with the row's scale")
    columns_have: str = flag("each", "one", "whether each column has its scale, or all have one")
    scale: str = choice(1, SCALE_TYPES, "type of the column scales; row scales are fp32")
    source: int = pointer("where the first row of accumulators lies")
    target: int = pointer("where the first row of results goes, in the accumulator scratchpad")
    column_scales: int = pointer("where the column scales lie")
    row_scales: int = pointer("where the row scales lie")
    rows: int = number(SIZE_BITS, "rows", least=1)
    columns: int = number(SIZE_BITS, "columns", least=1)

    def reads(self, at: Addresses) -> tuple[Region, ...]:
        """Accumulators, both scales and, where it adds to it, the result."""
        count = self.columns if self.columns_have == "each" else 1
        regions = (
            Region.contiguous("accumulator", at["source"], self.rows * self.columns * 4),
            Region.contiguous("scale", at["column_scales"], count * ELEMENT_DTYPES[self.scale].itemsize),
            Region.contiguous("scale", at["row_scales"], self.rows * 4),
        )
        return (*regions, *self.writes(at)) if self.granularity == "group" else regions

    def writes(self, at: Addresses) -> tuple[Region, ...]:
        """The results, row after row."""
        return (Region.contiguous("accumulator", at["target"], self.rows * self.columns * 4),)

    def execute(self, storage: Storage, at: Addresses) -> None:
        """Multiply, in float32."""
        sums, columns, rows, *present = (storage.read(region) for region in self.reads(at))
        accumulators = sums.view("<i4").reshape(self.rows, self.columns).astype(np.float32)
        column_scales = columns.view(ELEMENT_DTYPES[self.scale]).astype(np.float32)
        row_scales = rows.view("<f4").T
        with np.errstate(all="ignore"):
            divides = self.rule == "divide"
            factors = column_scales / row_scales if divides else column_scales * row_scales
            results = accumulators * factors
            for before in present:
                results = before.view("<f4").reshape(self.rows, self.columns) + results
        (target,) = self.writes(at)
        storage.write(target, np.ascontiguousarray(results).reshape(1, -1).view(np.uint8))
