"""Activations as the BitNet kernels of ik_llama.cpp want them, on AVX2: int8 with four scales a token.

    Q8_K64   32 bytes, then the codes   4 scales, 4 times a scale with its codes' sum; input i has scale i / 4 mod 4
    Q8_K16   20 bytes, then the codes   4 scales, the sum of the inputs; input i has scale i / 16 mod 4

A scale of 0 means that all its inputs are 0; their codes do not matter then.

Source: ik_llama.cpp, ggml/src/iqk/iqk_quantize.cpp, `quantize_row_q8_K64_ref` and `quantize_row_q8_K16`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem, Step
from sim.simd.kernels.ggml_driver import bytes_of, repeated
from sim.simd.kernels.reductions import horizontal_maximum, horizontal_sum
from sim.simd.program import Offset, Register

__all__ = ["K16_HEAD", "K64_HEAD", "QUANTIZE_CONSTANTS", "quantize_k16", "quantize_k64"]

Bytes = NDArray[np.uint8]

K64_HEAD, K16_HEAD = 32, 20
_SCALES = 4
_SIGN, _ONE_BYTES, _ONE_WORDS, _ORDER, _LEVELS, _ONE = 0, 32, 48, 64, 96, 100
QUANTIZE_CONSTANTS: Bytes = np.concatenate(
    [
        repeated(-0.0, "<f4"),
        repeated(1, "u1", 16),
        repeated(1, "<i2", 16),
        bytes_of(np.array([0, 4, 1, 5, 2, 6, 3, 7], "<u4")),
        repeated(127.0, "<f4", 4),
        repeated(1.0, "<f4", 4),
    ]
)


def _assembler(problem: Problem, name: str, head: int, vector_bytes: int) -> Assembler:
    count, k = problem.batch_tokens, problem.k
    sizes = {"inputs": 4 * count * k, "blocks": count * (head + k), "quantize": len(QUANTIZE_CONSTANTS)}
    return Assembler(name, vector_bytes, sizes)


def _inverses(a: Assembler, maxima: list[Register], head: Offset) -> list[Register]:
    """Scales go to memory; what inputs are multiplied with fills registers."""
    levels, one = a.load("quantize", _LEVELS, 4), a.load("quantize", _ONE, 4)
    found = []
    for number, most in enumerate(maxima):
        scale = a.op("vdivss", horizontal_maximum(a, most), levels, size_bytes=4)
        a.store("blocks", head + 4 * number, scale)
        found.append(a.op("vbroadcastss", a.op("vdivss", one, scale, size_bytes=4)))
    return found


def _codes(a: Assembler, inverse: Register, place: Offset) -> Register:
    scaled = a.op("vmulps", inverse, memory=a.at("inputs", place))
    return a.op("vcvtps2dq", a.op("vrndscaleps", scaled, imm=0))


def quantize_k64(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"."""
    k = problem.k
    a = _assembler(problem, "quantize Q8_K64", K64_HEAD, 16)
    sign, one_bytes, one_words = (a.load("quantize", place) for place in (_SIGN, _ONE_BYTES, _ONE_WORDS))
    with a.loop("token", problem.batch_tokens) as token:
        inputs, head = token * (4 * k), token * (K64_HEAD + k)
        maxima = [a.op("zero") for _ in range(_SCALES)]
        with a.loop("sixteen", k // 16) as number:
            for part, most in enumerate(maxima):
                magnitude = a.op("vpandn", sign, memory=a.at("inputs", inputs + number * 64 + 16 * part))
                a.into(most, "vmaxps", most, magnitude)
        inverses = _inverses(a, maxima, head)
        sums = a.op("zero")
        with a.loop("sixteen", k // 16) as number:
            codes = [_codes(a, each, inputs + number * 64 + 16 * part) for part, each in enumerate(inverses)]
            packed = a.op("vpacksswb", a.op("vpackssdw", *codes[:2]), a.op("vpackssdw", *codes[2:]))
            pairs = a.op("vpmaddubsw", one_bytes, packed)
            a.into(sums, "vpaddd", sums, a.op("vpmaddwd", one_words, pairs))
            a.store("blocks", head + number * 16 + K64_HEAD, packed)
        scaled = a.op("vmulps", a.op("vcvtdq2ps", sums), memory=a.at("blocks", head))
        a.store("blocks", head + 16, scaled)
    return Step("quantize", a.program())


def quantize_k16(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"."""
    k = problem.k
    a = _assembler(problem, "quantize Q8_K16", K16_HEAD, 32)
    sign, order = a.load("quantize", _SIGN), a.load("quantize", _ORDER)
    with a.loop("token", problem.batch_tokens) as token:
        inputs, head = token * (4 * k), token * (K16_HEAD + k)
        maxima, sums = [a.op("zero") for _ in range(_SCALES)], [a.op("zero") for _ in range(_SCALES)]
        with a.loop("block", k // 64) as number:
            for part in range(_SCALES):
                values = [a.load("inputs", inputs + number * 256 + (64 * part + 32 * half)) for half in range(2)]
                a.into(sums[part], "vaddps", sums[part], a.op("vaddps", *values))
                greater = a.op("vmaxps", *(a.op("vpandn", sign, value) for value in values))
                a.into(maxima[part], "vmaxps", maxima[part], greater)
        pairs = [a.op("vaddps", *sums[:2]), a.op("vaddps", *sums[2:])]
        a.store("blocks", head + 16, horizontal_sum(a, a.op("vaddps", *pairs)), size_bytes=4)
        inverses = _inverses(a, maxima, head)
        with a.loop("block", k // 64) as number:
            place = inputs + number * 256
            codes = [_codes(a, inverses[eight // 2], place + 32 * eight) for eight in range(8)]
            for half in range(2):
                words = [a.op("vpackssdw", *codes[4 * half + two : 4 * half + two + 2]) for two in (0, 2)]
                packed = a.op("vpermd", order, a.op("vpacksswb", *words))
                a.store("blocks", head + number * 64 + (K16_HEAD + 32 * half), packed)
    return Step("quantize", a.program())
