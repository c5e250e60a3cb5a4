"""DeepGEMM on AVX2: 2-bit weights times 2-bit activations by a table of their 16 products, with a byte shuffle.

    index  w << 2 | a        product + 2, 0 to 6        byte p: codes p, p + 32, p + 64, p + 96, lowest first

Both are two's-complement codes from -2 to 1, four a byte. Products are kept 2 too large, so that bytes of them can be
added up unsigned; after 40 the vector is summed with vpsadbw. What that adds is 2 a weight, subtracted at the end.

Source: arXiv 2304.09049 (DeepGEMM), section 3: layout, index and LUT-16 by shuffle. The paper's widening is not spelt
out; this one is the cheapest that is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.simd.x86  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.program import Offset, Register

__all__ = ["DEEPGEMM_KERNELS"]

Bytes = NDArray[np.uint8]

_BLOCK, _BLOCK_BYTES, _FIELDS = 128, 32, 4
_OFFSET = 2
# Vectors of four products of at most 6 that a byte holds.
_BLOCKS_OF_BYTES = 10
_CODES = range(-2, 2)


def _steps(problem: Problem) -> tuple[Step, ...]:
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    if k % _BLOCK:
        raise ValueError(f"DeepGEMM takes rows of a multiple of {_BLOCK} weights, found {k}")
    sizes = {"weights": n * k // 4, "activations": batch * k // 4, "sums": 4 * n * batch}
    a = Assembler("DeepGEMM", 32, sizes | {name: len(contents) for name, contents in _constants().items()})
    table, low, high = a.load("products", 0), a.load("low", 0), a.load("high", 0)
    zero = a.op("zero")
    blocks = k // _BLOCK
    for token in range(batch):
        with a.loop("row", n) as row:
            wide = a.op("zero")
            for first in range(0, blocks, _BLOCKS_OF_BYTES):
                total = a.op("zero")
                with a.loop("block", min(_BLOCKS_OF_BYTES, blocks - first)) as block:
                    place = block * _BLOCK_BYTES + first * _BLOCK_BYTES
                    weights = a.load("weights", row * (k // 4) + place)
                    inputs = a.load("activations", place + token * (k // 4))
                    for field in range(_FIELDS):
                        index = a.op("vpor", _high(a, weights, field, high), _low(a, inputs, field, low))
                        a.into(total, "vpaddb", total, a.op("vpshufb", table, index))
                a.into(wide, "vpaddq", wide, a.op("vpsadbw", total, zero))
            _sum_up(a, wide, row * 4 + 4 * n * token)
    return (Step("product", a.program()),)


def _high(a: Assembler, weights: Register, field: int, mask: Register) -> Register:
    """A code at the bits 2 and 3 of every byte."""
    moved = {0: "vpsllw", 1: ""}.get(field, "vpsrlw")
    shifted = a.op(moved, weights, imm=abs(2 * field - 2)) if moved else weights
    return a.op("vpand", shifted, mask)


def _low(a: Assembler, inputs: Register, field: int, mask: Register) -> Register:
    return a.op("vpand", a.op("vpsrlw", inputs, imm=2 * field) if field else inputs, mask)


def _sum_up(a: Assembler, wide: Register, target: Offset) -> None:
    half = a.op("vpaddq", wide, a.op("vextracti128", wide, imm=1), size_bytes=16)
    one = a.op("vpaddq", half, a.op("vpshufd", half, imm=0b01001110, size_bytes=16), size_bytes=16)
    a.store("sums", target, one, size_bytes=4)


def _constants() -> Mapping[str, Bytes]:
    by_pattern = np.array([0, 1, -2, -1])
    products = (by_pattern[:, None] * by_pattern + _OFFSET).ravel()
    return {
        "products": np.tile(products, 2).astype(np.uint8),
        "low": np.full(32, 0x03, np.uint8),
        "high": np.full(32, 0x0C, np.uint8),
    }


def _pack(codes: NDArray[np.int8]) -> Bytes:
    if codes.min() < _CODES.start or codes.max() >= _CODES.stop:
        raise ValueError(f"DeepGEMM takes codes from -2 to 1, found {codes.min()} to {codes.max()}")
    fields = (codes.view(np.uint8) & np.uint8(3)).reshape(-1, _FIELDS, _BLOCK_BYTES)
    packed: Bytes = np.bitwise_or.reduce(fields << (2 * np.arange(_FIELDS, dtype=np.uint8))[:, None], axis=1).ravel()
    return packed


def _operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
    del problem
    inputs = np.ascontiguousarray(activations, np.int8)
    return {"weights": _pack(codes), "activations": _pack(inputs)} | dict(_constants())


def _result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.int32]:
    sums = memory["sums"].view("<i4").reshape(problem.batch_tokens, problem.n_out)
    products: NDArray[np.int32] = sums - np.int32(_OFFSET * problem.k)
    return products


DEEPGEMM_KERNELS = (
    CpuKernel(
        *("DeepGEMM", frozenset({"avx2"}), "arXiv 2304.09049, section 3", _steps, _operands, _result),
        loss="activations in 2 bits",
        weight_format="int2",
    ),
)
