"""Activations as ggml's dot products want them on NEON: float32 to blocks of int8 with a scale, or to float16.

    Q8_0   34 bytes for 32    float16 scale = max |x| / 127, 32 codes
    Q8_K   292 bytes for 256  float32 scale = -1 · (x of the greatest |x|) / 127, 256 codes, sums of 16 codes as int16

A block of zeros has codes 0 here as there: what is no number becomes 0 as an integer.

Source: llama.cpp, `quantize_row_q8_0` (ggml/src/ggml-cpu/arch/arm/quants.c), which stores codes from the lanes;
`quantize_row_q8_K_ref` (ggml/src/ggml-quants.c), whose search goes one by one and whose other loops are vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem, Step
from sim.simd.kernels.ggml_driver import repeated
from sim.simd.program import Offset, Register

__all__ = [
    "Q8_0_BYTES",
    "Q8_K_BYTES",
    "Q8_K_CODES",
    "Q8_K_SUMS",
    "quantize_constants",
    "quantize_f16",
    "quantize_q8_0",
    "quantize_q8_k",
]

Bytes = NDArray[np.uint8]

Q8_0_BYTES, _Q8_0_VALUES = 34, 32
Q8_K_BYTES, Q8_K_CODES, Q8_K_SUMS, _Q8_K_VALUES = 292, 4, 260, 256

_LEVELS = 127.0


def quantize_constants() -> dict[str, Bytes]:
    """Constants by buffer."""
    return {
        "levels": repeated(_LEVELS, "<f4", 4),
        "minus_levels": repeated(-_LEVELS, "<f4", 4),
        "one": repeated(1.0, "<f4", 4),
        "most": repeated(127, "<i4", 16),
    }


def _assembler(problem: Problem, name: str, blocks_bytes: int) -> Assembler:
    constants = {constant: len(contents) for constant, contents in quantize_constants().items()}
    sizes = {"inputs": 4 * problem.k * problem.batch_tokens, "blocks": blocks_bytes}
    return Assembler(name, 16, sizes | constants)


def quantize_f16(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks" of float16."""
    count = problem.k * problem.batch_tokens
    a = _assembler(problem, "convert to float16", 2 * count)
    with a.loop("four", count // 4) as four:
        a.store("blocks", four * 8, a.op("fcvtn", a.load("inputs", four * 16)))
    return Step("quantize", a.program())


def quantize_q8_0(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"."""
    count = problem.k * problem.batch_tokens // _Q8_0_VALUES
    a = _assembler(problem, "quantize Q8_0", Q8_0_BYTES * count)
    levels, one = a.load("levels", 0, 4), a.load("one", 0, 4)
    with a.loop("block", count) as block:
        values = [a.load("inputs", block * 128 + 16 * part) for part in range(8)]
        most = [a.op("fabs.32", value) for value in values]
        while len(most) > 1:
            most = [a.op("fmax.32", *pair) for pair in zip(most[0::2], most[1::2], strict=True)]
        scale = a.op("fdiv.32", a.op("fmaxv.32", most[0]), levels, size_bytes=4)
        inverse = a.op("fdiv.32", one, scale, size_bytes=4)
        a.store("blocks", block * Q8_0_BYTES, a.op("fcvt.32", scale, size_bytes=4), size_bytes=2)
        for part, value in enumerate(values):
            codes = a.op("fcvtns.32", a.op("fmul.32", value, inverse))
            for lane in range(4):
                code = a.op("dup.32", codes, imm=lane) if lane else codes
                a.store("blocks", block * Q8_0_BYTES + (2 + 4 * part + lane), code, size_bytes=1)
    return Step("quantize", a.program())


def quantize_q8_k(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"."""
    count = problem.k * problem.batch_tokens // _Q8_K_VALUES
    a = _assembler(problem, "quantize Q8_K", Q8_K_BYTES * count)
    levels, one, most = a.load("minus_levels", 0, 4), a.load("one", 0, 4), a.load("most", 0)
    with a.loop("block", count) as block:
        greatest = _of_greatest_magnitude(a, block * (4 * _Q8_K_VALUES))
        inverse = a.op("fdiv.32", levels, greatest, size_bytes=4)
        with a.loop("sixteen", _Q8_K_VALUES // 16) as sixteen:
            words = list[Register]()
            for part in range(4):
                values = a.load("inputs", block * (4 * _Q8_K_VALUES) + sixteen * 64 + 16 * part)
                codes = a.op("fcvtns.32", a.op("fmul.32", values, inverse))
                words.append(a.op("smin.32", codes, most))
            pairs = [a.op("uzp1.16", *words[half : half + 2]) for half in (0, 2)]
            packed = a.op("uzp1.8", *pairs)
            a.store("blocks", block * Q8_K_BYTES + sixteen * 16 + Q8_K_CODES, packed)
            a.store("blocks", block * Q8_K_BYTES + sixteen * 2 + Q8_K_SUMS, a.op("saddlv.8", packed))
        a.store("blocks", block * Q8_K_BYTES, a.op("fdiv.32", one, inverse, size_bytes=4))
    return Step("quantize", a.program())


def _of_greatest_magnitude(a: Assembler, inputs: Offset) -> Register:
    """The first number of the greatest magnitude, found one by one."""
    most, found = a.op("movi", size_bytes=4), a.op("movi", size_bytes=4)
    with a.loop("number", _Q8_K_VALUES) as number:
        value = a.load("inputs", inputs + number * 4, size_bytes=4)
        magnitude = a.op("fabs.32", value, size_bytes=4)
        greater = a.op("fcmgt.32", magnitude, most, size_bytes=4)
        a.into(found, "bsl", greater, value, found, size_bytes=4)
        a.into(most, "fmax.32", most, magnitude, size_bytes=4)
    return found
