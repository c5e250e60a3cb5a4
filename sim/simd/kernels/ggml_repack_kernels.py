"""ggml's kernels of repacked weights, as `CpuKernel`s: a token at a time up to three, sixteen rows and tokens at a time
where tokens come by fours.

Source: llama.cpp, ggml/src/ggml-cpu/repack.cpp, `forward_mul_mat`, which leaves what is beyond a multiple of four
tokens to the former; that mixture is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_dots import Constants, packed_with_scales_of_one
from sim.simd.kernels.ggml_driver import LLAMA_CPP, bytes_of, float_results, format_of
from sim.simd.kernels.ggml_k_dots import pack_q4_k
from sim.simd.kernels.ggml_quantize import (
    Q8_0_BYTES,
    Q8_K_BYTES,
    quantize_constants,
    quantize_q8_0,
    quantize_q8_k,
)
from sim.simd.kernels.ggml_repack import (
    Q4_0X8_BYTES,
    Q4_0X8_CONSTANTS,
    Q4_KX8_BYTES,
    Q4_KX8_CONSTANTS,
    ROWS,
    interleave_q4_0,
    interleave_q4_k,
    write_q4_0_gemv,
    write_q4_k_gemv,
)
from sim.simd.kernels.ggml_repack_batch import BATCH_CONSTANTS, write_q4_0_gemm, write_q4_k_gemm
from sim.simd.kernels.ggml_repack_quantize import (
    FOUR_TOKENS_CONSTANTS,
    Q8_0X4_BYTES,
    Q8_KX4_BYTES,
    quantize_q8_0_of_four,
    quantize_q8_k_of_four,
)

__all__ = ["GGML_REPACK_KERNELS"]

Bytes = NDArray[np.uint8]

_ROWS_OF_GEMM, _TOKENS_OF_GEMM = 16, 4


@dataclass(frozen=True)
class _Repacked:
    """What a format of repacked weights consists of: bytes of a block of eight rows, of one token and of four; and the
    programs for either way.
    """

    name: str
    values: int
    rows_bytes: int
    token_bytes: int
    four_tokens_bytes: int
    constants: Constants
    quantize: Callable[[Problem], Step]
    quantize_four: Callable[[Problem], Step]
    gemv: Callable[[Assembler, Problem, int, int], None]
    gemm: Callable[[Assembler, Problem], None]
    pack: Callable[[Problem, NDArray[np.int8]], Bytes]

    def check(self, problem: Problem) -> None:
        """ValueError unless rows and tokens come by as many as are taken together."""
        batched = problem.batch_tokens >= _TOKENS_OF_GEMM
        rows = _ROWS_OF_GEMM if batched else ROWS
        if problem.k % self.values or problem.n_out % rows:
            expected = f"rows of a multiple of {self.values} weights, and a multiple of {rows} rows"
            raise ValueError(f"{self.name} takes {expected}, found {problem.n_out} x {problem.k}")
        if batched and problem.batch_tokens % _TOKENS_OF_GEMM:
            raise ValueError(f"{self.name} takes up to 3 tokens or a multiple of 4, found {problem.batch_tokens}")


def _kernel(form: _Repacked) -> CpuKernel:
    def constants(problem: Problem) -> Constants:
        return BATCH_CONSTANTS if problem.batch_tokens >= _TOKENS_OF_GEMM else form.constants

    def steps(problem: Problem) -> tuple[Step, ...]:
        form.check(problem)
        blocks, n, batch = problem.k // form.values, problem.n_out, problem.batch_tokens
        batched = batch >= _TOKENS_OF_GEMM
        inputs = batch // _TOKENS_OF_GEMM * form.four_tokens_bytes if batched else batch * form.token_bytes
        sizes = {"weights": n // ROWS * blocks * form.rows_bytes, "blocks": blocks * inputs, "sums": 4 * n * batch}
        a = Assembler(form.name, 32, sizes | {"constants": sum(len(value) for _, value in constants(problem))})
        if batched:
            form.gemm(a, problem)
            return form.quantize_four(problem), Step("product", a.program())
        for token in range(batch):
            form.gemv(a, problem, token * blocks * form.token_bytes, token)
        return form.quantize(problem), Step("product", a.program())

    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        batched = problem.batch_tokens >= _TOKENS_OF_GEMM
        return {
            "weights": form.pack(problem, codes),
            "inputs": bytes_of(activations.astype("<f4")),
            "constants": np.concatenate([value for _, value in constants(problem)]),
            "quantize": FOUR_TOKENS_CONSTANTS if batched else quantize_constants(form.values),
        }

    features = frozenset({"avx2", "avx512", "vnni", "vbmi"})
    known = form.name, features, LLAMA_CPP, steps, operands, float_results
    return CpuKernel(*known, weight_format=format_of(form.name.removesuffix("+repack").lower()))


_pack_q4_0 = packed_with_scales_of_one("q4_0")

_Q4_0 = _Repacked(
    "q4_0+repack",
    32,
    Q4_0X8_BYTES,
    Q8_0_BYTES,
    Q8_0X4_BYTES,
    Q4_0X8_CONSTANTS,
    quantize_q8_0,
    quantize_q8_0_of_four,
    write_q4_0_gemv,
    write_q4_0_gemm,
    lambda problem, codes: interleave_q4_0(_pack_q4_0(codes), problem),
)
_Q4_K = _Repacked(
    "q4_K+repack",
    256,
    Q4_KX8_BYTES,
    Q8_K_BYTES,
    Q8_KX4_BYTES,
    Q4_KX8_CONSTANTS,
    quantize_q8_k,
    quantize_q8_k_of_four,
    write_q4_k_gemv,
    write_q4_k_gemm,
    lambda problem, codes: interleave_q4_k(pack_q4_k(codes), problem),
)

GGML_REPACK_KERNELS = (_kernel(_Q4_0), _kernel(_Q4_K))
