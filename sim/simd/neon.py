"""Instructions of NEON (Arm's Advanced SIMD) as numpy computes them, for vectors of 16 bytes.

Names are the manual's; a number behind a dot is the size of the elements that are read, in bits, where there are
several. Without one, `saddl`, `sxtl`, `smull` and `smlal` make 16 bits of 8, `saddw` adds 16 bits to 32; those with a 2
behind the name read upper halves. A last operand of a single number is taken for every lane ("by element").

Source: Arm Architecture Reference Manual for A-profile (DDI 0487), chapter C7. Additions and products of floats are
rounded once, sums of `fmla` by way of float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sim.simd.semantics import as_bytes, define, lanes

__all__: list[str] = []

Bytes = NDArray[np.uint8]
Compute = Callable[[Any, Any], Any]

_HALF_BYTES = 8
_WORD_BYTES = 4


def _of_two(dtype: DTypeLike, compute: Compute) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        with np.errstate(all="ignore"):
            return as_bytes(np.asarray(compute(lanes(left, dtype), lanes(right, dtype))).astype(dtype))

    return run


def _of_one(source: DTypeLike, target: DTypeLike, compute: Callable[[Any], Any]) -> Callable[..., Bytes]:
    def run(value: Bytes, **_: object) -> Bytes:
        with np.errstate(all="ignore"):
            return as_bytes(np.asarray(compute(lanes(value, source))).astype(target))

    return run


def _half(value: Bytes, upper: bool) -> Bytes:
    return value[..., _HALF_BYTES : 2 * _HALF_BYTES] if upper else value[..., :_HALF_BYTES]


# --- bits, shifts, integer additions

define("and.8", 2, _of_two(np.uint8, np.bitwise_and))
define("bsl", 3, lambda mask, one, other, **_: (one & mask) | (other & ~mask))


def _shifted(dtype: DTypeLike, left: bool) -> Callable[..., Bytes]:
    def run(value: Bytes, *, immediate: int, **_: object) -> Bytes:
        numbers = lanes(value, dtype)
        return as_bytes(numbers << immediate if left else numbers >> immediate)

    return run


for _bits in (8, 16, 32):
    _signed, _unsigned = f"<i{_bits // 8}", f"<u{_bits // 8}"
    define(f"ushr.{_bits}", 1, _shifted(_unsigned, left=False))
    define(f"sshr.{_bits}", 1, _shifted(_signed, left=False))
    define(f"shl.{_bits}", 1, _shifted(_unsigned, left=True))
    define(f"add.{_bits}", 2, _of_two(_signed, np.add))
    define(f"sub.{_bits}", 2, _of_two(_signed, np.subtract))
    define(f"mul.{_bits}", 2, _of_two(_signed, np.multiply))
    define(f"smin.{_bits}", 2, _of_two(_signed, np.minimum))
    define(f"neg.{_bits}", 1, _of_one(_signed, _signed, np.negative))
    define(f"addp.{_bits}", 2, lambda left, right, _type=_signed, **_: _added_pairs(left, right, _type))

define("movi", 0, lambda *, size_bytes, **_: np.zeros((1, size_bytes), np.uint8))


def _added_pairs(left: Bytes, right: Bytes, dtype: DTypeLike) -> Bytes:
    numbers = np.concatenate(np.broadcast_arrays(lanes(left, dtype), lanes(right, dtype)), axis=-1)
    return as_bytes(numbers[..., 0::2] + numbers[..., 1::2])


def _halving(left: Bytes, right: Bytes, **_: object) -> Bytes:
    """With rounding up."""
    return as_bytes(((lanes(left, "i1").astype(np.int16) + lanes(right, "i1") + 1) >> 1).astype(np.int8))


define("srhadd", 2, _halving)

# --- to wider and narrower elements


def _wide(compute: Compute, upper: bool) -> Callable[..., Bytes]:
    """Of elements of 8 bits."""

    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        numbers = (lanes(_half(value, upper), "i1").astype(np.int16) for value in (left, right))
        return as_bytes(compute(*numbers))

    return run


def _multiply_add(upper: bool) -> Callable[..., Bytes]:
    def run(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
        product = _wide(np.multiply, upper)(left, right)
        return as_bytes(lanes(total, "<i2") + lanes(product, "<i2"))

    return run


def _add_to_wide(upper: bool) -> Callable[..., Bytes]:
    def run(total: Bytes, value: Bytes, **_: object) -> Bytes:
        return as_bytes(lanes(total, "<i4") + lanes(_half(value, upper), "<i2"))

    return run


def _extended(upper: bool) -> Callable[..., Bytes]:
    def run(value: Bytes, **_: object) -> Bytes:
        return as_bytes(lanes(_half(value, upper), "i1").astype("<i2"))

    return run


for _suffix, _upper in (("", False), ("2", True)):
    define(f"saddl{_suffix}", 2, _wide(np.add, _upper))
    define(f"smull{_suffix}", 2, _wide(np.multiply, _upper))
    define(f"smlal{_suffix}", 3, _multiply_add(_upper))
    define(f"saddw{_suffix}", 2, _add_to_wide(_upper))
    define(f"sxtl{_suffix}", 1, _extended(_upper))


def _joined_pairs(value: Bytes, **_: object) -> Bytes:
    numbers = lanes(value, "<i2").astype(np.int32)
    return as_bytes(numbers[..., 0::2] + numbers[..., 1::2])


def _narrowed(value: Bytes, **_: object) -> Bytes:
    return as_bytes(lanes(value, "<i4").astype("<i2"))


def _narrowed_above(lower: Bytes, value: Bytes, **_: object) -> Bytes:
    return np.concatenate(np.broadcast_arrays(lower[..., :_HALF_BYTES], _narrowed(value)), axis=-1)


def _narrowed_saturated(value: Bytes, **_: object) -> Bytes:
    return as_bytes(np.clip(lanes(value, "<i2"), -128, 127).astype(np.int8))


define("saddlp.16", 1, _joined_pairs)
define("xtn.32", 1, _narrowed, _HALF_BYTES)
define("xtn2.32", 2, _narrowed_above)
define("sqxtn.16", 1, _narrowed_saturated, _HALF_BYTES)

# --- dot products


def _dot(left_type: DTypeLike) -> Callable[..., Bytes]:
    def run(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
        products = lanes(left, left_type).astype(np.int32) * lanes(right, "i1")
        sums = products.reshape(*products.shape[:-1], -1, 4).sum(axis=-1, dtype=np.int32)
        return as_bytes(lanes(total, "<i4") + sums)

    return run


def _matrix_product(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
    """Two rows of eight times two rows of eight, to 2 x 2 sums."""
    rows, columns = (
        lanes(value, "i1").astype(np.int32).reshape(*value.shape[:-1], 2, _HALF_BYTES) for value in (left, right)
    )
    sums = rows @ np.swapaxes(columns, -1, -2)
    return as_bytes(lanes(total, "<i4") + sums.reshape(*sums.shape[:-2], 4))


define("sdot", 3, _dot("i1"))
define("usdot", 3, _dot("u1"))
define("smmla", 3, _matrix_product)

# --- sums over a vector


def _summed(source: DTypeLike, target: DTypeLike) -> Callable[..., Bytes]:
    def run(value: Bytes, **_: object) -> Bytes:
        return as_bytes(lanes(value, source).sum(axis=-1, keepdims=True, dtype=target))

    return run


define("addv.32", 1, _summed("<i4", "<i4"), _WORD_BYTES)
define("saddlv.8", 1, _summed("i1", "<i2"), 2)
define("saddlv.32", 1, _summed("<i4", "<i8"), _HALF_BYTES)

# --- shuffles


def _looked_up(table: Bytes, places: Bytes, **_: object) -> Bytes:
    """0 beyond the table."""
    shape = np.broadcast_shapes(table.shape, places.shape)
    table, places = (np.broadcast_to(value, shape) for value in (table, places))
    found = np.take_along_axis(table, np.minimum(places, shape[-1] - 1).astype(np.intp), axis=-1)
    return np.where(places < shape[-1], found, np.uint8(0))


def _zipped(item_bytes: int, upper: bool) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        parts = [_half(value, upper) for value in np.broadcast_arrays(left, right)]
        items = [part.reshape(*part.shape[:-1], -1, item_bytes) for part in parts]
        return np.stack(items, axis=-2).reshape(*parts[0].shape[:-1], 2 * _HALF_BYTES)

    return run


def _unzipped(item_bytes: int, odd: bool) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        both = np.concatenate(np.broadcast_arrays(left, right), axis=-1)
        items = both.reshape(*both.shape[:-1], -1, item_bytes)[..., odd::2, :]
        return items.reshape(*both.shape[:-1], 2 * _HALF_BYTES)

    return run


def _from_lane(item_bytes: int) -> Callable[..., Bytes]:
    def run(value: Bytes, *, immediate: int, size_bytes: int, **_: object) -> Bytes:
        item = value[..., item_bytes * immediate : item_bytes * (immediate + 1)]
        return np.tile(item, size_bytes // item_bytes)

    return run


def _repeated(item_bytes: int) -> Callable[..., Bytes]:
    def run(value: Bytes, *, size_bytes: int, **_: object) -> Bytes:
        return np.tile(value[..., :item_bytes], size_bytes // item_bytes)

    return run


define("tbl", 2, _looked_up)
for _bits in (8, 16, 32, 64):
    define(f"zip1.{_bits}", 2, _zipped(_bits // 8, upper=False))
    define(f"zip2.{_bits}", 2, _zipped(_bits // 8, upper=True))
    define(f"uzp1.{_bits}", 2, _unzipped(_bits // 8, odd=False))
    define(f"uzp2.{_bits}", 2, _unzipped(_bits // 8, odd=True))
    define(f"dup.{_bits}", 1, _from_lane(_bits // 8))
    define(f"ld1r.{_bits}", 1, _repeated(_bits // 8))
