"""Q6_K, in which heads and embeddings of GGUF files often are: its layout, and its dot product on AVX2 with activations
in Q8_K.

A block of 256 weights d · scale · (code - 32) has an int8 scale for every 16 (`isa.packings.ggml_k`). The 32 are taken
off again by products with the activations, as the codes are unsigned.

Source: llama.cpp, ggml/src/ggml-cpu/arch/x86/quants.c, `ggml_vec_dot_q6_K_q8_K` on AVX2, as GCC 12 compiles it without
AVX-512 instructions, but for registers that are kept on the stack there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_dots import BlockDot, dot_kernel
from sim.simd.kernels.ggml_driver import bytes_of, repeated
from sim.simd.kernels.ggml_quantize import Q8_K_CODES
from sim.simd.kernels.ggml_quantize_avx2 import QUANTIZE_CONSTANTS, quantize_q8_k_on_avx2
from sim.simd.program import Offset, Register

__all__ = ["GGML_Q6_K_KERNELS", "Q6_K_BYTES", "Q6_K_HIGH", "Q6_K_SCALE", "Q6_K_SCALES", "pack_q6_k"]

Bytes = NDArray[np.uint8]
Registers = Mapping[str, Register]

Q6_K_BYTES, Q6_K_HIGH, Q6_K_SCALES, Q6_K_SCALE = 210, 128, 192, 208
"""Bytes of a block; where its high bits, its scales and their scale begin."""


def pack_q6_k(codes: NDArray[np.int8]) -> Bytes:
    """Codes -32 to 31 [n_out, k] as Q6_K: stored as code + 32 under scales of 1."""
    blocks = np.zeros((codes.size // 256, Q6_K_BYTES), np.uint8)
    fields = (codes.reshape(-1, 2, 4, 32) + 32).astype(np.uint8)
    low, high = fields & np.uint8(15), fields >> np.uint8(4)
    blocks[:, :Q6_K_HIGH] = (low[:, :, :2] | low[:, :, 2:] << np.uint8(4)).reshape(-1, 128)
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    blocks[:, Q6_K_HIGH:Q6_K_SCALES] = (high << shifts).sum(axis=2, dtype=np.uint8).reshape(-1, 64)
    blocks[:, Q6_K_SCALES:Q6_K_SCALE] = 1
    blocks[:, Q6_K_SCALE:] = bytes_of(np.ones(1, "<f2"))
    return blocks.reshape(-1)


def _codes(a: Assembler, weights: Offset, half: int, field: int, high: Register, constants: Registers) -> Register:
    """32 unsigned codes: their low four bits from the lower nibbles (fields 0 and 1) or the upper."""
    packed = weights + (64 * half + 32 * (field % 2))
    if field < 2:
        low = a.op("vpand", constants["nibble"], memory=a.at("weights", packed))
    else:
        low = a.op("vpand", a.op("vpsrlw", a.load("weights", packed), imm=4), constants["nibble"])
    bits = a.op("vpand", a.op("vpsrlw", high, imm=2 * field) if field else high, constants["high_bits"])
    return a.op("vpor", low, a.op("vpsllw", bits, imm=4))


def _block(a: Assembler, weights: Offset, inputs: Offset, totals: Registers, constants: Registers) -> None:
    pattern = a.load("weights", weights + Q6_K_SCALE, size_bytes=2)
    factor = a.op("vmulss", a.op("lookup_f16", pattern, size_bytes=2), a.load("blocks", inputs, 4), size_bytes=4)
    scales = a.load("weights", weights + Q6_K_SCALES, size_bytes=16)
    parts = list[Register]()
    for half in range(2):
        high = a.load("weights", weights + (Q6_K_HIGH + 32 * half))
        for field in range(4):
            values = a.at("blocks", inputs + (Q8_K_CODES + 128 * half + 32 * field))
            codes = _codes(a, weights, half, field, high, constants)
            offset = a.op("vpmaddubsw", constants["offset"], memory=values)
            products = a.op("vpsubw", a.op("vpmaddubsw", codes, memory=values), offset)
            spread = a.op("vpshufb", scales, constants[f"spread_{4 * half + field}"], size_bytes=16)
            parts.append(a.op("vpmaddwd", a.op("vpmovsxbw", spread), products))
    total, *others = [a.op("vpaddd", *parts[number : number + 2]) for number in range(0, len(parts), 2)]
    for other in others:
        total = a.op("vpaddd", total, other)
    scale = a.op("vbroadcastss", factor)
    a.into(totals["codes"], "vfmadd231ps", totals["codes"], scale, a.op("vcvtdq2ps", total))


_SPREADS = tuple((f"spread_{pair}", np.repeat(np.array([2 * pair, 2 * pair + 1], np.uint8), 8)) for pair in range(8))
_Q6_K = BlockDot(
    "q6_K",
    256,
    Q6_K_BYTES,
    pack_q6_k,
    (("nibble", repeated(15, "u1")), ("high_bits", repeated(3, "u1")), ("offset", repeated(32, "u1")), *_SPREADS),
    _block,
    overhead=4,
)


def _on_avx2(kernel: CpuKernel) -> CpuKernel:
    """The same product of activations that AVX2 quantizes."""

    def steps(problem: Problem) -> tuple[Step, ...]:
        _, product = kernel.steps(problem)
        return quantize_q8_k_on_avx2(problem), product

    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        return {**kernel.operands(problem, codes, activations), "quantize": QUANTIZE_CONSTANTS}

    return replace(kernel, features=frozenset({"avx2", "fma"}), steps=steps, operands=operands)


GGML_Q6_K_KERNELS = (_on_avx2(dot_kernel(_Q6_K)),)
