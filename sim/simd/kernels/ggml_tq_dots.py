"""Dot products of ggml on AVX2 for ternary weights: TQ2_0 and TQ1_0, whose blocks of 256 have one scale, against
activations in Q8_K.

Codes are weight + 1 in both; what that adds is the sums of the activations, which are in their blocks. Products come to
sums of 16 bits, which hold eight pairs of them.

Source: llama.cpp, ggml/src/ggml-cpu/arch/x86/quants.c, `ggml_vec_dot_tq2_0_q8_K` and `.._tq1_0_q8_K`, as GCC 12
compiles them for Zen 4.
"""

from __future__ import annotations

import numpy as np

from sim.simd.assembler import Assembler
from sim.simd.kernels.ggml_dots import BlockDot, Constants, Registers, add_scaled, dot_kernel, packed_with_scales_of_one
from sim.simd.kernels.ggml_driver import bytes_of, repeated
from sim.simd.kernels.ggml_quantize import Q8_K_CODES, Q8_K_SUMS
from sim.simd.program import Offset, Register

__all__ = ["GGML_TQ_KERNELS"]


def _add_k_block(
    a: Assembler, products: list[Register], places: tuple[Offset, Offset, int], total: Register, ones: Register
) -> None:
    """Sums of 16 bits of a block, less those of the activations, to float32."""
    weights, inputs, scale_place = places
    sums = products[0]
    for product in products[1:]:
        sums = a.op("vpaddw", sums, product)
    sums = a.op("vpsubw", sums, memory=a.at("blocks", inputs + Q8_K_SUMS))
    scale = a.op("lookup_f16", a.load("weights", weights + scale_place, size_bytes=2), size_bytes=2)
    product = a.op("vmulss", scale, memory=a.at("blocks", inputs, 4), size_bytes=4)
    add_scaled(a, total, a.op("vpmaddwd", sums, ones), a.op("vbroadcastss", product))


def _tq2_0_block(a: Assembler, weights: Offset, inputs: Offset, totals: Registers, constants: Registers) -> None:
    products = []
    for quarter in range(8):
        packed = a.at("weights", weights + 32 * (quarter // 4))
        if quarter % 4:
            shifted = a.op("vpsrlw", memory=packed, imm=2 * (quarter % 4))
            codes = a.op("vpand", shifted, constants["code"])
        else:
            codes = a.op("vpand", constants["code"], memory=packed)
        place = inputs + (Q8_K_CODES + 32 * quarter)
        products.append(a.op("vpmaddubsw", codes, memory=a.at("blocks", place)))
    _add_k_block(a, products, (weights, inputs, 64), totals["codes"], constants["ones"])


def _trit(a: Assembler, packed: Register, constants: Registers) -> Register:
    """The most significant trit of a byte, floor(3 · byte / 256): by averages and a shift."""
    less = a.op("vpsubusb", packed, constants["one_byte"])
    averaged = a.op("vpavgb", less, a.op("vpavgb", less, constants["zero"]))
    return a.op("vpand", a.op("vpsrlw", averaged, imm=6), constants["code"])


def _tq1_0_block(a: Assembler, weights: Offset, inputs: Offset, totals: Registers, constants: Registers) -> None:
    """The trits of a byte come to its top as it is multiplied by 3, 9, 27 and 81."""
    low_bits = constants["upper_five"]
    first = a.load("weights", weights)
    powers = _powers(a, first, low_bits, 32)
    half = a.load("weights", weights + 32, size_bytes=16)
    parts = _powers(a, half, low_bits, 16)
    pairs = [a.op("vinserti128", parts[n], parts[n + 1], imm=1) for n in (0, 2)]
    four = a.op("vpbroadcastd", memory=a.at("weights", weights + 48, 4), size_bytes=16)
    words = a.op("vpand", a.op("vpmullw", a.op("vpmovzxbw", four), constants["powers"]), constants["low_bytes"])
    last = a.op("vpackuswb", words, a.op("vextracti128", words, imm=1), size_bytes=16)
    vectors = [*powers, *pairs, a.op("vinserti128", parts[4], last, imm=1)]
    products = []
    for number, packed in enumerate(vectors):
        place = a.at("blocks", inputs + (Q8_K_CODES + 32 * number))
        products.append(a.op("vpmaddubsw", _trit(a, packed, constants), memory=place))
    _add_k_block(a, products, (weights, inputs, 52), totals["codes"], constants["ones"])


def _powers(a: Assembler, packed: Register, mask: Register, size_bytes: int) -> list[Register]:
    """Bytes times 1, 3, 9, 27 and 81."""

    def nine_times(value: Register) -> Register:
        shifted = a.op("vpsllw", value, imm=3, size_bytes=size_bytes)
        return a.op("vpaddb", value, a.op("vpand", shifted, mask, size_bytes=size_bytes), size_bytes=size_bytes)

    twice = a.op("vpaddb", packed, packed, size_bytes=size_bytes)
    three = a.op("vpaddb", twice, packed, size_bytes=size_bytes)
    nine = nine_times(packed)
    return [packed, three, nine, nine_times(three), nine_times(nine)]


_TQ2_0_CONSTANTS: Constants = (("code", repeated(3, "u1")), ("ones", repeated(1, "<i2")))
_TQ1_0_CONSTANTS: Constants = (
    *_TQ2_0_CONSTANTS,
    ("zero", repeated(0, "u1")),
    ("one_byte", repeated(1, "u1")),
    ("upper_five", repeated(0xF8, "u1")),
    ("low_bytes", repeated(0xFF, "<u2")),
    ("powers", bytes_of(np.repeat(np.array([1, 3, 9, 27], "<u2"), 4))),
)

_TQ2_0 = BlockDot("tq2_0", 256, 66, packed_with_scales_of_one("tq2_0"), _TQ2_0_CONSTANTS, _tq2_0_block, overhead=4)
_TQ1_0 = BlockDot("tq1_0", 256, 54, packed_with_scales_of_one("tq1_0"), _TQ1_0_CONSTANTS, _tq1_0_block, overhead=4)

GGML_TQ_KERNELS = (dot_kernel(_TQ2_0), dot_kernel(_TQ1_0))
