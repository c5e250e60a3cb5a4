"""Memory images: the operands of a product as its program finds them, and the results that it leaves.

    ProductOperands ──► those of every core ──► MemoryImage ──(a run)──► output of every core ──► [copies, m, n]

How activations and weights lie within their buffers is the subject of `isa.layouts`, where the buffers lie that of
`sim.lowering.memory_map`. Nothing is executed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.instructions.types import ELEMENT_DTYPES, WeightType
from isa.layouts import WeightLayout, pack_activations, pack_weights
from isa.program import Buffer, Program
from sim.lowering.lower import Lowered
from sim.timing.product import MatrixProduct
from sim.timing.units import ArrayUnit

__all__ = [
    "MemoryImage",
    "ProductOperands",
    "joined",
    "memory_image",
    "operands_of_parts",
    "output_of",
    "pack_product_weights",
    "tables_of_parts",
]

Bytes = NDArray[np.uint8]
Float = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class ProductOperands:
    """What a product is computed from.

    Parameters
    ----------
    activations : integers or float16 [copies, m, k]
        Of the product's activation type.
    weights : uint8 [copies, blocks of columns, groups of inputs, bytes of a group]
        As `pack_product_weights` makes them for the unit.
    column_scales : float [copies, groups, n], optional
        Of the scaling's element type; one group unless the scaling has groups of inputs. The scale of a tensor, which
        all copies share, is [1, 1, 1].
    row_scales : float32 [copies, m], optional
        Both scales are there if the product has a scaling.
    """

    activations: NDArray[Any]
    weights: Bytes
    column_scales: Float | None = None
    row_scales: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class MemoryImage:
    """The bytes that a program begins with.

    Parameters
    ----------
    memory : uint8 [size_bytes]
    scratchpads : mapping of buffer name to uint8 [size_bytes]
        Contents of the buffers that are on chip.
    """

    memory: Bytes
    scratchpads: Mapping[str, Bytes]


def pack_product_weights(unit: ArrayUnit, weight: WeightType, codes: NDArray[Any]) -> Bytes:
    """Weights [copies, n, k] as the unit reads them: uint8 [copies, blocks, groups, bytes of a group].

    A block is N columns and a group K inputs; where weights lie in rows, it is one column and a group all its inputs.
    The layout depends on the unit and the weight type alone, not on rows or tiles.

    Raises
    ------
    ValueError
        If a code is none of the type's.
    """
    layout: WeightLayout = "planes" if unit.looks_up_tables else "codes"
    n, k = (1, codes.shape[2]) if unit.weight_order == "rows" else (unit.n, unit.k)
    return np.stack([pack_weights(copy, n, k, weight, layout) for copy in codes])


def memory_image(
    program: Program, product: MatrixProduct, operands: ProductOperands, tables: Bytes | None = None
) -> MemoryImage:
    """The image that a program of a product (or the program that makes its tables) begins with.

    Parameters
    ----------
    program : Program
    product : MatrixProduct
        The part of the product that the program computes.
    operands : ProductOperands
        Of that part.
    tables : uint8 [size_bytes], optional
        Tables that were made before.

    Raises
    ------
    ValueError
        If operands do not have the sizes of the product.
    """
    memory, scratchpads = np.zeros(program.memory_bytes, np.uint8), dict[str, Bytes]()
    for buffer in program.buffers:
        contents = _contents(buffer, product, operands, tables)
        if contents is None:
            continue
        data = np.ascontiguousarray(contents).reshape(-1).view(np.uint8)
        if len(data) != buffer.size_bytes:
            raise ValueError(f"buffer {buffer.name} has {buffer.size_bytes} bytes, found {len(data)} of {product}")
        if buffer.space == "memory":
            memory[buffer.address : buffer.address + buffer.size_bytes] = data
        else:
            scratchpads[buffer.name] = data
    return MemoryImage(memory, scratchpads)


def _contents(
    buffer: Buffer, product: MatrixProduct, operands: ProductOperands, tables: Bytes | None
) -> NDArray[Any] | None:
    """What lies in a buffer at first; None where the program makes it."""
    match buffer.name:
        case "input":
            return np.stack([pack_activations(copy, product.activation) for copy in operands.activations])
        case "weights":
            return operands.weights
        case "scales":
            return _column_scales(product, operands)
        case "row_scales":
            return operands.row_scales
        case "tables":
            return tables
    return None


def _column_scales(product: MatrixProduct, operands: ProductOperands) -> NDArray[Any]:
    scaling, scales = product.scaling, operands.column_scales
    if scaling is None or scales is None or scales.dtype != ELEMENT_DTYPES[scaling.element]:
        raise ValueError(f"column scales are of {scaling}, found {None if scales is None else scales.dtype}")
    return scales


def output_of(product: MatrixProduct, contents: Bytes) -> NDArray[Any]:
    """Results [copies, m, n], in the product's result type, of the bytes of a program's `output`."""
    rows = contents.view(ELEMENT_DTYPES[product.result]).reshape(product.copies, product.m, -1)
    return rows[:, :, : product.n]


def operands_of_parts(lowered: Lowered, operands: ProductOperands) -> Iterator[ProductOperands]:
    """The operands of every part of a product, as `sim.lowering.split` cuts it."""
    for part, copies, columns in _slices(lowered.product, lowered.parts):
        block = 1 if lowered.unit.weight_order == "rows" else lowered.unit.n
        blocks = slice(columns.start // block, -(-columns.stop // block))
        scales, row_scales = operands.column_scales, operands.row_scales
        if scales is not None and part.scaling is not None and part.scaling.granularity != "tensor":
            scales = scales[copies, :, columns]
        yield replace(
            operands,
            activations=operands.activations[copies],
            weights=operands.weights[copies, blocks],
            column_scales=scales,
            row_scales=None if row_scales is None else row_scales[copies],
        )


def tables_of_parts(lowered: Lowered, tables: Bytes) -> Iterator[Bytes]:
    """The tables of every part, from those of the whole product uint8 [size_bytes]."""
    by_copy = tables.reshape(lowered.product.copies, -1)
    for _, copies, _ in _slices(lowered.product, lowered.parts):
        yield by_copy[copies].reshape(-1)


def joined(lowered: Lowered, results: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Results of the whole product [copies, m, n] from those of its parts."""
    return np.concatenate(results, axis=0 if lowered.product.copies > 1 else 2)


def _slices(product: MatrixProduct, parts: Sequence[MatrixProduct]) -> Iterator[tuple[MatrixProduct, slice, slice]]:
    """Every part with its copies and its columns."""
    copies = columns = 0
    for part in parts:
        yield part, slice(copies, copies + part.copies), slice(columns, columns + part.n)
        if product.copies > 1:
            copies += part.copies
        else:
            columns += part.n
