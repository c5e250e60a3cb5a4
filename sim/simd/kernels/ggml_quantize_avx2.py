"""Activations in Q8_K on AVX2 alone; blocks are those of `ggml_quantize`, and the values the same.

Source: llama.cpp, `quantize_row_q8_K_ref` (ggml/src/ggml-quants.c) as GCC 12 vectorizes it for AVX2: the search for the
maximum one by one, the sums by sorting the codes by their place modulo 16 with masks, shifts and packs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem, Step
from sim.simd.kernels.ggml_driver import repeated
from sim.simd.kernels.ggml_quantize import Q8_K_BYTES, Q8_K_CODES, Q8_K_SUMS, Q8_K_VALUES, of_greatest_magnitude
from sim.simd.program import Offset, Register

__all__ = ["QUANTIZE_CONSTANTS", "quantize_q8_k_on_avx2"]

Constants = Mapping[str, Register]

_ROUNDING = 12582912.0
"""1.5 · 2^23: added to a small number, it leaves the nearest integer in the lowest bits."""
_VALUES_BYTES = 4 * Q8_K_VALUES
_IN_ORDER = 0b11011000
"""Packs work within lanes of 16 bytes: this exchanges the middle quarters."""
_CONSTANTS = (
    ("levels", repeated(-127.0, "<f4", 4)),
    ("one", repeated(1.0, "<f4", 4)),
    ("magnitude", repeated(0x7FFFFFFF, "<i4", 4)),
    ("rounding", repeated(_ROUNDING, "<f4")),
    ("mantissa", repeated(0x7FFFFF, "<i4")),
    ("offset", repeated(-0x400000, "<i4")),
    ("most", repeated(127, "<i4")),
    ("low_word", repeated(0xFFFF, "<i4")),
    ("low_byte", repeated(0xFF, "<i2")),
)

QUANTIZE_CONSTANTS: NDArray[np.uint8] = np.concatenate([value for _, value in _CONSTANTS])
"""Contents of the buffer "quantize"."""


def quantize_q8_k_on_avx2(problem: Problem) -> Step:
    """From the buffer "inputs" of float32 to "blocks"."""
    count = problem.k * problem.batch_tokens // Q8_K_VALUES
    sizes = {"inputs": _VALUES_BYTES * count, "blocks": Q8_K_BYTES * count, "quantize": len(QUANTIZE_CONSTANTS)}
    a = Assembler("quantize Q8_K on AVX2", 32, sizes)
    constants, place = dict[str, Register](), 0
    for name, value in _CONSTANTS:
        constants[name] = a.load("quantize", place, len(value))
        place += len(value)
    with a.loop("block", count) as block:
        inputs, target = block * _VALUES_BYTES, block * Q8_K_BYTES
        inverse = a.op("vdivss", constants["levels"], of_greatest_magnitude(a, inputs, constants), size_bytes=4)
        codes = _rounded(a, inputs, a.op("vbroadcastss", inverse), constants)
        for number, each in enumerate(codes):
            a.store("blocks", target + (Q8_K_CODES + 32 * number), each)
        for half, sums in enumerate(_sums_of_16(a, codes, constants)):
            a.store("blocks", target + (Q8_K_SUMS + 16 * half), sums)
        a.store("blocks", target, a.op("vdivss", constants["one"], inverse, size_bytes=4))
    return Step("quantize", a.program())


def _rounded(a: Assembler, inputs: Offset, inverse: Register, constants: Constants) -> list[Register]:
    """256 codes in eight registers."""
    integers = []
    for number in range(32):
        value = a.op("vfmadd132ps", inverse, constants["rounding"], memory=a.at("inputs", inputs + 32 * number))
        mantissa = a.op("vpaddd", a.op("vpand", value, constants["mantissa"]), constants["offset"])
        integers.append(a.op("vpand", a.op("vpminsd", mantissa, constants["most"]), constants["low_word"]))
    words = [a.op("vpand", each, constants["low_byte"]) for each in _packed(a, "vpackusdw", integers)]
    return _packed(a, "vpackuswb", words)


def _packed(a: Assembler, name: str, values: Sequence[Register]) -> list[Register]:
    """Pairs of registers in one, in order."""
    pairs = zip(values[::2], values[1::2], strict=True)
    return [a.op("vpermq", a.op(name, *pair), imm=_IN_ORDER) for pair in pairs]


def _sums_of_16(a: Assembler, codes: Sequence[Register], constants: Constants) -> list[Register]:
    """Sums of 16 neighbours, eight in each of two registers: what is at the same place modulo 16 comes together."""
    ordered = [
        a.op("vextracti128", each, imm=1) if part else a.op("lower_half", each, size_bytes=16)
        for each in codes
        for part in range(2)
    ]
    for _ in range(4):
        even = [a.op("vpand", each, constants["low_byte"], size_bytes=16) for each in ordered]
        odd = [a.op("vpsrlw", each, imm=8, size_bytes=16) for each in ordered]
        ordered = [
            a.op("vpackuswb", *values[number : number + 2], size_bytes=16)
            for values in (even, odd)
            for number in range(0, len(values), 2)
        ]
    halves = []
    for half in range(2):
        parts = [a.op("vpsrldq", each, imm=8, size_bytes=16) if half else each for each in ordered]
        total, *others = [a.op("vpmovsxbw", part, size_bytes=16) for part in parts]
        for other in others:
            total = a.op("vpaddw", total, other, size_bytes=16)
        halves.append(total)
    return halves
