"""TL2 of bitnet.cpp on AVX2: three ternary weights choose one of 14 entries and a sign, pairs the rest of a row.

The member (3, 3) of the family of `elut`, with its (3, 2) behind whole tiles, in the bytes that TL2 files have. Rows
are threaded by tiles of `TableTiling.block_rows`; within one, tiles of columns pass by, and 32 rows at a time add up.

Source: microsoft/BitNet, `utils/codegen_tl2.py`: `three_tbl_impl`, `two_tbl_impl` and the two `qgemm_lut` around them.
The instructions are those of the compiler that it asks for (clang with -O3): shifts by 15 on both sides become a mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.formats import FORMATS, Operand
from isa.packings import PACKINGS
from isa.packings.tl_tilings import tl2_tiling
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.elut import lookup_steps, scaled_operands, scaled_outputs
from sim.simd.kernels.elut_groupings import Grouping, Part

__all__ = ["TL_KERNELS"]

Bytes = NDArray[np.uint8]

_TRIPLES, _PAIRS = Grouping(3, 3), Grouping(3, 2)
_PAIR_COLUMNS = 32


def _parts(problem: Problem) -> list[Part]:
    """Triples over whole tiles and pairs over the rest, as `isa.packings.tl` lays them out."""
    n, width = problem.n_out, tl2_tiling(problem.n_out, problem.k).block_columns
    threes = problem.k - problem.k % width
    signs = n * threes // 6
    pairs = signs + n * threes // 24
    parts = [Part(_TRIPLES, threes, width, 0, signs), Part(_PAIRS, problem.k - threes, _PAIR_COLUMNS, pairs, 0)]
    return [part for part in parts if part.columns]


def _weight_bytes(problem: Problem) -> int:
    return sum(part.columns * problem.n_out // (6 if part.grouping.signed else 4) for part in _parts(problem)) + sum(
        part.columns * problem.n_out // 24 for part in _parts(problem) if part.grouping.signed
    )


def _steps(problem: Problem) -> tuple[Step, ...]:
    tiling = tl2_tiling(problem.n_out, problem.k)
    return tuple(lookup_steps(problem, "TL2", _parts(problem), tiling.block_rows, _weight_bytes(problem)))


def _operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
    packed = PACKINGS["tl2"].pack(Operand(codes, np.ones(1, np.float32), FORMATS["ternary"]))
    return scaled_operands(packed[: _weight_bytes(problem)], activations)


TL_KERNELS = (
    CpuKernel("TL2", frozenset({"avx2"}), "microsoft/BitNet, utils/codegen_tl2.py", _steps, _operands, scaled_outputs),
)
