"""Floating-point instructions of NEON as numpy computes them; names and source as in `sim.simd.neon`.

The number behind the dot is the size of the elements in bits: 16 needs the half-precision extension. Instructions on
one number are those on vectors of its size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sim.simd.semantics import as_bytes, define, lanes

__all__: list[str] = []

Bytes = NDArray[np.uint8]

_WORD_BYTES = 4


def _of_two(dtype: DTypeLike, compute: Callable[[Any, Any], Any]) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        with np.errstate(all="ignore"):
            return as_bytes(np.asarray(compute(lanes(left, dtype), lanes(right, dtype))).astype(dtype))

    return run


def _converted(source: DTypeLike, target: DTypeLike, rounded: bool = False) -> Callable[..., Bytes]:
    """To nearest, ties to even, and to what the target has at most."""

    def run(value: Bytes, **_: object) -> Bytes:
        numbers = lanes(value, source)
        if rounded:
            limits = np.iinfo(np.dtype(target))
            numbers = np.clip(np.rint(np.nan_to_num(numbers.astype(np.float64))), limits.min, limits.max)
        with np.errstate(over="ignore"):
            return as_bytes(numbers.astype(target))

    return run


def _multiply_add(dtype: DTypeLike) -> Callable[..., Bytes]:
    def run(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
        product = lanes(left, dtype).astype(np.float64) * lanes(right, dtype)
        with np.errstate(over="ignore"):
            return as_bytes((lanes(total, dtype) + product).astype(dtype))

    return run


def _greater(left: Bytes, right: Bytes, **_: object) -> Bytes:
    """All bits of a lane, or none."""
    return as_bytes(-(lanes(left, "<f4") > lanes(right, "<f4")).astype("<i4"))


def _largest(value: Bytes, **_: object) -> Bytes:
    return as_bytes(lanes(value, "<f4").max(axis=-1, keepdims=True))


def _largest_half(value: Bytes, **_: object) -> Bytes:
    return as_bytes(lanes(value, "<f2").max(axis=-1, keepdims=True))


def _pairs(left: Bytes, right: Bytes, **_: object) -> Bytes:
    numbers = np.concatenate(np.broadcast_arrays(lanes(left, "<f4"), lanes(right, "<f4")), axis=-1)
    return as_bytes(numbers[..., 0::2] + numbers[..., 1::2])


for _bits in (16, 32):
    _type = f"<f{_bits // 8}"
    for _name, _compute in (
        ("fadd", np.add), ("fsub", np.subtract), ("fmul", np.multiply), ("fdiv", np.divide), ("fmax", np.maximum),
    ):  # fmt: skip
        define(f"{_name}.{_bits}", 2, _of_two(_type, _compute))
    define(f"fmla.{_bits}", 3, _multiply_add(_type))
    define(f"fabs.{_bits}", 1, lambda value, _type=_type, **_: as_bytes(np.abs(lanes(value, _type))))
    define(f"fneg.{_bits}", 1, lambda value, _type=_type, **_: as_bytes(-lanes(value, _type)))
    define(f"scvtf.{_bits}", 1, _converted(f"<i{_bits // 8}", _type))
    define(f"fcvtns.{_bits}", 1, _converted(_type, f"<i{_bits // 8}", rounded=True))

define("fnmul.32", 2, _of_two("<f4", lambda left, right: -(left * right)))
define("fcmgt.32", 2, _greater)
define("fmaxv.32", 1, _largest, _WORD_BYTES)
define("fmaxv.16", 1, _largest_half, _WORD_BYTES // 2)
define("faddp.32", 2, _pairs)
define("fcvt.16", 1, _converted("<f2", "<f4"), _WORD_BYTES)
define("fcvtn", 1, _converted("<f4", "<f2"), 8)
define("fcvt.32", 1, _converted("<f4", "<f2"), 2)
define("fcvtl", 1, lambda value, **_: as_bytes(lanes(value[..., :8], "<f2").astype("<f4")))
define("fcvtl2", 1, lambda value, **_: as_bytes(lanes(value[..., 8:16], "<f2").astype("<f4")))
