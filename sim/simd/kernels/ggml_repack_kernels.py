"""ggml's kernels of repacked weights, as `CpuKernel`s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_dots import Constants, packed_with_scales_of_one
from sim.simd.kernels.ggml_driver import LLAMA_CPP, bytes_of, float_results
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

__all__ = ["GGML_REPACK_KERNELS"]

Bytes = NDArray[np.uint8]
Gemv = Callable[[Assembler, Problem, int, int], None]


def _kernel(
    name: str,
    values: int,
    sizes: tuple[int, int],
    gemv: Gemv,
    pack: Callable[[Problem, NDArray[np.int8]], Bytes],
    constants: Constants,
) -> CpuKernel:
    """`sizes` are the bytes of eight rows' blocks and of a block of activations."""
    rows_bytes, input_bytes = sizes
    quantize = quantize_q8_0 if values == 32 else quantize_q8_k

    def steps(problem: Problem) -> tuple[Step, ...]:
        if problem.k % values or problem.n_out % ROWS:
            expected = f"rows of a multiple of {values} weights, and a multiple of {ROWS} rows"
            raise ValueError(f"{name} takes {expected}, found {problem.n_out} x {problem.k}")
        blocks, n, batch = problem.k // values, problem.n_out, problem.batch_tokens
        sizes = {"weights": n // ROWS * blocks * rows_bytes, "blocks": batch * blocks * input_bytes}
        constants_bytes = sum(len(value) for _, value in constants)
        a = Assembler(name, 32, sizes | {"sums": 4 * n * batch, "constants": constants_bytes})
        for token in range(batch):
            gemv(a, problem, token * blocks * input_bytes, token)
        return quantize(problem), Step("product", a.program())

    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        return {
            "weights": pack(problem, codes),
            "inputs": bytes_of(activations.astype("<f4")),
            "constants": np.concatenate([value for _, value in constants]),
            "quantize": quantize_constants(values),
        }

    return CpuKernel(name, frozenset({"avx2", "avx512", "vnni", "vbmi"}), LLAMA_CPP, steps, operands, float_results)


_pack_q4_0 = packed_with_scales_of_one("q4_0")

GGML_REPACK_KERNELS = (
    _kernel(
        "q4_0+repack",
        32,
        (Q4_0X8_BYTES, Q8_0_BYTES),
        write_q4_0_gemv,
        lambda problem, codes: interleave_q4_0(_pack_q4_0(codes), problem),
        Q4_0X8_CONSTANTS,
    ),
    _kernel(
        "q4_K+repack",
        256,
        (Q4_KX8_BYTES, Q8_K_BYTES),
        write_q4_k_gemv,
        lambda problem, codes: interleave_q4_k(pack_q4_k(codes), problem),
        Q4_KX8_CONSTANTS,
    ),
)
