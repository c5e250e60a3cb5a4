"""How native kernels want their weights: whole blocks and strips, in bytes that begin where a cache line does.

I2_S, TL2 and TQ2_0 lie as in `isa.packings`. The two others are ours, and stand in `tmac.c` and `vnni.c`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from isa import PACKINGS, Operand
from isa.packings import TableTiling, tl2_tiling

__all__ = ["I2_S", "I2_S_ROWS", "TL2", "TMAC", "TQ2_0", "VNNI", "Layout", "PackedWeights", "aligned"]

Int8 = NDArray[np.int8]
Bytes = NDArray[np.uint8]

_LINE_BYTES = 64


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of unset values that begins where a cache line does."""
    size = prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % _LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


@dataclass(frozen=True)
class PackedWeights:
    """Weights as a kernel reads them.

    Parameters
    ----------
    layout : Layout
    data : uint8 [bytes]
        Contiguous, as many bytes as the layout has for this shape.
    n_out, k : int
        Outputs and inputs.
    lowest : int
        The code that is stored as 0.

    Raises
    ------
    ValueError
        If the bytes are others.
    """

    layout: Layout
    data: Bytes
    n_out: int
    k: int
    lowest: int

    def __post_init__(self) -> None:
        if min(self.n_out, self.k) < 1:
            raise ValueError(f"weights have outputs and inputs, found {self.n_out} x {self.k}")
        wanted, data = self.layout.bytes_of(self.rows, self.columns), self.data
        if data.dtype != np.uint8 or data.shape != (wanted,) or not data.flags.c_contiguous:
            shape = f"{self.n_out} x {self.k} weights"
            raise ValueError(f"{shape} take {wanted} bytes as {self.layout.name}, found {data.dtype} {data.shape}")

    @cached_property
    def rows(self) -> int:
        """Outputs, filled up to whole strips."""
        return self.layout.filled_up(self.n_out, self.k)[0]

    @cached_property
    def columns(self) -> int:
        """Inputs, filled up to whole blocks."""
        return self.layout.filled_up(self.n_out, self.k)[1]

    @cached_property
    def tiling(self) -> TableTiling | None:
        """Of TL2."""
        return self.layout.tiling_of(self.rows, self.columns) if self.layout.tiling_of else None

    @cached_property
    def rows_a_step(self) -> int:
        """A range of rows that a thread computes begins and ends at multiples of it."""
        tiling = self.tiling
        return tiling.block_rows if tiling else self.layout.strip


@dataclass(frozen=True)
class Layout:
    """A layout of low-bit codes in bytes.

    Parameters
    ----------
    name : str
    strip : int
        Rows are filled up to a multiple of it.
    block : int
        Columns are filled up to a multiple of it.
    lowest : int, optional
        The code that it stores as 0; if there is none, the least of the codes is.
    levels : int
        Neighbours from there on that it holds.
    encode : callable
        What is stored, uint8 [rows, columns] below `levels`, in whole strips and blocks, to bytes.
    bytes_of : callable
        (rows, columns) to the number of these bytes.
    fewest_columns : int
        Narrower weights are filled up to it.
    tiling_of : callable, optional
        (rows, columns) to the tiling of TL2.
    """

    name: str
    strip: int
    block: int
    lowest: int | None
    levels: int
    encode: Callable[[Bytes], Bytes]
    bytes_of: Callable[[int, int], int]
    fewest_columns: int = 0
    tiling_of: Callable[[int, int], TableTiling] | None = None

    def pack(self, codes: Int8) -> PackedWeights:
        """Lay out weights int8 [n_out, k]; what is filled up does not reach the outputs.

        Raises
        ------
        ValueError
            If they are of another type, empty, or none that the layout holds.
        """
        if codes.dtype != np.int8 or codes.ndim != 2 or not codes.size:
            raise ValueError(f"{self.name} takes weights int8 [outputs, inputs], found {codes.dtype} {codes.shape}")
        least, largest = int(codes.min()), int(codes.max())
        lowest = least if self.lowest is None else self.lowest
        if least < lowest or largest >= lowest + self.levels:
            held = f"{lowest} to {lowest + self.levels - 1}"
            raise ValueError(f"{self.name} holds codes of {held}, found {least} to {largest}")
        (n_out, k), (rows, columns) = codes.shape, self.filled_up(*codes.shape)
        stored = np.pad(codes.view(np.uint8) - np.uint8(lowest % 256), ((0, rows - n_out), (0, columns - k)))
        encoded = self.encode(stored)
        data = aligned((encoded.size,), np.uint8)
        data[:] = encoded
        return PackedWeights(self, data, n_out, k, lowest)

    def filled_up(self, n_out: int, k: int) -> tuple[int, int]:
        """Rows and columns as they are stored."""
        rows, columns = (-(-size // unit) * unit for size, unit in ((n_out, self.strip), (k, self.block)))
        return rows, max(columns, self.fewest_columns)


def _in_packing(name: str) -> Callable[[Bytes], Bytes]:
    """Bytes of a packing, under scales of 1."""
    packing = PACKINGS[name]

    def encode(stored: Bytes) -> Bytes:
        scales = np.ones(packing.format.scale_shape(*stored.shape), np.float32)
        return packing.pack(Operand(stored.view(np.int8) - np.int8(1), scales, packing.format))

    return encode


def _encode_tmac(stored: Bytes) -> Bytes:
    rows, columns = stored.shape
    groups = stored.reshape(rows // 32, 2, 16, columns // 4, 4)
    packed = np.zeros((rows // 32, columns // 4, 2, 16), np.uint8)
    for plane in range(2):
        for half in range(2):
            for weight in range(4):
                # Rows 16 to 31 of a strip have the high nibbles.
                bit = (groups[:, half, :, :, weight] >> np.uint8(plane)) & np.uint8(1)
                packed[:, :, plane] |= (bit << np.uint8(4 * half + weight)).transpose(0, 2, 1)
    return packed.ravel()


def _encode_vnni(stored: Bytes) -> Bytes:
    rows, columns = stored.shape
    fields = stored.reshape(rows // 2, 2, columns // 256, 4, 64)
    packed = np.zeros((rows // 2, 2, columns // 256, 64), np.uint8)
    for field in range(4):
        packed |= fields[:, :, :, field] << np.uint8(2 * field)
    return packed.transpose(0, 2, 1, 3).ravel()


def _two_bits(rows: int, columns: int) -> int:
    return rows * columns // 4


def _ternary(name: str, strip: int, block: int, packing: str, **others: Any) -> Layout:
    """A layout of `isa.packings`."""
    return Layout(name, strip, block, -1, 3, _in_packing(packing), PACKINGS[packing].size, **others)


I2_S = _ternary("I2_S", 1, 128, "i2_s")
I2_S_ROWS = _ternary("I2_S in strips of 4 rows", 4, 128, "i2_s")
TL2 = _ternary("TL2", 32, 32, "tl2", fewest_columns=256, tiling_of=tl2_tiling)
TQ2_0 = _ternary("TQ2_0", 1, 256, "tq2_0")
TMAC = Layout("T-MAC's two planes", 32, 4, -2, 4, _encode_tmac, _two_bits)
VNNI = Layout("2-bit fields", 2, 256, None, 4, _encode_vnni, _two_bits)
