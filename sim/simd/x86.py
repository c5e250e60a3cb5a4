"""Instructions of AVX2 and AVX-512 as numpy computes them, for vectors of 16, 32 and 64 bytes.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2. Shuffles and packs work within lanes of
16 bytes. Bitwise, additions, multiplications, shuffles, conversions, floats; no masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sim.simd.semantics import as_bytes, define, lanes

__all__: list[str] = []

Bytes = NDArray[np.uint8]

_LANE_BYTES = 16


def _of_two(dtype: DTypeLike, compute: Callable[[Any, Any], Any]) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        return as_bytes(np.asarray(compute(lanes(left, dtype), lanes(right, dtype))).astype(dtype))

    return run


def _saturated(numbers: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    limits = np.iinfo(np.dtype(dtype))
    clipped: NDArray[Any] = np.clip(numbers, limits.min, limits.max).astype(dtype)
    return clipped


def _in_lanes(operand: Bytes) -> Bytes:
    """[..., lanes of 16 bytes, 16]."""
    return operand.reshape(*operand.shape[:-1], -1, _LANE_BYTES)


def _joined(parts: Bytes) -> Bytes:
    return parts.reshape(*parts.shape[:-2], -1)


# --- bits

define("vpand", 2, _of_two(np.uint8, np.bitwise_and))
define("vpor", 2, _of_two(np.uint8, np.bitwise_or))
define("vpandn", 2, _of_two(np.uint8, lambda left, right: ~left & right))


def _exclusive_or(*operands: Bytes, size_bytes: int, **_: object) -> Bytes:
    """Of nothing: the idiom that clears a register."""
    return operands[0] ^ operands[1] if operands else np.zeros((1, size_bytes), np.uint8)


define("vpxor", 2, _exclusive_or)
define("zero", 0, _exclusive_or)


def _shift(dtype: DTypeLike, left: bool) -> Callable[..., Bytes]:
    bits = 8 * np.dtype(dtype).itemsize

    def run(value: Bytes, *, immediate: int, **_: object) -> Bytes:
        numbers = lanes(value, dtype)
        if immediate >= bits and np.dtype(dtype).kind == "u":
            return np.zeros_like(value)
        count = min(immediate, bits - 1)
        return as_bytes(numbers << count if left else numbers >> count)

    return run


for _bits, _letter in ((16, "w"), (32, "d"), (64, "q")):
    define(f"vpsrl{_letter}", 1, _shift(f"<u{_bits // 8}", left=False))
    define(f"vpsll{_letter}", 1, _shift(f"<u{_bits // 8}", left=True))
    if _bits < 64:
        define(f"vpsra{_letter}", 1, _shift(f"<i{_bits // 8}", left=False))

# --- integer additions and comparisons

for _letter, _type in (("b", "i1"), ("w", "<i2"), ("d", "<i4"), ("q", "<i8")):
    define(f"vpadd{_letter}", 2, _of_two(_type, np.add))
    define(f"vpsub{_letter}", 2, _of_two(_type, np.subtract))
    if _letter != "q":
        define(f"vpmaxs{_letter}", 2, _of_two(_type, np.maximum))
        define(f"vpmins{_letter}", 2, _of_two(_type, np.minimum))
        define(f"vpabs{_letter}", 1, lambda value, _type=_type, **_: as_bytes(np.abs(lanes(value, _type))))
        define(f"vpsign{_letter}", 2, _of_two(_type, lambda left, right: left * np.sign(right)))
        define(f"vpcmpgt{_letter}", 2, _of_two(_type, lambda left, right: -(left > right).astype(np.int8)))
        define(f"vpcmpeq{_letter}", 2, _of_two(_type, lambda left, right: -(left == right).astype(np.int8)))


def _add_saturated(left: Bytes, right: Bytes, **_: object) -> Bytes:
    wide = lanes(left, "<i2").astype(np.int32) + lanes(right, "<i2")
    return as_bytes(_saturated(wide, np.int16))


def _average(left: Bytes, right: Bytes, **_: object) -> Bytes:
    return ((left.astype(np.uint16) + right + 1) >> 1).astype(np.uint8)


def _sum_differences(left: Bytes, right: Bytes, **_: object) -> Bytes:
    """Of the differences of eight bytes, without their signs."""
    sizes = np.abs(left.astype(np.int16) - right)
    return as_bytes(sizes.reshape(*sizes.shape[:-1], -1, 8).sum(axis=-1, dtype="<u8"))


define("vpsadbw", 2, _sum_differences)
define("vpaddsw", 2, _add_saturated)
define("vpavgb", 2, _average)

# --- products


def _pairs(products: NDArray[Any]) -> NDArray[Any]:
    """Sums of neighbours."""
    sums: NDArray[Any] = products[..., 0::2] + products[..., 1::2]
    return sums


def _maddubs(unsigned: Bytes, signed: Bytes, **_: object) -> Bytes:
    """Unsigned times signed bytes; sums of pairs are saturated."""
    return as_bytes(_saturated(_pairs(unsigned.astype(np.int32) * lanes(signed, np.int8)), np.int16))


def _madd(left: Bytes, right: Bytes, **_: object) -> Bytes:
    products = lanes(left, "<i2").astype(np.int64) * lanes(right, "<i2")
    return as_bytes(_pairs(products).astype(np.int32))


def _dot_bytes(total: Bytes, unsigned: Bytes, signed: Bytes, **_: object) -> Bytes:
    products = unsigned.astype(np.int32) * lanes(signed, np.int8)
    return as_bytes((lanes(total, "<i4") + _pairs(_pairs(products))).astype(np.int32))


define("vpmaddubsw", 2, _maddubs)
define("vpmaddwd", 2, _madd)
define("vpmullw", 2, _of_two("<i2", np.multiply))
define("vpmulld", 2, _of_two("<i4", np.multiply))
define("vpdpbusd", 3, _dot_bytes)

# --- shuffles, within lanes of 16 bytes


def _shuffle_bytes(table: Bytes, index: Bytes, **_: object) -> Bytes:
    shape = np.broadcast_shapes(table.shape, index.shape)
    entries, places = (_in_lanes(np.broadcast_to(value, shape)) for value in (table, index))
    return _joined(np.where(places & 0x80, np.uint8(0), np.take_along_axis(entries, (places & 15).astype(np.intp), -1)))


def _unpack(item_bytes: int, high: bool) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        half = slice(8, 16) if high else slice(0, 8)
        shape = np.broadcast_shapes(left.shape, right.shape)
        parts = [_in_lanes(np.broadcast_to(value, shape))[..., half] for value in (left, right)]
        items = [part.reshape(*part.shape[:-1], -1, item_bytes) for part in parts]
        return _joined(np.stack(items, axis=-2).reshape(*parts[0].shape[:-1], _LANE_BYTES))

    return run


for _letters, _size in (("bw", 1), ("wd", 2), ("dq", 4), ("qdq", 8)):
    define(f"vpunpckl{_letters}", 2, _unpack(_size, high=False))
    define(f"vpunpckh{_letters}", 2, _unpack(_size, high=True))


def _pack(wide: DTypeLike, narrow: DTypeLike) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        shape = np.broadcast_shapes(left.shape, right.shape)
        parts = [_in_lanes(np.broadcast_to(value, shape)) for value in (left, right)]
        return _joined(np.concatenate([as_bytes(_saturated(lanes(part, wide), narrow)) for part in parts], axis=-1))

    return run


define("vpacksswb", 2, _pack("<i2", np.int8))
define("vpackuswb", 2, _pack("<i2", np.uint8))
define("vpackssdw", 2, _pack("<i4", np.int16))
define("vpackusdw", 2, _pack("<i4", np.uint16))


def _shuffle_words(value: Bytes, *, immediate: int, **_: object) -> Bytes:
    order = [immediate >> 2 * place & 3 for place in range(4)]
    words = value.reshape(*value.shape[:-1], -1, 4, 4)
    return words[..., order, :].reshape(value.shape)


def _permute_quadwords(value: Bytes, *, immediate: int, **_: object) -> Bytes:
    order = [immediate >> 2 * place & 3 for place in range(4)]
    return value.reshape(*value.shape[:-1], -1, 4, 8)[..., order, :].reshape(value.shape)


def _permute_halves(left: Bytes, right: Bytes, *, immediate: int, **_: object) -> Bytes:
    """Vectors of 32 bytes; no zeroing."""
    shape = np.broadcast_shapes(left.shape, right.shape)
    halves = [half for value in (left, right) for half in np.split(np.broadcast_to(value, shape), 2, axis=-1)]
    return np.concatenate([halves[immediate & 3], halves[immediate >> 4 & 3]], axis=-1)


def _gathered(places: Bytes, block: Bytes, **_: object) -> Bytes:
    """Words of four bytes from a block of memory, by their offsets in bytes."""
    bytes_of_words = lanes(places, "<i4")[..., None] + np.arange(4)
    shape = (*np.broadcast_shapes(bytes_of_words.shape[:-2], block.shape[:-1]), bytes_of_words[0].size)
    flat = np.broadcast_to(bytes_of_words.reshape(*bytes_of_words.shape[:-2], -1), shape)
    return np.take_along_axis(np.broadcast_to(block, (*shape[:-1], block.shape[-1])), flat, axis=-1)


define("vperm2i128", 2, _permute_halves)
define("vgatherdps", 2, _gathered)
define("vpshufb", 2, _shuffle_bytes)
define("vpshufd", 1, _shuffle_words)
define("vpermq", 1, _permute_quadwords)

# --- between widths


def _extended(source: DTypeLike, target: DTypeLike) -> Callable[..., Bytes]:
    def run(value: Bytes, *, size_bytes: int, **_: object) -> Bytes:
        count = size_bytes // np.dtype(target).itemsize
        return as_bytes(lanes(value, source)[..., :count].astype(target))

    return run


for _name, _source, _target in (
    ("bw", "i1", "<i2"), ("bd", "i1", "<i4"), ("wd", "<i2", "<i4"), ("dq", "<i4", "<i8"),
):  # fmt: skip
    define(f"vpmovsx{_name}", 1, _extended(_source, _target))
    define(f"vpmovzx{_name}", 1, _extended(_source.replace("i", "u"), _target.replace("i", "u")))


def _upper(value: Bytes, *, immediate: int, **_: object) -> Bytes:
    half = value.shape[-1] // 2
    return value[..., half:] if immediate else value[..., :half]


def _with_upper(lower: Bytes, upper: Bytes, *, size_bytes: int, **_: object) -> Bytes:
    half = size_bytes // 2
    parts = np.broadcast_arrays(lower[..., :half], upper[..., :half])
    return np.concatenate(parts, axis=-1)


def _extracted_word(value: Bytes, *, immediate: int, **_: object) -> Bytes:
    """To a register of integers, whose upper half is cleared."""
    word = value[..., 4 * immediate : 4 * immediate + 4]
    return np.concatenate([word, np.zeros_like(word)], axis=-1)


def _lower(value: Bytes, *, size_bytes: int, **_: object) -> Bytes:
    return value[..., :size_bytes]


def _broadcast(item_bytes: int) -> Callable[..., Bytes]:
    def run(value: Bytes, *, size_bytes: int, **_: object) -> Bytes:
        return np.tile(value[..., :item_bytes], size_bytes // item_bytes)

    return run


define("vextracti128", 1, _upper, 16)
define("vextracti64x4", 1, _upper, 32)
define("vinserti128", 2, _with_upper)
define("lower_half", 1, _lower)
define("vpextrd", 1, _extracted_word, 8)
define("vbroadcasti128", 1, _broadcast(16))
for _letter, _size in (("b", 1), ("w", 2), ("d", 4), ("q", 8)):
    define(f"vpbroadcast{_letter}", 1, _broadcast(_size))
define("vbroadcastss", 1, _broadcast(4))
