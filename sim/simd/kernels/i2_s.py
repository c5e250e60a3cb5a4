"""I2_S of bitnet.cpp on AVX2: two-bit codes of ternary weights times int8 activations, 16-bit sums over 4096 inputs.

    1x1   a row of weights at a time
    1xN   four rows side by side, which share the activations
    Nx1   four tokens side by side, which share the unpacked weights

The codes are weight + 1; what that adds is the sum of the activations, which the caller subtracts. Sums of 16 bits wrap
around beyond 32 blocks of 128 inputs in the public code, and here.

Source: `src/ggml-bitnet-mad.cpp` of microsoft/BitNet (commit 129557d), `ggml_vec_dot_i2_i8_s_1x1`, `_1xN`, `_Nx1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.simd.x86  # noqa: F401
from isa.formats import FORMATS, Operand
from isa.packings import PACKINGS
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.program import Offset, Register

__all__ = ["I2_S_KERNELS"]

Bytes = NDArray[np.uint8]

_BLOCK, _BLOCK_BYTES = 128, 32
_BLOCKS_OF_A_SUM = 32
_QUARTERS = 4
_CODES = 3


def _sizes(problem: Problem) -> dict[str, int]:
    if problem.k % _BLOCK:
        raise ValueError(f"I2_S takes rows of a multiple of {_BLOCK} weights, found {problem.k}")
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    return {"weights": n * k // 4, "activations": batch * k, "sums": 4 * n * batch, "mask": 32, "ones": 32}


def _assembler(problem: Problem, name: str) -> Assembler:
    return Assembler(name, 32, _sizes(problem))


def _quarters(a: Assembler, block: Offset, mask: Register) -> list[Register]:
    """The codes of 128 weights, 32 in each vector."""
    packed = a.load("weights", block)
    shifted = [a.op("vpsrlw", packed, imm=6 - 2 * quarter) for quarter in range(_QUARTERS - 1)]
    return [a.op("vpand", part, mask) for part in (*shifted, packed)]


def _add_block(a: Assembler, total: Register, quarters: Sequence[Register], inputs: Offset) -> None:
    """Products of 128 weights, added to sums of 16 bits."""
    products = [
        a.op("vpmaddubsw", quarter, memory=a.at("activations", inputs + 32 * number))
        for number, quarter in enumerate(quarters)
    ]
    for pair in (products[:2], products[2:]):
        a.into(total, "vpaddw", total, a.op("vpaddw", *pair))


def _sum_up(a: Assembler, total: Register, target: Offset) -> None:
    """The eight sums of a vector come to one."""
    half = a.op("vpaddd", total, a.op("vextracti128", total, imm=1), size_bytes=16)
    pairs = a.op("vpaddd", half, a.op("vpshufd", half, imm=0b01001110, size_bytes=16), size_bytes=16)
    one = a.op("vpaddd", pairs, a.op("vpshufd", pairs, imm=0b10110001, size_bytes=16), size_bytes=16)
    a.store("sums", target, one, size_bytes=4)


def _spans(k: int) -> list[tuple[int, int]]:
    """First block and number of blocks of each sum of 16 bits."""
    blocks = k // _BLOCK
    return [(first, min(_BLOCKS_OF_A_SUM, blocks - first)) for first in range(0, blocks, _BLOCKS_OF_A_SUM)]


def _block_of(rows: int) -> int:
    """Rows that the driver of the kernels goes through for each of its tokens: 16, or what divides the rows."""
    return max(size for size in (16, 8, 4, 2, 1) if rows % size == 0)


def _rows_together(problem: Problem, rows: int, name: str) -> Step:
    """Some rows of weights side by side, with one token after the other."""
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    if n % rows:
        raise ValueError(f"{name} takes a multiple of {rows} rows, found {n}")
    a = _assembler(problem, name)
    mask, ones = a.load("mask", 0), a.load("ones", 0)
    many = _block_of(n)
    with a.loop("rows", n // many) as part, a.loop("tokens", batch) as token, a.loop("row", many // rows) as row:
        weights, target = part * (many * k // 4) + row * (rows * k // 4), part * (4 * many) + row * (4 * rows)
        wide = [a.op("zero") for _ in range(rows)]
        for first, blocks in _spans(k):
            totals = [a.op("zero") for _ in range(rows)]
            with a.loop("block", blocks) as block:
                inputs = token * k + (block * _BLOCK + first * _BLOCK)
                for number, total in enumerate(totals):
                    place = weights + (block * _BLOCK_BYTES + (number * (k // 4) + first * _BLOCK_BYTES))
                    _add_block(a, total, _quarters(a, place, mask), inputs)
            for sums, total in zip(wide, totals, strict=True):
                a.into(sums, "vpaddd", sums, a.op("vpmaddwd", total, ones))
        for number, sums in enumerate(wide):
            _sum_up(a, sums, target + (token * (4 * n) + 4 * number))
    return Step("product", a.program())


def _tokens_together(problem: Problem, name: str) -> Step:
    """A row of weights with some tokens side by side, unpacked once for all of them."""
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    together = 4 if batch % 4 == 0 else 1
    a = _assembler(problem, name)
    mask, ones = a.load("mask", 0), a.load("ones", 0)
    with a.loop("rows", n) as row, a.loop("tokens", batch // together) as token:
        weights, target = row * (k // 4), row * 4
        wide = [a.op("zero") for _ in range(together)]
        for first, blocks in _spans(k):
            totals = [a.op("zero") for _ in range(together)]
            with a.loop("block", blocks) as block:
                quarters = _quarters(a, weights + (block * _BLOCK_BYTES + first * _BLOCK_BYTES), mask)
                for number, total in enumerate(totals):
                    inputs = token * (together * k) + (block * _BLOCK + (number * k + first * _BLOCK))
                    _add_block(a, total, quarters, inputs)
            for sums, total in zip(wide, totals, strict=True):
                a.into(sums, "vpaddd", sums, a.op("vpmaddwd", total, ones))
        for number, sums in enumerate(wide):
            _sum_up(a, sums, target + (token * (4 * n * together) + 4 * n * number))
    return Step("product", a.program())


def _operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
    operand = Operand(codes, np.ones(1, np.float32), FORMATS["ternary"])
    return {
        "weights": PACKINGS["i2_s"].pack(operand)[: problem.n_out * problem.k // 4],
        "activations": np.ascontiguousarray(activations, np.int8).reshape(-1).view(np.uint8),
        "mask": np.full(32, _CODES, np.uint8),
        "ones": np.ones(16, "<i2").view(np.uint8),
    }


def _result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.int32]:
    """What the codes add is taken off here, as the caller of the public kernels does."""
    sums = memory["sums"].view("<i4").reshape(problem.batch_tokens, problem.n_out)
    inputs = memory["activations"].view(np.int8).reshape(problem.batch_tokens, problem.k)
    products: NDArray[np.int32] = sums - inputs.sum(axis=1, dtype=np.int32)[:, None]
    return products


def _kernel(variant: str, steps: Any) -> CpuKernel:
    source = "microsoft/BitNet, src/ggml-bitnet-mad.cpp at 129557d"
    return CpuKernel(f"I2_S[{variant}]", frozenset({"avx2"}), source, steps, _operands, _result)


I2_S_KERNELS = (
    _kernel("1x1", lambda problem: (_rows_together(problem, 1, "I2_S 1x1"),)),
    _kernel("1xN", lambda problem: (_rows_together(problem, 4, "I2_S 1xN"),)),
    _kernel("Nx1", lambda problem: (_tokens_together(problem, "I2_S Nx1"),)),
)
