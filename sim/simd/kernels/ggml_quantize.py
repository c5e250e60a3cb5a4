"""Activations as ggml's dot products want them: float32 to blocks of int8 with a scale, on AVX2 and AVX-512.

    Q8_0   34 bytes for 32    float16 scale = max |x| / 127, 32 codes
    Q8_K   292 bytes for 256  float32 scale = -1 · (x of the greatest |x|) / 127, 256 codes, sums of 16 codes as int16

A block of zeros has the scale 0 here as there; its codes, which the public code sets to 0, do not matter then.

Source: llama.cpp, `quantize_row_q8_0` (ggml/src/ggml-cpu/arch/x86/quants.c), and `quantize_row_q8_K_ref`
(ggml/src/ggml-quants.c) as GCC 12 vectorizes it for Zen 4: the search for the maximum one by one, the sums by sorting
the codes by their place modulo 16.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem, Step
from sim.simd.kernels.ggml_driver import bytes_of, repeated
from sim.simd.kernels.reductions import horizontal_maximum
from sim.simd.program import Offset, Register

__all__ = [
    "Q8_0_BYTES",
    "Q8_0_VALUES",
    "Q8_K_BYTES",
    "Q8_K_CODES",
    "Q8_K_SUMS",
    "Q8_K_VALUES",
    "of_greatest_magnitude",
    "quantize_constants",
    "quantize_q8_0",
    "quantize_q8_k",
]

Bytes = NDArray[np.uint8]

Q8_0_VALUES, Q8_0_BYTES = 32, 34
Q8_K_VALUES, Q8_K_BYTES, Q8_K_CODES, Q8_K_SUMS = 256, 292, 4, 260

_LEVELS = 127.0
_ROUNDING = 12582912.0
"""1.5 · 2^23: added to a small number, it leaves the nearest integer in the lowest bits."""
_FLOAT16_BY_INTEGERS = 22
"""Instructions on integers with which the scale's bits are made, and the loop's own."""

_Q8_0_CONSTANTS = (
    ("levels", repeated(_LEVELS, "<f4", 4)),
    ("sign", repeated(-0.0, "<f4")),
    ("order", bytes_of(np.array([0, 4, 1, 5, 2, 6, 3, 7], "<u4"))),
)
_EVEN = np.arange(0, 32, 2, dtype=np.uint8)
_Q8_K_CONSTANTS = (
    ("levels", repeated(-_LEVELS, "<f4", 4)),
    ("one", repeated(1.0, "<f4", 4)),
    ("magnitude", repeated(0x7FFFFFFF, "<i4", 4)),
    ("rounding", repeated(_ROUNDING, "<f4", 64)),
    ("mantissa", repeated(0x7FFFFF, "<i4", 64)),
    ("offset", repeated(-0x400000, "<i4", 64)),
    ("most", repeated(127, "<i4", 64)),
    ("words", bytes_of(np.arange(0, 64, 2, dtype="<u2"))),
    ("bytes", np.arange(0, 128, 2, dtype=np.uint8)),
    ("even", _EVEN),
    ("odd", _EVEN + np.uint8(1)),
)


def quantize_constants(block: int) -> Bytes:
    """Contents of the buffer "quantize" for blocks of so many values."""
    return np.concatenate([value for _, value in (_Q8_0_CONSTANTS if block == Q8_0_VALUES else _Q8_K_CONSTANTS)])


def _loaded(a: Assembler, constants: tuple[tuple[str, Bytes], ...]) -> dict[str, Register]:
    found, offset = dict[str, Register](), 0
    for name, value in constants:
        found[name] = a.load("quantize", offset, len(value))
        offset += len(value)
    return found


def quantize_q8_0(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"."""
    count = problem.k * problem.batch_tokens // Q8_0_VALUES
    sizes = {"inputs": 128 * count, "blocks": Q8_0_BYTES * count, "quantize": len(quantize_constants(Q8_0_VALUES))}
    a = Assembler("quantize Q8_0", 32, sizes)
    constants = _loaded(a, _Q8_0_CONSTANTS)
    with a.loop("block", count, overhead=_FLOAT16_BY_INTEGERS) as block:
        values = [a.load("inputs", block * 128 + 32 * part) for part in range(4)]
        magnitudes = [a.op("vpandn", constants["sign"], value) for value in values]
        most = magnitudes[0]
        for other in magnitudes[1:]:
            most = a.op("vmaxps", most, other)
        greatest = horizontal_maximum(a, most)
        scale = a.op("vdivss", greatest, constants["levels"], size_bytes=4)
        a.store("blocks", block * Q8_0_BYTES, a.op("vcvtps2ph", scale, size_bytes=4), size_bytes=2)
        inverse = a.op("vbroadcastss", a.op("vdivss", constants["levels"], greatest, size_bytes=4))
        scaled = [a.op("vmulps", value, inverse) for value in values]
        codes = [a.op("vcvtps2dq", a.op("vrndscaleps", value, imm=0)) for value in scaled]
        words = [a.op("vpackssdw", *codes[place : place + 2]) for place in (0, 2)]
        a.store("blocks", block * Q8_0_BYTES + 2, a.op("vpermd", constants["order"], a.op("vpacksswb", *words)))
    return Step("quantize", a.program())


def quantize_q8_k(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"."""
    count = problem.k * problem.batch_tokens // Q8_K_VALUES
    constants_bytes = len(quantize_constants(Q8_K_VALUES))
    a = Assembler("quantize Q8_K", 64, {"inputs": 1024 * count, "blocks": 292 * count, "quantize": constants_bytes})
    constants = _loaded(a, _Q8_K_CONSTANTS)
    with a.loop("block", count) as block:
        inputs, target = block * 1024, block * Q8_K_BYTES
        inverse = a.op("vdivss", constants["levels"], of_greatest_magnitude(a, inputs, constants), size_bytes=4)
        codes = _rounded(a, inputs, a.op("vbroadcastss", inverse), constants)
        for number, each in enumerate(codes):
            a.store("blocks", target + (Q8_K_CODES + 64 * number), each)
        for half, sums in enumerate(_sums_of_16(a, codes, constants)):
            a.store("blocks", target + (Q8_K_SUMS + 16 * half), sums)
        a.store("blocks", target, a.op("vdivss", constants["one"], inverse, size_bytes=4))
    return Step("quantize", a.program())


def of_greatest_magnitude(a: Assembler, inputs: Offset, constants: Mapping[str, Register]) -> Register:
    """The first of 256 numbers of the greatest magnitude, found one by one; a constant masks the sign off."""
    most, found = a.op("zero", size_bytes=4), a.op("zero", size_bytes=4)
    with a.loop("number", Q8_K_VALUES) as number:
        value = a.load("inputs", inputs + number * 4, 4)
        magnitude = a.op("vpand", value, constants["magnitude"], size_bytes=4)
        greater = a.op("vcmpltss", most, magnitude, size_bytes=4)
        a.into(most, "vmaxss", magnitude, most, size_bytes=4)
        a.into(found, "vblendvps", found, value, greater, size_bytes=4)
    return found


def _rounded(a: Assembler, inputs: Offset, inverse: Register, constants: dict[str, Register]) -> list[Register]:
    """256 codes in four registers."""
    integers = []
    for number in range(16):
        value = a.op("vfmadd132ps", inverse, constants["rounding"], memory=a.at("inputs", inputs + 64 * number))
        mantissa = a.op("vpaddd", a.op("vpand", value, constants["mantissa"]), constants["offset"])
        integers.append(a.op("vpminsd", mantissa, constants["most"]))
    words = [a.op("vpermt2w", integers[n], constants["words"], integers[n + 1]) for n in range(0, 16, 2)]
    return [a.op("vpermt2b", words[n], constants["bytes"], words[n + 1]) for n in range(0, 8, 2)]


def _sums_of_16(a: Assembler, codes: list[Register], constants: dict[str, Register]) -> list[Register]:
    """Sums of 16 neighbours, eight in each of two registers: what is at the same place modulo 16 comes together."""
    sorted_codes = [
        a.op("vextracti32x4", each, imm=part) if part else a.op("lower_half", each, size_bytes=16)
        for each in codes
        for part in range(4)
    ]
    for _ in range(4):
        pairs = list(zip(sorted_codes[::2], sorted_codes[1::2], strict=True))
        sorted_codes = [
            a.op("vpermt2b", low, constants[parity], high, size_bytes=16)
            for parity in ("even", "odd")
            for low, high in pairs
        ]
    halves = []
    for half in range(2):
        parts = [a.op("vpsrldq", each, imm=8, size_bytes=16) if half else each for each in sorted_codes]
        total, *others = [a.op("vpmovsxbw", part, size_bytes=16) for part in parts]
        for other in others:
            total = a.op("vpaddw", total, other, size_bytes=16)
        halves.append(total)
    return halves
