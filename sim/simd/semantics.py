"""What each vector instruction computes, on numpy arrays: a table by mnemonic, filled by one module for each family of
instruction sets. How long an instruction takes is in the files of cores.

An operand is an array of bytes [..., size_bytes]; `lanes` looks at it as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["SEMANTICS", "Semantics", "as_bytes", "define", "lanes"]

Bytes = NDArray[np.uint8]
Compute = Callable[..., Bytes]


@dataclass(frozen=True)
class Semantics:
    """What an instruction computes.

    Parameters
    ----------
    name : str
    operands : int
        Registers and memory that it reads.
    compute : function
        Of the operands and, by name, `immediate` and `size_bytes`.
    result_bytes : int or None
        Size of the result, where it is not that of the vectors.
    """

    name: str
    operands: int
    compute: Compute
    result_bytes: int | None = None


_TABLE: dict[str, Semantics] = {}

SEMANTICS: Mapping[str, Semantics] = MappingProxyType(_TABLE)
"""All instructions by mnemonic; importing `sim.simd.x86` or `sim.simd.neon` brings theirs."""


def define(name: str, operands: int, compute: Compute, result_bytes: int | None = None) -> None:
    """Say what an instruction computes; ValueError if somebody has said so before."""
    if name in _TABLE:
        raise ValueError(f"{name} is defined twice")
    _TABLE[name] = Semantics(name, operands, compute, result_bytes)


def lanes(operand: Bytes, dtype: DTypeLike) -> NDArray[Any]:
    """An operand as numbers, the first in the lowest bytes."""
    return np.ascontiguousarray(operand).view(dtype)


def as_bytes(numbers: NDArray[Any]) -> Bytes:
    """Numbers as an operand."""
    return np.ascontiguousarray(numbers).view(np.uint8)


def _loaded(value: Bytes, **_: object) -> Bytes:
    return value


define("load", 1, _loaded)
define("store", 1, _loaded)
