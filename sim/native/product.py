"""One product as the C functions are given it: `struct product` of `product.h`, and the arrays that it points to."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sim.native.layouts import PackedWeights, aligned

__all__ = ["Arguments", "ProductStructure"]

Int8 = NDArray[np.int8]
Float32 = NDArray[np.float32]

SCALED_INPUTS = 256
"""Activations under one scale of TQ2_0."""


class ProductStructure(ctypes.Structure):
    """`struct product` of product.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "activations", "scales", "prepared", "outputs")),
        *((name, ctypes.c_int64) for name in ("k", "rows", "tokens", "lowest", "tile_rows", "tile_columns")),
    )


@dataclass(frozen=True, eq=False)
class Arguments:
    """The arrays of one product, filled up to whole blocks; they live as long as this does.

    Parameters
    ----------
    weights : PackedWeights
    activations : int8 [tokens, columns]
    scales : float32 [tokens, columns / 256] or empty
    prepared : uint8 [bytes]
        What is made of the activations before.
    outputs : int32 or float32 [tokens, rows]
    """

    weights: PackedWeights
    activations: Int8
    scales: Float32
    prepared: NDArray[np.uint8]
    outputs: NDArray[Any]

    @classmethod
    def of(
        cls, weights: PackedWeights, activations: Int8, scales: Float32 | None, prepared_bytes: int, outputs: DTypeLike
    ) -> Arguments:
        """Of checked operands: activations int8 [tokens, k], scales float32 [tokens, blocks of 256] or 1."""
        tokens = len(activations)
        filled = aligned((tokens, weights.columns), np.int8)
        filled[:, : weights.k] = activations
        filled[:, weights.k :] = 0
        blocks = np.ones((tokens, -(-weights.k // SCALED_INPUTS)), np.float32) if scales is None else scales.copy()
        prepared = aligned((prepared_bytes,), np.uint8)
        return cls(weights, filled, blocks, prepared, aligned((tokens, weights.rows), outputs))

    @property
    def tokens(self) -> int:
        """Rows of the activations."""
        return len(self.activations)

    @cached_property
    def structure(self) -> ProductStructure:
        """What a C function takes; it points to the arrays and does not keep them."""
        weights, tiling = self.weights, self.weights.tiling
        arrays = (weights.data, self.activations, self.scales, self.prepared, self.outputs)
        tile = (tiling.block_rows, tiling.block_columns) if tiling else (0, 0)
        sizes = (weights.columns, weights.rows, self.tokens, weights.lowest)
        return ProductStructure(*(array.ctypes.data for array in arrays), *sizes, *tile)
