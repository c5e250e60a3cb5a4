"""Instructions of AVX2, AVX-512 and VBMI that move whole bytes across a register, or saturate to unsigned numbers, as
numpy computes them for vectors of 16, 32 and 64 bytes; what else there is for integers is in `sim.simd.x86`.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sim.simd.semantics import as_bytes, define, lanes

__all__: list[str] = []

Bytes = NDArray[np.uint8]

_LANE_BYTES = 16


def _subtract_saturated(left: Bytes, right: Bytes, **_: object) -> Bytes:
    return np.where(left > right, left - right, np.uint8(0))


def _shift_bytes_right(value: Bytes, *, immediate: int, **_: object) -> Bytes:
    lanes_of_16 = value.reshape(*value.shape[:-1], -1, _LANE_BYTES)
    moved = np.zeros_like(lanes_of_16)
    moved[..., : _LANE_BYTES - immediate] = lanes_of_16[..., immediate:]
    return moved.reshape(value.shape)


def _extracted_lane(value: Bytes, *, immediate: int, **_: object) -> Bytes:
    return value[..., _LANE_BYTES * immediate : _LANE_BYTES * (immediate + 1)]


def _permuted_doublewords(index: Bytes, table: Bytes, **_: object) -> Bytes:
    """Of equal halves either serves."""
    return _from_two("<u4")(table, index, table)


def _from_two(dtype: DTypeLike) -> Callable[..., Bytes]:
    """Items of two registers, one behind the other, by the lowest bits of an index."""

    def run(low: Bytes, index: Bytes, high: Bytes, **_: object) -> Bytes:
        shape = np.broadcast_shapes(low.shape, index.shape, high.shape)
        parts = [lanes(np.broadcast_to(value, shape), dtype) for value in (low, high)]
        items = np.concatenate(parts, axis=-1)
        places = lanes(np.broadcast_to(index, shape), dtype) & (items.shape[-1] - 1)
        return as_bytes(np.take_along_axis(items, places.astype(np.intp), -1))

    return run


define("vpsubusb", 2, _subtract_saturated)
define("vpsrldq", 1, _shift_bytes_right)
define("vextracti32x4", 1, _extracted_lane, _LANE_BYTES)
define("vpermd", 2, _permuted_doublewords)
for _letter, _type in (("b", "u1"), ("w", "<u2"), ("d", "<u4")):
    define(f"vpermt2{_letter}", 3, _from_two(_type))


def _added_pairs(left: Bytes, right: Bytes, **_: object) -> Bytes:
    """Sums of neighbours of 16 bits, of each lane those of the first operand first."""
    shape = np.broadcast_shapes(left.shape, right.shape)
    parts = [np.broadcast_to(value, shape).reshape(*shape[:-1], -1, _LANE_BYTES) for value in (left, right)]
    words = lanes(np.concatenate(parts, axis=-1), "<i2")
    return as_bytes(words[..., 0::2] + words[..., 1::2]).reshape(shape)


define("vphaddw", 2, _added_pairs)


def _blended_doublewords(low: Bytes, high: Bytes, *, immediate: int, **_: object) -> Bytes:
    """Of the second operand where the immediate has a one, eight or more doublewords by the same eight bits."""
    words = np.broadcast_arrays(lanes(low, "<u4"), lanes(high, "<u4"))
    chosen = (immediate >> np.arange(words[0].shape[-1]) % 8 & 1).astype(bool)
    return as_bytes(np.where(chosen, words[1], words[0]))


define("vpblendd", 2, _blended_doublewords)
define("vpermps", 2, _permuted_doublewords)


def _with_upper_half(lower: Bytes, upper: Bytes, **_: object) -> Bytes:
    return np.concatenate(np.broadcast_arrays(lower[..., :32], upper[..., :32]), axis=-1)


def _signs(value: Bytes, **_: object) -> Bytes:
    """The highest bits of bytes as a mask."""
    bits = np.packbits(value >> 7, axis=-1, bitorder="little")
    return np.concatenate([bits, np.zeros((*bits.shape[:-1], 8 - bits.shape[-1]), np.uint8)], axis=-1)


def _masked_difference(otherwise: Bytes, mask: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
    """Where the mask has a zero, a byte stays as it is."""
    chosen = np.unpackbits(mask, axis=-1, bitorder="little")[..., : otherwise.shape[-1]].astype(bool)
    return np.where(chosen, left - right, otherwise)


define("vinserti32x8", 2, _with_upper_half, 64)
define("vpmovb2m", 1, _signs, 8)
define("vpsubb_masked", 4, _masked_difference)


def _filled(value: Bytes, *, size_bytes: int, **_: object) -> Bytes:
    return np.tile(value[..., :4], size_bytes // 4)


define("vpbroadcastd_load", 1, _filled)
