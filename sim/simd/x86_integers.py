"""Instructions on general registers of 4 or 8 bytes, and those that take such registers into vectors: kernels unpack
scales of a few bits with them.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2. Constants are immediates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.simd.semantics import as_bytes, define, lanes

__all__: list[str] = []

Bytes = NDArray[np.uint8]

_REGISTER_BYTES = 4
_VECTOR_BYTES = 16


def _number(value: Bytes, size_bytes: int) -> NDArray[Any]:
    """As one unsigned number; of fewer bytes than that, zeros are above."""
    whole = np.zeros((*value.shape[:-1], size_bytes), np.uint8)
    whole[..., : value.shape[-1]] = value
    return lanes(whole, f"<u{size_bytes}")


def _and(value: Bytes, *, immediate: int, size_bytes: int, **_: object) -> Bytes:
    return as_bytes(_number(value, size_bytes) & immediate)


def _or(left: Bytes, right: Bytes, *, size_bytes: int, **_: object) -> Bytes:
    return as_bytes(_number(left, size_bytes) | _number(right, size_bytes))


def _shift_left(value: Bytes, *, immediate: int, size_bytes: int, **_: object) -> Bytes:
    return as_bytes(_number(value, size_bytes) << immediate)


def _shift_right(value: Bytes, *, immediate: int, size_bytes: int, **_: object) -> Bytes:
    return as_bytes(_number(value, size_bytes) >> immediate)


def _to_vector(value: Bytes, **_: object) -> Bytes:
    above = np.zeros((*value.shape[:-1], _VECTOR_BYTES - value.shape[-1]), np.uint8)
    return np.concatenate([value, above], axis=-1)


def _inserted(vector: Bytes, value: Bytes, *, immediate: int, **_: object) -> Bytes:
    place = slice(_REGISTER_BYTES * immediate, _REGISTER_BYTES * (immediate + 1))
    shape = np.broadcast_shapes(vector.shape[:-1], value.shape[:-1])
    found = np.broadcast_to(vector, (*shape, vector.shape[-1])).copy()
    found[..., place] = value[..., :_REGISTER_BYTES]
    return found


define("and", 1, _and)
define("or", 2, _or)
define("shl", 1, _shift_left)
define("shr", 1, _shift_right)
define("vmovd", 1, _to_vector, _VECTOR_BYTES)
define("vmovq", 1, _to_vector, _VECTOR_BYTES)
define("vpinsrd", 2, _inserted, _VECTOR_BYTES)
