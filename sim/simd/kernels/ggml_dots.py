"""Kernels of ggml that are dot products over blocks of weights and activations; of these Q8_0 and Q4_0 on VNNI.

Weights are those of `isa.packings.ggml`; they meet activations in Q8_0, the K-quants and ternary ones in Q8_K. A
block's sum is exact in integers and comes to the others in float32, times both scales. Float16 scales are looked up in
a table.

Source: llama.cpp, ggml/src/ggml-cpu/arch/x86/quants.c, `ggml_vec_dot_*`, as GCC 12 compiles it for Zen 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.formats import Operand
from isa.packings import PACKINGS
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_driver import LLAMA_CPP, Dot, bytes_of, float_results, horizontal_sum, repeated, write_dots
from sim.simd.kernels.ggml_quantize import (
    Q8_0_BYTES,
    Q8_0_VALUES,
    Q8_K_BYTES,
    quantize_constants,
    quantize_q8_0,
    quantize_q8_k,
)
from sim.simd.kernels.ggml_sgemm import BlockFormat, write_block_tiles
from sim.simd.program import Offset, Register

__all__ = [
    "GGML_DOT_KERNELS",
    "Constants",
    "Registers",
    "add_scaled",
    "dot_kernel",
    "load_constants",
    "packed_with_scales_of_one",
]

Bytes = NDArray[np.uint8]
Constants = tuple[tuple[str, Bytes], ...]
Registers = Mapping[str, Register]
Block = Callable[[Assembler, Offset, Offset, Registers, Registers], None]
"""Writes a block's part of a dot product: places of both blocks, the totals that it adds to, and constants."""
Finish = Callable[[Assembler, Registers], Register]
"""Writes the sum of the totals."""
Codes = Callable[[Assembler, Offset, Registers], Register]
"""Writes the signed codes of a block: its place, and constants."""


_ONE_TOTAL: Mapping[str, int] = {"codes": 32}


@dataclass(frozen=True)
class _Sizes:
    """Bytes of a block of weights, of one of activations, and of each total."""

    weights: int
    inputs: int
    totals: Mapping[str, int]


def _signed_products(a: Assembler, codes: Register, inputs: Register) -> Register:
    """Sums of four products of signed bytes: the magnitude of one times the other with its sign."""
    total = a.op("zero")
    magnitude, with_sign = a.op("vpsignb", codes, codes), a.op("vpsignb", inputs, codes)
    return a.into(total, "vpdpbusd", total, magnitude, with_sign)


def add_scaled(a: Assembler, total: Register, integers: Register, scale: Register) -> None:
    a.into(total, "vfmadd231ps", total, a.op("vcvtdq2ps", integers), scale)


def _q8_0_codes(a: Assembler, place: Offset, _: Registers) -> Register:
    return a.load("weights", place + 2)


def _q4_0_codes(a: Assembler, place: Offset, constants: Registers) -> Register:
    low = a.load("weights", place + 2, size_bytes=16)
    high = a.op("vpsrlw", memory=a.at("weights", place + 2, 16), imm=4, size_bytes=16)
    nibbles = a.op("vpand", a.op("vinserti128", low, high, imm=1), constants["nibble"])
    return a.op("vpaddb", nibbles, constants["minus_8"])


def _of_signed_codes(codes: Codes) -> Block:
    def block(a: Assembler, weights: Offset, inputs: Offset, totals: Registers, constants: Registers) -> None:
        signed, activations = codes(a, weights, constants), a.load("blocks", inputs + 2)
        pattern = a.load("weights", weights, size_bytes=2)
        scale = a.op("lookup_f16", pattern, size_bytes=2)
        other = a.op("lookup_f16", a.load("blocks", inputs, size_bytes=2), size_bytes=2)
        factor = a.op("vbroadcastss", a.op("vmulss", scale, other, size_bytes=4))
        add_scaled(a, totals["codes"], _signed_products(a, signed, activations), factor)

    return block


def _sum_of_codes(a: Assembler, totals: Registers) -> Register:
    return horizontal_sum(a, totals["codes"])


def _dot_of_blocks(form: _Form, count: int, input_bytes: int) -> Dot:
    """A dot product as a loop over blocks."""

    def dot(a: Assembler, weights: Offset, inputs: Offset) -> Register:
        loaded = load_constants(a, constants)
        totals = {name: a.op("zero", size_bytes=width) for name, width in sizes.totals.items()}
        with a.loop("block", count) as number:
            block(a, weights + number * sizes.weights, inputs + number * sizes.inputs, totals, loaded)
        return finish(a, totals)

    return dot


def load_constants(a: Assembler, constants: Constants) -> dict[str, Register]:
    """The registers that a dot product begins with."""
    loaded, offset = dict[str, Register](), 0
    for name, value in constants:
        loaded[name] = a.load("constants", offset, len(value)) if value.any() else a.op("zero", size_bytes=len(value))
        offset += len(value)
    return loaded


def dot_kernel(
    name: str,
    block: Block,
    values: int,
    block_bytes: int,
    pack: Callable[[NDArray[np.int8]], Bytes],
    constants: Constants,
    totals: Mapping[str, int] = _ONE_TOTAL,
    finish: Finish = _sum_of_codes,
    tiled: Codes | None = None,
) -> CpuKernel:
    """A kernel of dot products over blocks of so many values, of activations in Q8_0 or (256 values) Q8_K; with several
    tokens, of tiles of four rows, if their codes are given.
    """
    input_bytes, quantize = (Q8_0_BYTES, quantize_q8_0) if values == Q8_0_VALUES else (Q8_K_BYTES, quantize_q8_k)

    def steps(problem: Problem) -> tuple[Step, ...]:
        if problem.k % values:
            raise ValueError(f"{name} takes rows of a multiple of {values} weights, found {problem.k}")
        k, n, batch = problem.k, problem.n_out, problem.batch_tokens
        row_bytes, token_bytes = k // values * block_bytes, k // values * input_bytes
        sizes = {"weights": n * row_bytes, "blocks": batch * token_bytes, "sums": 4 * n * batch}
        a = Assembler(name, 32, sizes | {"constants": sum(len(value) for _, value in constants)})
        if batch > 1 and tiled is not None:
            if n % 4:
                raise ValueError(f"{name} takes a multiple of 4 rows with several tokens, found {n}")
            write_block_tiles(a, problem, BlockFormat(block_bytes, input_bytes, tiled), load_constants(a, constants))
        else:
            dot = _dot_of_blocks(block, finish, k // values, _Sizes(block_bytes, input_bytes, totals), constants)
            write_dots(a, problem, row_bytes, token_bytes, dot)
        return quantize(problem), Step("product", a.program())

    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        del problem
        return {
            "weights": pack(codes),
            "inputs": bytes_of(activations.astype("<f4")),
            "constants": np.concatenate([np.zeros(0, np.uint8), *(value for _, value in constants)]),
            "quantize": quantize_constants(values),
        }

    return CpuKernel(name, frozenset({"avx2", "avx512", "vnni", "vbmi"}), LLAMA_CPP, steps, operands, float_results)


def packed_with_scales_of_one(name: str) -> Callable[[NDArray[np.int8]], Bytes]:
    """Codes in a packing of GGUF files, all scales 1."""
    packing = PACKINGS[name]

    def pack(codes: NDArray[np.int8]) -> Bytes:
        scales = np.ones(packing.format.scale_shape(*codes.shape), np.float32)
        return packing.pack(Operand(codes, scales, packing.format))

    return pack


GGML_DOT_KERNELS = (
    dot_kernel("q8_0", _of_signed_codes(_q8_0_codes), 32, 34, packed_with_scales_of_one("q8_0"), (), tiled=_q8_0_codes),
    dot_kernel(
        "q4_0",
        _of_signed_codes(_q4_0_codes),
        32,
        18,
        packed_with_scales_of_one("q4_0"),
        (("nibble", repeated(15, "u1")), ("minus_8", repeated(-8, "i1"))),
        tiled=_q4_0_codes,
    ),
)
