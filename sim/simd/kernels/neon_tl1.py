"""TL1 of bitnet.cpp on NEON: two ternary weights choose one of 9 exact entries of 16 bits.

A table is 16 high and 16 low bytes, so that two byte lookups and two zips make the entries of 16 rows. Sums of 16 bits
take a tile of columns, and tiles are added up in 32 bits. Rows are threaded by tiles of `TableTiling.block_rows`.

Source: microsoft/BitNet, `utils/codegen_tl1.py`: `per_tensor_quant`, `lut_ctor`, `tbl_impl`, `qgemm_lut`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.simd.neon
import sim.simd.neon_floats  # noqa: F401
from isa.formats import FORMATS, Operand
from isa.packings import PACKINGS
from isa.packings.tl_tilings import tl1_tiling
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.program import Offset, Register

__all__ = ["NEON_TL1_KERNELS"]

Bytes = NDArray[np.uint8]
# A register, or None for zeros.
_Vector = Register | None

_TABLE_BYTES = 32
_INPUTS_AT_ONCE = 16
_LARGEST = 127.0
_STEP_BYTES = 64
"""Of weights: four vectors of 16 bytes, whatever the strip."""


def _steps(problem: Problem) -> tuple[Step, ...]:
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    tl1_tiling(n, k).check_tl1(n, k)
    if k % _INPUTS_AT_ONCE:
        raise ValueError(f"TL1 makes tables of {_INPUTS_AT_ONCE} activations at a time, found rows of {k}")
    sizes = {
        "weights": n * k // 4,
        "activations": 4 * batch * k,
        "scales": 4 * batch,
        "tables": batch * k // 2 * _TABLE_BYTES,
        "sums": 4 * batch * n,
        "outputs": 4 * batch * n,
    } | {name: len(contents) for name, contents in _constants().items()}
    return (_scales(problem, sizes), _tables(problem, sizes), _product(problem, sizes))


def _constants() -> Mapping[str, Bytes]:
    return {
        "nibbles": np.full(16, 15, np.uint8),
        "planes": np.array([*range(0, 16, 2), *range(1, 16, 2)], np.uint8),
        "largest": np.full(1, _LARGEST, "<f4").view(np.uint8),
    }


def _scales(problem: Problem, sizes: Mapping[str, int]) -> Step:
    """127 / max |x| of every token."""
    a = Assembler("TL1 scales", 16, sizes)
    with a.loop("token", problem.batch_tokens) as token:
        largest = a.op("movi")
        with a.loop("vector", problem.k // 4) as vector:
            size = a.op("fabs.32", a.load("activations", token * (4 * problem.k) + vector * 16))
            a.into(largest, "fmax.32", size, largest)
        limit = a.load("largest", 0, size_bytes=4)
        scale = a.op("fdiv.32", limit, a.op("fmaxv.32", largest), size_bytes=4)
        a.store("scales", token * 4, scale)
    return Step("quantize", a.program())


def _tables(problem: Problem, sizes: Mapping[str, int]) -> Step:
    """Of eight pairs at a time."""
    a = Assembler("TL1 tables", 16, sizes)
    planes = a.load("planes", 0)
    with a.loop("token", problem.batch_tokens) as token:
        scale = a.load("scales", token * 4, size_bytes=4)
        with a.loop("eight", problem.k // _INPUTS_AT_ONCE) as eight:
            first, second = _quantized_pairs(a, token * (4 * problem.k) + eight * (4 * _INPUTS_AT_ONCE), scale)
            rows = _entries(a, first, second)
            lower, upper = _transposed(a, rows[:8]), _transposed(a, [*rows[8:], *[None] * 7])
            for number in range(8):
                table = token * (problem.k // 2 * _TABLE_BYTES) + (eight * (8 * _TABLE_BYTES) + number * _TABLE_BYTES)
                for half, entries in enumerate((lower[number], upper[number])):
                    split = a.op("tbl", entries or a.op("movi"), planes)
                    a.store("tables", table + 8 * half, a.op("dup.64", split, imm=1), size_bytes=8)
                    a.store("tables", table + (16 + 8 * half), split, size_bytes=8)
    return Step("tables", a.program())


def _quantized_pairs(a: Assembler, place: Offset, scale: Register) -> tuple[Register, ...]:
    """The first and the second activations of eight pairs, as 16 bits."""
    words = [a.load("activations", place + 16 * number) for number in range(4)]
    pairs = list[Register]()
    for name in ("uzp1.32", "uzp2.32"):
        floats = [a.op("fmul.32", a.op(name, *words[half : half + 2]), scale) for half in (0, 2)]
        low, high = (a.op("fcvtns.32", value) for value in floats)
        pairs.append(a.op("xtn2.32", a.op("xtn.32", low), high))
    return tuple(pairs)


def _entries(a: Assembler, first: Register, second: Register) -> list[_Vector]:
    """3·w0 + w1 + 4, from -1, -1 on."""
    minus = a.op("neg.16", first)
    return [
        a.op("sub.16", minus, second), minus, a.op("add.16", minus, second),
        a.op("neg.16", second), None, second,
        a.op("sub.16", first, second), first, a.op("add.16", first, second),
    ]  # fmt: skip


def _transposed(a: Assembler, rows: Sequence[_Vector]) -> list[_Vector]:
    """Eight vectors of eight numbers, the other way round."""
    fours = [_zipped(a, rows[number], rows[number + 4]) for number in range(4)]
    twos = [_zipped(a, fours[number][side], fours[number + 2][side]) for side in (0, 1) for number in (0, 1)]
    return [value for side in (0, 2) for half in (0, 1) for value in _zipped(a, twos[side][half], twos[side + 1][half])]


def _zipped(a: Assembler, left: _Vector, right: _Vector) -> tuple[_Vector, _Vector]:
    if left is None and right is None:
        return None, None
    zeros = a.op("movi") if left is None or right is None else None
    both = [value or zeros for value in (left, right)]
    low, high = (a.op(name, *(value for value in both if value is not None)) for name in ("zip1.16", "zip2.16"))
    return low, high


def _product(problem: Problem, sizes: Mapping[str, int]) -> Step:
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    tiling = tl1_tiling(n, k)
    height, width, strip_rows = tiling.block_rows, tiling.block_columns, tiling.strip_rows
    a = Assembler("TL1 lookups", 16, sizes)
    nibbles = a.load("nibbles", 0)
    with a.loop("row_tile", n // height) as row_tile:
        rows, zero = row_tile * (4 * height), a.op("movi")
        with a.loop("cleared", batch) as token, a.loop("vector", height // 4, overhead=0) as vector:
            a.store("sums", rows + token * (4 * n) + vector * 16, zero)
        with a.loop("token", batch) as token, a.loop("tile", k // width) as tile:
            tables = token * (k // 2 * _TABLE_BYTES) + tile * (width // 2 * _TABLE_BYTES)
            with a.loop("strip", height // strip_rows) as strip:
                place = row_tile * (height * k // 4) + tile * (height * width // 4) + strip * (strip_rows * width // 4)
                totals = _strip(a, place, tables, nibbles, strip_rows, width)
                _widen(a, totals, rows + token * (4 * n) + strip * (4 * strip_rows))
        with a.loop("token", batch) as token:
            scale = a.op("ld1r.32", memory=a.at("scales", token * 4, 4))
            with a.loop("vector", height // 4, overhead=0) as vector:
                where = rows + token * (4 * n) + vector * 16
                a.store("outputs", where, a.op("fdiv.32", a.op("scvtf.32", a.load("sums", where)), scale))
    return Step("product", a.program())


def _strip(
    a: Assembler, place: Offset, tables: Offset, nibbles: Register, strip_rows: int, width: int
) -> list[Register]:
    """Sums of 16 bits of a strip over a tile, eight rows in each vector."""
    columns = 256 // strip_rows
    bytes_across = columns // 4
    totals = [a.op("movi") for _ in range(strip_rows // 8)]
    with a.loop("step", width // columns, overhead=0) as step:
        at_step = tables + step * (columns // 2 * _TABLE_BYTES)
        planes = [a.load("tables", at_step + 16 * plane) for plane in range(columns)]
        for sixteen in range(strip_rows // 16):
            for byte in range(bytes_across):
                packed = a.load("weights", place + (step * _STEP_BYTES + 16 * (sixteen * bytes_across + byte)))
                indices = (a.op("ushr.8", packed, imm=4), a.op("and.8", packed, nibbles))
                for pair, index in enumerate(indices):
                    high, low = (a.op("tbl", planes[4 * byte + 2 * pair + side], index) for side in (0, 1))
                    for half, name in enumerate(("zip1.8", "zip2.8")):
                        total = totals[2 * sixteen + half]
                        a.into(total, "add.16", total, a.op(name, low, high))
    return totals


def _widen(a: Assembler, totals: Sequence[Register], target: Offset) -> None:
    for number, total in enumerate(totals):
        for half, name in enumerate(("saddw", "saddw2")):
            place = target + (32 * number + 16 * half)
            a.store("sums", place, a.op(name, a.load("sums", place), total))


def _operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
    packed = PACKINGS["tl1"].pack(Operand(codes, np.ones(1, np.float32), FORMATS["ternary"]))
    floats = np.ascontiguousarray(activations, "<f4").reshape(-1).view(np.uint8)
    return {"weights": packed[: problem.n_out * problem.k // 4], "activations": floats} | dict(_constants())


def _result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.float32]:
    """Sums under the scales of the activations: exactly the integers, if codes up to 127 came in as floats."""
    outputs: NDArray[np.float32] = memory["outputs"].view("<f4").reshape(problem.batch_tokens, problem.n_out)
    return outputs


NEON_TL1_KERNELS = (
    CpuKernel("TL1", frozenset({"neon"}), "microsoft/BitNet, utils/codegen_tl1.py", _steps, _operands, _result),
)
