"""2-bit weights on AVX-512 VNNI: unsigned codes times signed activations, four products a lane of 32 bits at once.

    weights   (rows / 2, k / 256, 2 rows, 64 bytes)    byte p: the weights p, p + 64, p + 128, p + 192, lowest first

A field is masked and not shifted down, so that its products are 1, 4, 16 or 64 times too large; every field has sums of
its own, which are shifted once, at the end of a row. The codes are weight + 1; what that adds is the sum of the
activations, which the caller subtracts. Exact up to 2^20 weights a row.

It is a kernel of this project: what VNNI could do with ternary weights. `sim/native/vnni.c` is the same in C.
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

__all__ = ["VNNI_KERNELS"]

Bytes = NDArray[np.uint8]

_BLOCK, _BLOCK_BYTES, _ROWS = 256, 64, 2
_FIELDS = 4
_BAND_ROWS = 32


def _steps(problem: Problem) -> tuple[Step, ...]:
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    if k % _BLOCK or n % _ROWS:
        raise ValueError(f"VNNI 2-bit takes pairs of rows of a multiple of {_BLOCK} weights, found {n} x {k}")
    sizes = {"weights": n * k // 4, "activations": batch * k, "sums": 4 * n * batch, "masks": 64 * _FIELDS}
    a = Assembler("VNNI 2-bit", 64, sizes)
    masks = [a.load("masks", 64 * field) for field in range(_FIELDS)]
    # A band's weights stay in the second cache while tokens pass by.
    band_rows = _BAND_ROWS if n % _BAND_ROWS == 0 else _ROWS
    with (
        a.loop("band", n // band_rows) as band,
        a.loop("token", batch) as token,
        a.loop("pair", band_rows // 2) as pair,
    ):
        row_pair = band * (band_rows // _ROWS) + pair
        sums = [[a.op("zero") for _ in range(_FIELDS)] for _ in range(_ROWS)]
        with a.loop("block", k // _BLOCK) as block:
            inputs = [a.load("activations", token * k + block * _BLOCK + 64 * field) for field in range(_FIELDS)]
            for row, fields in enumerate(sums):
                packed = a.load("weights", row_pair * (k // 2) + block * (_ROWS * _BLOCK_BYTES) + row * _BLOCK_BYTES)
                for total, mask, values in zip(fields, masks, inputs, strict=True):
                    a.into(total, "vpdpbusd", total, a.op("vpand", packed, mask), values)
        for row, fields in enumerate(sums):
            _sum_up(a, fields, row_pair * (4 * _ROWS) + token * (4 * n) + 4 * row)
    return (Step("product", a.program()),)


def _sum_up(a: Assembler, fields: list[Register], target: Offset) -> None:
    shifted = [a.op("vpsrad", total, imm=2 * field) if field else total for field, total in enumerate(fields)]
    total = a.op("vpaddd", a.op("vpaddd", *shifted[:2]), a.op("vpaddd", *shifted[2:]))
    half = a.op("vpaddd", total, a.op("vextracti64x4", total, imm=1), size_bytes=32)
    quarter = a.op("vpaddd", half, a.op("vextracti128", half, imm=1, size_bytes=32), size_bytes=16)
    pairs = a.op("vpaddd", quarter, a.op("vpshufd", quarter, imm=0b01001110, size_bytes=16), size_bytes=16)
    one = a.op("vpaddd", pairs, a.op("vpshufd", pairs, imm=0b10110001, size_bytes=16), size_bytes=16)
    a.store("sums", target, one, size_bytes=4)


def _pack(codes: NDArray[np.int8]) -> Bytes:
    rows, columns = codes.shape
    fields = (codes.view(np.uint8) + np.uint8(1)).reshape(rows // _ROWS, _ROWS, columns // _BLOCK, _FIELDS, 64)
    shifted = fields << (2 * np.arange(_FIELDS, dtype=np.uint8))[:, None]
    packed: Bytes = np.bitwise_or.reduce(shifted, axis=3).transpose(0, 2, 1, 3).ravel()
    return packed


def _operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
    del problem
    return {
        "weights": _pack(codes),
        "activations": np.ascontiguousarray(activations, np.int8).reshape(-1).view(np.uint8),
        "masks": np.repeat(np.array([0x03, 0x0C, 0x30, 0xC0], np.uint8), 64),
    }


def _result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.int32]:
    """What the codes add is taken off here."""
    sums = memory["sums"].view("<i4").reshape(problem.batch_tokens, problem.n_out)
    inputs = memory["activations"].view(np.int8).reshape(problem.batch_tokens, problem.k)
    products: NDArray[np.int32] = sums - inputs.sum(axis=1, dtype=np.int32)[:, None]
    return products


VNNI_KERNELS = (
    CpuKernel(
        *("VNNI 2-bit", frozenset({"avx512", "vnni"}), "design: ternary codes on vpdpbusd", _steps, _operands, _result),
        weight_format="int2",
    ),
)
