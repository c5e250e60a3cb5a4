"""Activations of four tokens side by side, in turns of eight codes, for ggml's repacked weights.

    Q8_0 x 4   136 bytes for 32 inputs of each    4 float16 scales, 128 codes
    Q8_K x 4   1168 bytes for 256 inputs of each  4 float32 scales, 1024 codes, sums of 16 codes as int16: of 64 inputs
                                                  four of the first token, four of the second, and so on

Source: llama.cpp, ggml/src/ggml-cpu/arch/x86/repack.cpp, `ggml_quantize_mat_q8_0_4x8` and `.._q8_K_4x8`. In the latter
the sums are taken by horizontal additions here, and a scale is never negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem, Step
from sim.simd.kernels.ggml_driver import bytes_of, repeated
from sim.simd.kernels.reductions import horizontal_maximum
from sim.simd.program import Register

__all__ = ["FOUR_TOKENS_CONSTANTS", "Q8_0X4_BYTES", "Q8_KX4_BYTES", "quantize_q8_0_of_four", "quantize_q8_k_of_four"]

Bytes = NDArray[np.uint8]

Q8_0X4_BYTES, Q8_KX4_BYTES = 136, 1168
_TOKENS = 4
_SIGN, _ORDER, _ONES, _BY_TOKEN, _LEVELS, _ONE = 0, 32, 64, 96, 128, 132
FOUR_TOKENS_CONSTANTS: Bytes = np.concatenate(
    [
        repeated(-0.0, "<f4"),
        bytes_of(np.array([0, 4, 1, 5, 2, 6, 3, 7], "<u4")),
        repeated(1, "u1"),
        np.tile(np.array([0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15], np.uint8), 2),
        repeated(127.0, "<f4", 4),
        repeated(1.0, "<f4", 4),
    ]
)
_FLOAT16_BY_INTEGERS = 80
"""Instructions on integers with which four scales' bits are made."""


def _greatest(a: Assembler, values: list[Register], sign: Register) -> Register:
    """The greatest magnitude of some registers' numbers."""
    magnitudes = [a.op("vpandn", sign, value) for value in values]
    most = magnitudes[0]
    for other in magnitudes[1:]:
        most = a.op("vmaxps", most, other)
    return horizontal_maximum(a, most)


def _codes(a: Assembler, values: list[Register], inverses: list[Register], order: Register) -> Register:
    """Eight codes of each of four tokens."""
    scaled = [a.op("vmulps", value, inverse) for value, inverse in zip(values, inverses, strict=True)]
    integers = [a.op("vcvtps2dq", a.op("vrndscaleps", value, imm=0)) for value in scaled]
    words = [a.op("vpackssdw", *integers[place : place + 2]) for place in (0, 2)]
    return a.op("vpermd", order, a.op("vpacksswb", *words))


def _assembler(problem: Problem, name: str, blocks_bytes: int) -> Assembler:
    sizes = {"inputs": 4 * problem.k * problem.batch_tokens, "blocks": blocks_bytes}
    return Assembler(name, 32, sizes | {"quantize": len(FOUR_TOKENS_CONSTANTS)})


def quantize_q8_0_of_four(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"; tokens come by fours."""
    blocks, groups = problem.k // 32, problem.batch_tokens // _TOKENS
    a = _assembler(problem, "quantize Q8_0 of four tokens", groups * blocks * Q8_0X4_BYTES)
    sign, order = a.load("quantize", _SIGN), a.load("quantize", _ORDER)
    levels = a.load("quantize", _LEVELS, 4)
    with a.loop("group", groups) as group, a.loop("block", blocks, overhead=_FLOAT16_BY_INTEGERS) as block:
        place, target = group * (16 * problem.k) + block * 128, group * (blocks * Q8_0X4_BYTES) + block * Q8_0X4_BYTES
        values, inverses = list[list[Register]](), list[Register]()
        for token in range(_TOKENS):
            values.append([a.load("inputs", place + (4 * problem.k * token + 32 * part)) for part in range(4)])
            most = _greatest(a, values[-1], sign)
            scale = a.op("vcvtps2ph", a.op("vdivss", most, levels, size_bytes=4), size_bytes=4)
            a.store("blocks", target + 2 * token, scale, size_bytes=2)
            inverses.append(a.op("vbroadcastss", a.op("vdivss", levels, most, size_bytes=4)))
        for part in range(4):
            codes = _codes(a, [value[part] for value in values], inverses, order)
            a.store("blocks", target + (8 + 32 * part), codes)
    return Step("quantize", a.program())


def quantize_q8_k_of_four(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"; tokens come by fours."""
    blocks, groups = problem.k // 256, problem.batch_tokens // _TOKENS
    a = _assembler(problem, "quantize Q8_K of four tokens", groups * blocks * Q8_KX4_BYTES)
    sign, order, ones, by_token = (a.load("quantize", place) for place in (_SIGN, _ORDER, _ONES, _BY_TOKEN))
    levels, one = a.load("quantize", _LEVELS, 4), a.load("quantize", _ONE, 4)
    with a.loop("group", groups) as group, a.loop("block", blocks) as block:
        place, target = group * (16 * problem.k) + block * 1024, group * (blocks * Q8_KX4_BYTES) + block * Q8_KX4_BYTES
        values, inverses = list[list[Register]](), list[Register]()
        for token in range(_TOKENS):
            values.append([a.load("inputs", place + (4 * problem.k * token + 32 * part)) for part in range(32)])
            inverse = a.op("vdivss", levels, _greatest(a, values[-1], sign), size_bytes=4)
            a.store("blocks", target + 4 * token, a.op("vdivss", one, inverse, size_bytes=4))
            inverses.append(a.op("vbroadcastss", inverse))
        codes = [_codes(a, [value[part] for value in values], inverses, order) for part in range(32)]
        for part, each in enumerate(codes):
            a.store("blocks", target + (16 + 32 * part), each)
        for pair in range(4):
            sums = _sums_of_16(a, codes[8 * pair : 8 * pair + 8], ones, by_token)
            a.store("blocks", target + (1040 + 32 * pair), sums)
    return Step("quantize", a.program())


def _sums_of_16(a: Assembler, codes: list[Register], ones: Register, by_token: Register) -> Register:
    """Of 64 inputs of each token: four sums of the first token, and so on."""
    pairs = [a.op("vpmaddubsw", ones, each) for each in codes]
    fours = [a.op("vpaddw", *pairs[place : place + 2]) for place in range(0, 8, 2)]
    halves = [a.op("vphaddw", *fours[place : place + 2]) for place in (0, 2)]
    return a.op("vpshufb", a.op("vphaddw", *halves), by_token)
