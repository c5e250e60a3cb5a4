"""Floating-point instructions of AVX2, F16C, FMA and AVX-512 as numpy computes them, for vectors of 16 to 64 bytes.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2; every operation rounds to the nearest
number, ties to even. Instructions ending in `ss` work on the lowest number and keep the rest of their first operand; a
result that is narrower than its operands has zeros above.

`lookup_f16` is no instruction but a load: ggml converts float16 scales with a table of all 65,536 of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.simd.semantics import as_bytes, define, lanes

__all__: list[str] = []

Bytes = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_SMALLEST_NORMAL = np.finfo(np.float32).tiny


def _fused(total: Float32, left: Float32, right: Float32) -> Float32:
    """total + left · right, rounded once.

    The product is exact in float64. The sum is rounded to odd there, which leaves to float32 what it needs to round
    right (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
    """
    with np.errstate(invalid="ignore", over="ignore"):
        product = left.astype(np.float64) * right
        addend = np.broadcast_to(total.astype(np.float64), np.broadcast_shapes(total.shape, product.shape))
        product = np.broadcast_to(product, addend.shape)
        added = product + addend
        share = added - product
        lost = (product - (added - share)) + (addend - share)
        even = (added.view(np.int64) & 1) == 0
        odd = np.nextafter(added, np.where(lost > 0, np.inf, -np.inf))
        return np.where(np.isfinite(added) & (lost != 0) & even, odd, added).astype(np.float32)


def _of_two(compute: Callable[[Float32, Float32], Any]) -> Callable[..., Bytes]:
    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        with np.errstate(all="ignore"):
            return as_bytes(np.asarray(compute(lanes(left, "<f4"), lanes(right, "<f4")), np.float32))

    return run


def _lowest_of_two(compute: Callable[[Float32, Float32], Any]) -> Callable[..., Bytes]:
    whole = _of_two(compute)

    def run(left: Bytes, right: Bytes, **_: object) -> Bytes:
        return _above(whole(left[..., :4], right[..., :4]), left)

    return run


def _above(lowest: Bytes, rest: Bytes) -> Bytes:
    """A lowest number, and what another register has above it."""
    return np.concatenate([lowest, np.broadcast_to(rest[..., 4:], (*lowest.shape[:-1], rest.shape[-1] - 4))], axis=-1)


def _greater(left: Float32, right: Float32) -> Any:
    """The second operand where the two are equal or one is no number."""
    return np.where(left > right, left, right)


for _name, _compute in (
    ("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div", np.divide), ("max", _greater),
):  # fmt: skip
    define(f"v{_name}ps", 2, _of_two(_compute))
    define(f"v{_name}ss", 2, _lowest_of_two(_compute))


def _fma(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
    return as_bytes(_fused(lanes(total, "<f4"), lanes(left, "<f4"), lanes(right, "<f4")))


def _fma_of_first(factor: Bytes, addend: Bytes, other: Bytes, **_: object) -> Bytes:
    return _fma(addend, factor, other)


define("vfmadd231ps", 3, _fma)
define("vfmadd213ps", 3, lambda left, right, total, **_: _fma(total, left, right))
define("vfmadd132ps", 3, _fma_of_first)


def _flushed(numbers: Float32) -> Float32:
    """Denormal numbers are zeros."""
    return np.where(np.abs(numbers) < _SMALLEST_NORMAL, np.copysign(np.float32(0), numbers), numbers)


def _dot_bfloat16(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
    """Of each pair the odd numbers first."""
    wide = [lanes(value, "<u2").astype(np.uint32) << 16 for value in (left, right)]
    first, second = (_flushed(np.ascontiguousarray(value).view(np.float32)) for value in wide)
    sums = _flushed(lanes(total, "<f4"))
    for place in (1, 0):
        sums = _flushed(_fused(sums, first[..., place::2], second[..., place::2]))
    return as_bytes(sums)


define("vdpbf16ps", 3, _dot_bfloat16)

# --- conversions


def _from_float16(value: Bytes, *, size_bytes: int, **_: object) -> Bytes:
    return as_bytes(lanes(value, "<f2")[..., : size_bytes // 4].astype(np.float32))


def _zero_extended(value: Bytes, size_bytes: int) -> Bytes:
    return np.concatenate([value, np.zeros((*value.shape[:-1], size_bytes - value.shape[-1]), np.uint8)], axis=-1)


def _to_float16(value: Bytes, **_: object) -> Bytes:
    with np.errstate(over="ignore"):
        return _zero_extended(as_bytes(lanes(value, "<f4").astype(np.float16)), value.shape[-1])


def _to_bfloat16(value: Bytes, **_: object) -> Bytes:
    """Ties go to even; denormal numbers are zeros. No number stays none."""
    numbers = _flushed(lanes(value, "<f4"))
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    found = np.where(np.isnan(numbers), bits >> 16 | 0x40, rounded).astype(np.uint16)
    return _zero_extended(as_bytes(found), value.shape[-1])


def _to_integers(value: Bytes, **_: object) -> Bytes:
    """What int32 does not have is -2^31."""
    rounded = np.rint(lanes(value, "<f4").astype(np.float64))
    fits = np.abs(rounded + 0.5) <= 2**31
    return as_bytes(np.where(fits, rounded, -(2.0**31)).astype(np.int32))


def _from_integers(value: Bytes, **_: object) -> Bytes:
    return as_bytes(lanes(value, "<i4").astype(np.float32))


def _looked_up(pattern: Bytes, **_: object) -> Bytes:
    return as_bytes(lanes(pattern[..., :2], "<f2").astype(np.float32))


define("vcvtph2ps", 1, _from_float16)
define("vcvtps2ph", 1, _to_float16)
define("vcvtneps2bf16", 1, _to_bfloat16)
define("vcvtps2dq", 1, _to_integers)
define("vcvtdq2ps", 1, _from_integers)
define("lookup_f16", 1, _looked_up, 4)


def _round_scale(value: Bytes, *, immediate: int, **_: object) -> Bytes:
    """Only rounding to the nearest integer."""
    if immediate != 0:
        raise ValueError(f"rounding with immediate {immediate}")
    return as_bytes(np.rint(lanes(value, "<f4")))


define("vrndscaleps", 1, _round_scale)
define("vroundps", 1, _round_scale)

# --- shuffles


def _words(value: Bytes) -> Bytes:
    """[..., lanes, 4 words of 4 bytes, 4]."""
    return value.reshape(*value.shape[:-1], -1, 4, 4)


def _permuted(order: Callable[[int], list[int]]) -> Callable[..., Bytes]:
    def run(value: Bytes, *, immediate: int = 0, **_: object) -> Bytes:
        return _words(value)[..., order(immediate), :].reshape(value.shape)

    return run


def _added_pairs(left: Bytes, right: Bytes, **_: object) -> Bytes:
    """In each lane of 16 bytes the sums of neighbours, of the first operand below those of the second."""
    shape = np.broadcast_shapes(left.shape, right.shape)
    parts = [lanes(np.broadcast_to(value, shape), "<f4").reshape(*shape[:-1], -1, 2, 2) for value in (left, right)]
    with np.errstate(all="ignore"):
        sums = [part[..., 0] + part[..., 1] for part in parts]
    return as_bytes(np.concatenate(sums, axis=-1).reshape(*shape[:-1], -1))


def _high_to_low(left: Bytes, right: Bytes, **_: object) -> Bytes:
    """The upper half of the second operand below that of the first."""
    return np.concatenate(np.broadcast_arrays(right[..., 8:16], left[..., 8:16]), axis=-1)


define("vpermilps", 1, _permuted(lambda immediate: [immediate >> 2 * place & 3 for place in range(4)]))
define("vmovshdup", 1, _permuted(lambda _: [1, 1, 3, 3]))
define("vmovhlps", 2, _high_to_low)
define("vhaddps", 2, _added_pairs)


def _extracted(part_bytes: int) -> Callable[..., Bytes]:
    def run(value: Bytes, *, immediate: int, **_: object) -> Bytes:
        return value[..., immediate * part_bytes : (immediate + 1) * part_bytes]

    return run


def _less(left: Bytes, right: Bytes, **_: object) -> Bytes:
    """All bits of the lowest number where the first is less."""
    found = -(lanes(left[..., :4], "<f4") < lanes(right[..., :4], "<f4")).astype(np.int32)
    return _above(as_bytes(found), left)


def _blended(otherwise: Bytes, where: Bytes, mask: Bytes, **_: object) -> Bytes:
    chosen = np.where(lanes(mask, "<i4") < 0, lanes(where, "<i4"), lanes(otherwise, "<i4"))
    return as_bytes(chosen.astype("<i4"))


define("vcmpltss", 2, _less)
define("vblendvps", 3, _blended)
define("vextractf128", 1, _extracted(16), 16)
define("vextractf64x4", 1, _extracted(32), 32)


def _fma_less(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
    return as_bytes(_fused(-lanes(total, "<f4"), lanes(left, "<f4"), lanes(right, "<f4")))


def _less_product(total: Bytes, left: Bytes, right: Bytes, **_: object) -> Bytes:
    return as_bytes(_fused(lanes(total, "<f4"), -lanes(left, "<f4"), lanes(right, "<f4")))


define("vfmsub231ps", 3, _fma_less)
define("vfnmadd231ps", 3, _less_product)
