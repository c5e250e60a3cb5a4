"""Further integer instructions of NEON, and those on general registers of 4 bytes: kernels apply the scales of K-quants
with them.

Names and source as in `sim.simd.neon`; `smull.16` and its like make 32 bits of 16, `uxtl` makes 16 bits of 8 unsigned
ones (the manual's ushll by 0). A `w` behind the dot is a general register; `sub.w` shifts what it subtracts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sim.simd.semantics import as_bytes, define, lanes

__all__: list[str] = []

Bytes = NDArray[np.uint8]

_HALF_BYTES, _WORD_BYTES = 8, 4


def _half(value: Bytes, upper: bool) -> Bytes:
    return value[..., _HALF_BYTES : 2 * _HALF_BYTES] if upper else value[..., :_HALF_BYTES]


def _product(upper: bool) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        words = (lanes(_half(value, upper), "<i2").astype(np.int32) for value in (left, right))
        return as_bytes(np.multiply(*words))

    return run


def _added_product(upper: bool) -> Callable[..., Bytes]:
    def run(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
        return as_bytes(lanes(total, "<i4") + lanes(_product(upper)(left, right), "<i4"))

    return run


def _zero_extended(upper: bool) -> Callable[..., Bytes]:
    def run(value: Bytes, **_: object) -> Bytes:
        return as_bytes(_half(value, upper).astype("<u2"))

    return run


for _suffix, _upper in (("", False), ("2", True)):
    define(f"smull{_suffix}.16", 2, _product(_upper))
    define(f"smlal{_suffix}.16", 3, _added_product(_upper))
    define(f"uxtl{_suffix}", 1, _zero_extended(_upper))


def _multiply_add(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
    return as_bytes(lanes(total, "<i4") + lanes(left, "<i4") * lanes(right, "<i4"))


def _shifted_added(total: Bytes, value: Bytes, *, immediate: int, **_: object) -> Bytes:
    return total + (value >> np.uint8(immediate))


def _inserted(vector: Bytes, value: Bytes, *, immediate: int, size_bytes: int, **_: object) -> Bytes:
    """The lowest word of another register in one place; above a register of fewer bytes are zeros."""
    shape = np.broadcast_shapes(vector.shape[:-1], value.shape[:-1])
    found = np.zeros((*shape, size_bytes), np.uint8)
    found[..., : vector.shape[-1]] = vector
    found[..., _WORD_BYTES * immediate : _WORD_BYTES * (immediate + 1)] = value[..., :_WORD_BYTES]
    return found


define("mla.32", 3, _multiply_add)
define("orr.8", 2, lambda left, right, **_: left | right)
define("usra.8", 2, _shifted_added)
define("ins.32", 2, _inserted)

# --- general registers


def _moved(value: Bytes, **_: object) -> Bytes:
    return value[..., :_WORD_BYTES]


def _sign_extended(value: Bytes, **_: object) -> Bytes:
    return as_bytes(lanes(value, "i1").astype("<i4"))


def _shifted_subtracted(left: Bytes, right: Bytes, *, immediate: int, **_: object) -> Bytes:
    return as_bytes(lanes(left, "<i4") - (lanes(right, "<i4") << immediate))


def _converted(value: Bytes, **_: object) -> Bytes:
    return as_bytes(lanes(value, "<i4").astype("<f4"))


define("fmov.w", 1, _moved, _WORD_BYTES)
define("ldrsb.w", 1, _sign_extended, _WORD_BYTES)
define("madd.w", 3, _multiply_add, _WORD_BYTES)
define("sub.w", 2, _shifted_subtracted, _WORD_BYTES)
define("scvtf.w", 1, _converted, _WORD_BYTES)
