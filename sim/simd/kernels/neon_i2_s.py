"""I2_S of bitnet.cpp on NEON: two-bit codes of ternary weights times int8 activations, row by row.

    I2_S NEON            products added up in 16 bits, which wrap around beyond 32 blocks of 64 weights as publicly
    I2_S NEON dotprod    sdot into 32 bits
    I2_S i8mm            two rows and two tokens at a time by smmla: a design, for there is no public one. Its codes are
                         ordered anew: 16 bytes hold 32 weights of two rows, eight of each in turn

The codes are weight + 1; what that adds is the sum of the activations, which the caller subtracts.

Source: `src/ggml-bitnet-mad.cpp` of microsoft/BitNet (commit 129557d), `ggml_vec_dot_i2_i8_s_1x1` on ARM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.simd.neon  # noqa: F401
from isa.formats import FORMATS, Operand
from isa.packings import PACKINGS
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.program import Offset, Register

__all__ = ["NEON_I2_S_KERNELS"]

Bytes = NDArray[np.uint8]

_BLOCK, _BLOCK_BYTES = 64, 16
_BLOCKS_OF_A_SUM = 32
_FIELDS = 4
_CODES = 3


def _quarters(a: Assembler, place: Offset, mask: Register) -> list[Register]:
    """Codes of 64 weights, 16 in each vector. The topmost field needs no mask."""
    packed = a.load("weights", place)
    shifted = [a.op("ushr.8", packed, imm=6 - 2 * field) for field in range(_FIELDS - 1)]
    return [shifted[0], *(a.op("and.8", part, mask) for part in (*shifted[1:], packed))]


def _rows(problem: Problem, name: str, dot: bool) -> tuple[Step, ...]:
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    if k % _BLOCK:
        raise ValueError(f"{name} takes rows of a multiple of {_BLOCK} weights, found {k}")
    a = Assembler(name, 16, {"weights": n * k // 4, "activations": batch * k, "sums": 4 * n * batch, "mask": 16})
    mask = a.load("mask", 0)
    blocks = k // _BLOCK
    for token in range(batch):
        with a.loop("row", n) as row:
            wide = a.op("movi")
            for first in range(0, blocks, _BLOCKS_OF_A_SUM):
                narrow = wide if dot else a.op("movi")
                with a.loop("block", min(_BLOCKS_OF_A_SUM, blocks - first)) as block:
                    quarters = _quarters(a, row * (k // 4) + block * _BLOCK_BYTES + first * _BLOCK_BYTES, mask)
                    inputs = block * _BLOCK + (token * k + first * _BLOCK)
                    _add_block(a, narrow, quarters, inputs, dot)
                if not dot:
                    a.into(wide, "saddw", wide, narrow)
                    a.into(wide, "saddw2", wide, narrow)
            a.store("sums", row * 4 + 4 * n * token, a.op("saddlv.32", wide), size_bytes=4)
    return (Step("product", a.program()),)


def _add_block(a: Assembler, total: Register, quarters: Sequence[Register], inputs: Offset, dot: bool) -> None:
    for number, quarter in enumerate(quarters):
        values = a.load("activations", inputs + 16 * number)
        for name in ("sdot",) if dot else ("smlal", "smlal2"):
            a.into(total, name, total, quarter, values)


def _pairs_of_rows(problem: Problem) -> tuple[Step, ...]:
    """Two rows by two tokens; a last token without another has zeros beside it."""
    k, n, pairs = problem.k, problem.n_out, -(-problem.batch_tokens // 2)
    if k % (_BLOCK // 2) or n % 2:
        raise ValueError(f"I2_S i8mm takes pairs of rows of a multiple of {_BLOCK // 2} weights, found {n} x {k}")
    sizes = {"weights": n * k // 4, "activations": 2 * pairs * k, "sums": 8 * n * pairs, "mask": 16}
    a = Assembler("I2_S i8mm", 16, sizes)
    mask = a.load("mask", 0)
    with a.loop("rows", n // 2) as row, a.loop("tokens", pairs) as pair:
        totals = [a.op("movi") for _ in range(2)]
        with a.loop("block", k // (_BLOCK // 2)) as block:
            quarters = _quarters(a, row * (k // 2) + block * _BLOCK_BYTES, mask)
            for number, quarter in enumerate(quarters):
                values = a.load("activations", pair * (2 * k) + block * _BLOCK + 16 * number)
                total = totals[number % 2]
                a.into(total, "smmla", total, quarter, values)
        a.store("sums", row * (16 * pairs) + pair * 16, a.op("add.32", *totals))
    return (Step("product", a.program()),)


def _operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
    operand = Operand(codes, np.ones(1, np.float32), FORMATS["ternary"])
    return {
        "weights": PACKINGS["i2_s-arm"].pack(operand)[: problem.n_out * problem.k // 4],
        "activations": np.ascontiguousarray(activations, np.int8).reshape(-1).view(np.uint8),
        "mask": np.full(16, _CODES, np.uint8),
    }


def _without_codes(sums: NDArray[np.int32], activations: NDArray[Any]) -> NDArray[np.int32]:
    """What the codes add is taken off here, as the caller of the public kernels does."""
    products: NDArray[np.int32] = sums - activations.sum(axis=1, dtype=np.int32)[:, None]
    return products


def _result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.int32]:
    sums = memory["sums"].view("<i4").reshape(problem.batch_tokens, problem.n_out)
    return _without_codes(sums, memory["activations"].view(np.int8).reshape(problem.batch_tokens, problem.k))


def _eights(values: NDArray[np.int8]) -> NDArray[np.int8]:
    """Rows [rows, k] as [rows / 2, k / 8, 2, 8]."""
    rows, columns = values.shape
    return values.reshape(rows // 2, 2, columns // 8, 8).transpose(0, 2, 1, 3)


def _paired_operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
    fields = (_eights(codes).view(np.uint8) + np.uint8(1)).reshape(problem.n_out // 2, -1, _FIELDS, 16)
    shifts = np.arange(6, -1, -2, dtype=np.uint8)[:, None]
    inputs = np.zeros((-(-problem.batch_tokens // 2) * 2, problem.k), np.int8)
    inputs[: problem.batch_tokens] = activations
    return {
        "weights": np.bitwise_or.reduce(fields << shifts, axis=2).ravel(),
        "activations": _eights(inputs).ravel().view(np.uint8),
        "mask": np.full(16, _CODES, np.uint8),
    }


def _paired_result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.int32]:
    sums = memory["sums"].view("<i4").reshape(problem.n_out // 2, -1, 2, 2).transpose(1, 3, 0, 2)
    inputs = memory["activations"].view(np.int8).reshape(-1, problem.k // 8, 2, 8).transpose(0, 2, 1, 3)
    by_token = _without_codes(sums.reshape(-1, problem.n_out), inputs.reshape(-1, problem.k))
    return by_token[: problem.batch_tokens]


_SOURCE = "microsoft/BitNet, src/ggml-bitnet-mad.cpp at 129557d"

NEON_I2_S_KERNELS = (
    CpuKernel(
        *("I2_S NEON", frozenset({"neon"}), _SOURCE),
        lambda problem: _rows(problem, "I2_S NEON", dot=False),
        *(_operands, _result),
    ),
    CpuKernel(
        *("I2_S NEON dotprod", frozenset({"neon", "dotprod"}), _SOURCE),
        lambda problem: _rows(problem, "I2_S NEON dotprod", dot=True),
        *(_operands, _result),
    ),
    CpuKernel(
        *("I2_S i8mm", frozenset({"neon", "i8mm"}), "design: the codes of I2_S on smmla"),
        *(_pairs_of_rows, _paired_operands, _paired_result),
    ),
)
