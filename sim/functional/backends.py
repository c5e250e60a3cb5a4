"""mpGEMM backends: ways of computing the integer product of low-bit weights and activation codes, all exactly equal.

A backend prepares a weight once (lays it out as its algorithm wants) and gives back a `Product`, which maps activation
codes int8 [tokens, inputs] to accumulators int32 [tokens, outputs]. `reference` defines the truth; every other backend
must equal it with `==`. Scales are not a backend's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isa import Format, InputError

__all__ = ["BACKENDS", "Backend", "Product", "backend_named"]

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Product = Callable[[Int8], Int32]

# Integers up to 2^24 are exact in float32, whatever the order of summation.
_EXACT_FLOAT32 = 1 << 24
_LARGEST_ACTIVATION = 128


@dataclass(frozen=True)
class Backend:
    """A way to multiply.

    Parameters
    ----------
    name : str
        The name on the command line.
    summary : str
        What it does, in one line.
    prepare : callable
        (weight codes int8 [outputs, inputs], their format) to a `Product`.
    """

    name: str
    summary: str
    prepare: Callable[[Int8, Format], Product]


def _reference(weight: Int8, _: Format) -> Product:
    transposed = weight.T.astype(np.int64)

    def product(activations: Int8) -> Int32:
        return (activations.astype(np.int64) @ transposed).astype(np.int32)

    return product


def _blas(weight: Int8, weight_format: Format) -> Product:
    """Float32 GEMM over as many inputs at a time as keeps every partial sum an exact integer."""
    largest = max(abs(weight_format.codes.start), abs(weight_format.codes.stop - 1))
    block = _EXACT_FLOAT32 // (_LARGEST_ACTIVATION * largest) - 1
    outputs, inputs = weight.shape
    # A vector times a matrix, as in decoding, is fastest when the longer side of the matrix is contiguous.
    order: Literal["C", "F"] = "C" if outputs >= inputs else "F"
    blocks = [weight.T[start : start + block].astype(np.float32, order=order) for start in range(0, inputs, block)]

    def product(activations: Int8) -> Int32:
        values = activations.astype(np.float32)
        total = (values[:, :block] @ blocks[0]).astype(np.int32)
        for index, part in enumerate(blocks[1:], start=1):
            total += (values[:, index * block : (index + 1) * block] @ part).astype(np.int32)
        return total

    return product


BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("blas", "float32 matrix product of the system's BLAS, exact because all sums stay below 2^24", _blas),
        Backend("reference", "64-bit integer product of numpy: the definition of the right answer", _reference),
    )
}


def backend_named(name: str) -> Backend:
    """The backend of that name; `InputError` that lists the known ones otherwise."""
    try:
        return BACKENDS[name]
    except KeyError:
        raise InputError("command line", "--backend", name, "one of " + ", ".join(BACKENDS)) from None
