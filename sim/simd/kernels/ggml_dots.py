"""Kernels of ggml that are dot products over blocks of weights and activations; of these Q8_0 and Q4_0 on VNNI.

Weights are those of `isa.packings.ggml`; they meet activations in Q8_0, the K-quants and ternary ones in Q8_K. A
block's sum is exact in integers and comes to the others in float32, times both scales. Float16 scales are looked up in
a table.

Source: llama.cpp, ggml/src/ggml-cpu/arch/x86/quants.c, `ggml_vec_dot_*`, as GCC 12 compiles it for Zen 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.formats import Operand
from isa.packings import PACKINGS
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_driver import LLAMA_CPP, Dot, bytes_of, float_results, format_of, repeated, write_dots
from sim.simd.kernels.ggml_quantize import (
    Q8_0_BYTES,
    Q8_0_VALUES,
    Q8_K_BYTES,
    quantize_constants,
    quantize_q8_0,
    quantize_q8_k,
)
from sim.simd.kernels.ggml_sgemm import BlockFormat, write_block_tiles
from sim.simd.kernels.ggml_tiled import TRANSPOSE_CONSTANTS, TiledFormat, is_tiled, scratch_bytes, write_tiled
from sim.simd.kernels.reductions import horizontal_sum
from sim.simd.program import Offset, Register

__all__ = [
    "GGML_DOT_KERNELS",
    "BlockDot",
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


def _sum_of_codes(a: Assembler, totals: Registers) -> Register:
    return horizontal_sum(a, totals["codes"])


@dataclass(frozen=True)
class BlockDot:
    """A kernel whose rows are blocks.

    Parameters
    ----------
    name : str
    values, block_bytes : int
        Of a block of weights. Activations are in Q8_0 if a block has 32, in Q8_K if it has 256.
    pack : function
        Codes [n_out, k] as bytes, under scales of 1.
    constants : tuple of (str, bytes)
    block : function
        Writes a block's part of a dot product.
    overhead : int
        Instructions on integers of a turn, as GCC 12 has them.
    totals : mapping of str to int
        Registers that blocks add to, and their bytes.
    finish : function
        Writes the sum of the totals.
    tiled : function, optional
        Writes a block's codes, of a format that is taken in tiles of four rows with several tokens.
    windows : TiledFormat, optional
        Of a format that is taken in windows with more than 16 tokens.
    """

    name: str
    values: int
    block_bytes: int
    pack: Callable[[NDArray[np.int8]], Bytes]
    constants: Constants
    block: Block
    overhead: int
    totals: Mapping[str, int] = field(default_factory=lambda: {"codes": 32})
    finish: Finish = _sum_of_codes
    tiled: Codes | None = None
    windows: TiledFormat | None = None

    @property
    def input_bytes(self) -> int:
        """Of a block of activations."""
        return Q8_0_BYTES if self.values == Q8_0_VALUES else Q8_K_BYTES


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


def _dot(form: BlockDot, k: int) -> Dot:
    """A dot product as a loop over blocks."""

    def dot(a: Assembler, weights: Offset, inputs: Offset) -> Register:
        loaded = load_constants(a, form.constants)
        totals = {name: a.op("zero", size_bytes=width) for name, width in form.totals.items()}
        with a.loop("block", k // form.values, overhead=form.overhead) as number:
            places = weights + number * form.block_bytes, inputs + number * form.input_bytes
            form.block(a, *places, totals, loaded)
        return form.finish(a, totals)

    return dot


def load_constants(a: Assembler, constants: Constants) -> dict[str, Register]:
    """The registers that a dot product begins with."""
    loaded, offset = dict[str, Register](), 0
    for name, value in constants:
        loaded[name] = a.load("constants", offset, len(value)) if value.any() else a.op("zero", size_bytes=len(value))
        offset += len(value)
    return loaded


def _write_product(a: Assembler, problem: Problem, form: BlockDot) -> None:
    blocks = problem.k // form.values
    if form.windows is not None and is_tiled(problem):
        write_tiled(a, problem, form.windows)
        return
    if problem.batch_tokens == 1 or form.tiled is None:
        write_dots(a, problem, blocks * form.block_bytes, blocks * form.input_bytes, _dot(form, problem.k))
        return
    if problem.n_out % 4:
        raise ValueError(f"{form.name} takes a multiple of 4 rows with several tokens, found {problem.n_out}")
    tile = BlockFormat(form.block_bytes, form.input_bytes, form.tiled)
    write_block_tiles(a, problem, tile, load_constants(a, form.constants))


def dot_kernel(form: BlockDot) -> CpuKernel:
    """The kernel: activations are quantized, then multiplied."""

    def steps(problem: Problem) -> tuple[Step, ...]:
        if problem.k % form.values:
            raise ValueError(f"{form.name} takes rows of a multiple of {form.values} weights, found {problem.k}")
        blocks, n, batch = problem.k // form.values, problem.n_out, problem.batch_tokens
        sizes = {"weights": n * blocks * form.block_bytes, "blocks": batch * blocks * form.input_bytes}
        constants_bytes = sum(len(value) for _, value in form.constants)
        sizes |= {"sums": 4 * n * batch, "constants": constants_bytes}
        if form.windows is not None and is_tiled(problem):
            sizes |= scratch_bytes(problem, form.windows) | {"transpose": len(TRANSPOSE_CONSTANTS)}
        a = Assembler(form.name, 32, sizes)
        _write_product(a, problem, form)
        quantize = quantize_q8_0 if form.values == Q8_0_VALUES else quantize_q8_k
        return quantize(problem), Step("product", a.program())

    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        del problem
        return {
            "weights": form.pack(codes),
            "inputs": bytes_of(activations.astype("<f4")),
            "constants": np.concatenate([np.zeros(0, np.uint8), *(value for _, value in form.constants)]),
            "quantize": quantize_constants(form.values),
            "transpose": TRANSPOSE_CONSTANTS,
        }

    features = frozenset({"avx2", "fma", "avx512", "vnni", "vbmi"})
    known = form.name, features, LLAMA_CPP, steps, operands, float_results
    return CpuKernel(*known, weight_format=format_of(form.name.lower()))


def packed_with_scales_of_one(name: str) -> Callable[[NDArray[np.int8]], Bytes]:
    """Codes in a packing of GGUF files, all scales 1."""
    packing = PACKINGS[name]

    def pack(codes: NDArray[np.int8]) -> Bytes:
        scales = np.ones(packing.format.scale_shape(*codes.shape), np.float32)
        return packing.pack(Operand(codes, scales, packing.format))

    return pack


_Q4_0_CONSTANTS: Constants = (("nibble", repeated(15, "u1")), ("minus_8", repeated(-8, "i1")))
_Q8_0 = BlockDot(
    "q8_0", 32, 34, packed_with_scales_of_one("q8_0"), (), _of_signed_codes(_q8_0_codes), overhead=3, tiled=_q8_0_codes
)
_Q4_0 = BlockDot(
    "q4_0",
    32,
    18,
    packed_with_scales_of_one("q4_0"),
    _Q4_0_CONSTANTS,
    _of_signed_codes(_q4_0_codes),
    overhead=4,
    tiled=_q4_0_codes,
)

GGML_DOT_KERNELS = (dot_kernel(_Q8_0), dot_kernel(_Q4_0))
