"""IQ2_BN and IQ2_BN_R4 of ik_llama.cpp on AVX2 and AVX-512 VNNI: two-bit codes, weight + 1, under a scale a row.

    IQ2_BN     a row is its float32 scale, then 16 bytes for 64 weights: byte j holds weights j, j + 16, j + 32, j + 48
               from the lowest bits up
    IQ2_BN_R4  four rows are four scales, then 64 bytes for 64 weights of each: of 32 weights, byte (l, r, j) of
               (2, 4, 4) holds weights 16 l + j, + 4, + 8, + 12 of row r

Rows are taken in tiles of 64, within which groups of up to eight tokens share the unpacked weights.

Source: ik_llama.cpp, ggml/src/iqk/iqk_gemm_1bit.cpp (`mul_mat_iq2bn_q8_K64`, `mul_mat_iq2_bn_r4_q8_k16`) and
iqk_mul_mat.cpp (`mul_mat_NxM`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.ggml_driver import bytes_of, float_results, repeated, tiles
from sim.simd.kernels.ik_quantize import K16_HEAD, K64_HEAD, QUANTIZE_CONSTANTS, quantize_k16, quantize_k64
from sim.simd.kernels.reductions import horizontal_sum
from sim.simd.program import Offset, Register

__all__ = ["IK_KERNELS"]

Bytes = NDArray[np.uint8]
Int8 = NDArray[np.int8]

_BLOCK = 64
_SCALE_BYTES = 4
_TILE_ROWS = 64
_MOST_TOKENS = 8
_CODE_MASK, _ONES = 0, 64
_CONSTANTS = np.concatenate([repeated(3, "u1", 64), repeated(1, "<i2")])
_SOURCE = "ikawrakow/ik_llama.cpp, ggml/src/iqk/iqk_gemm_1bit.cpp"


def _groups(tokens: int) -> list[tuple[int, int, int]]:
    """First token, number and size of groups of at most eight, as equal as they can be."""
    count = -(-tokens // _MOST_TOKENS)
    size, larger = divmod(tokens, count)
    found = [(0, larger, size + 1), (larger * (size + 1), count - larger, size)]
    return [group for group in found if group[1]]


Group = Callable[[Assembler, Problem, Offset, Offset, int], None]
"""Writes the products of some rows, from a row on, with some tokens, from a token on, and how many."""


def _write_tiles(a: Assembler, problem: Problem, rows: int, group: Group) -> None:
    """The whole product, so many rows at a time."""
    if problem.batch_tokens == 1:
        with a.loop("rows", problem.n_out // rows, overhead=8) as number:
            group(a, problem, number * rows, Offset(0), 1)
        return
    for first_row, row_tiles, tile in tiles(problem.n_out, _TILE_ROWS):
        with a.loop("tile", row_tiles) as row_tile:
            for first_token, count, tokens in _groups(problem.batch_tokens):
                with a.loop("group", count) as token_group, a.loop("rows", tile // rows, overhead=8) as number:
                    row = row_tile * _TILE_ROWS + number * rows + first_row
                    group(a, problem, row, token_group * tokens + first_token, tokens)


def _quarters_of_128(a: Assembler, place: Offset, mask: Register) -> list[Register]:
    """Codes of 128 weights, 32 in each vector."""
    packed = a.load("weights", place)
    shifted = a.op("vpsrlw", packed, imm=2)
    found = []
    for halves in (0x20, 0x31):
        both = a.op("vperm2i128", packed, shifted, imm=halves)
        found += [a.op("vpand", both, mask), a.op("vpand", a.op("vpsrlw", both, imm=4), mask)]
    return found


def _halves_of_64(a: Assembler, place: Offset, mask: Register) -> list[Register]:
    """Codes of 64 weights, 32 in each vector."""
    packed = a.load("weights", place, size_bytes=16)
    both = a.op("vinserti128", packed, a.op("vpsrlw", packed, imm=2, size_bytes=16), imm=1)
    return [a.op("vpand", both, mask), a.op("vpand", a.op("vpsrlw", both, imm=4), mask)]


def _row_with_tokens(a: Assembler, problem: Problem, row: Offset, token: Offset, tokens: int) -> None:
    k, n = problem.k, problem.n_out
    weights, inputs = row * (_SCALE_BYTES + k // 4), token * (K64_HEAD + k)
    mask = a.load("constants", _CODE_MASK)
    totals = [[a.op("zero") for _ in range(2 if tokens == 1 else 1)] for _ in range(tokens)]

    def add(codes: list[Register], place: Offset) -> None:
        for number, sums in enumerate(totals):
            for part, code in enumerate(codes):
                total = sums[part // 2 % len(sums)]
                memory = a.at("blocks", place + (number * (K64_HEAD + k) + 32 * part))
                a.into(total, "vpdpbusd", total, code, memory=memory)

    with a.loop("block", k // 128) as block:
        codes = _quarters_of_128(a, weights + block * 32 + _SCALE_BYTES, mask)
        add(codes, inputs + block * 128 + K64_HEAD)
    if k % 128:
        blocks = k // 128
        codes = _halves_of_64(a, weights + (blocks * 32 + _SCALE_BYTES), mask)
        add(codes, inputs + (blocks * 128 + K64_HEAD))
    for number, sums in enumerate(totals):
        total = sums[0] if len(sums) == 1 else a.op("vpaddd", *sums)
        four = a.op("vpaddd", total, a.op("vextracti128", total, imm=1), size_bytes=16)
        head = inputs + number * (K64_HEAD + k)
        scales, minus = a.load("blocks", head, size_bytes=16), a.load("blocks", head + 16, size_bytes=16)
        a.into(minus, "vfmsub231ps", minus, scales, a.op("vcvtdq2ps", four, size_bytes=16), size_bytes=16)
        scale = a.at("weights", weights, 4)
        product = a.op("vmulss", horizontal_sum(a, minus), memory=scale, size_bytes=4)
        a.store("sums", token * (4 * n) + row * 4 + 4 * n * number, product)


def _fields(a: Assembler, packed: Register, mask: Register) -> list[Register]:
    shifted = [a.op("vpsrlw", packed, imm=2 * field) for field in (1, 2, 3)]
    return [a.op("vpand", value, mask) for value in (packed, *shifted)]


def _finish_four_rows(a: Assembler, parts: list[Register], scales: Register, head: Offset, target: Offset) -> None:
    """Four rows' sums, apart by the scale of the inputs: one after the other, less the inputs' sum."""
    inputs = a.load("blocks", head, size_bytes=16)
    factors = [a.op("vpermilps", inputs, imm=0b01010101 * number, size_bytes=16) for number in range(len(parts))]
    factors = [a.op("vmulps", scales, factor, size_bytes=16) for factor in factors]
    total = a.op("vmulps", parts[0], factors[0], size_bytes=16)
    for part, factor in zip(parts[1:], factors[1:], strict=True):
        a.into(total, "vfmadd231ps", total, part, factor, size_bytes=16)
    a.into(total, "vfnmadd231ps", total, scales, a.load("blocks", head + 16, size_bytes=4), size_bytes=16)
    a.store("sums", target, total, size_bytes=16)


def _four_rows_with_a_token(a: Assembler, problem: Problem, row: Offset, token: Offset) -> None:
    k = problem.k
    weights, inputs = row * (_SCALE_BYTES + k // 4), token * (K16_HEAD + k)
    mask, ones = a.load("constants", _CODE_MASK), a.load("constants", _ONES)
    scales = a.load("weights", weights, size_bytes=16)
    totals = [a.op("zero") for _ in range(2)]
    with a.loop("block", k // _BLOCK) as block:
        for half, total in enumerate(totals):
            fields = _fields(a, a.load("weights", weights + block * _BLOCK + (16 + 32 * half)), mask)
            activations = a.load("blocks", inputs + block * _BLOCK + (K16_HEAD + 32 * half))
            products = [
                a.op("vpmaddubsw", field, a.op("vpshufd", activations, imm=0b01010101 * number))
                for number, field in enumerate(fields)
            ]
            sums = a.op("vpaddw", a.op("vpaddw", *products[:2]), a.op("vpaddw", *products[2:]))
            a.into(total, "vpaddd", total, a.op("vpmaddwd", ones, sums))
    parts = []
    for total in totals:
        numbers = a.op("vcvtdq2ps", total)
        parts += [a.op("lower_half", numbers, size_bytes=16), a.op("vextractf128", numbers, imm=1)]
    _finish_four_rows(a, parts, scales, inputs, token * (4 * problem.n_out) + row * 4)


def _eight_rows_with_tokens(a: Assembler, problem: Problem, row: Offset, token: Offset, tokens: int) -> None:
    k, wide = problem.k, 64
    row_bytes = _SCALE_BYTES + k // 4
    weights, inputs = row * row_bytes, token * (K16_HEAD + k)
    mask = a.load("constants", _CODE_MASK, size_bytes=wide)
    scales = [a.load("weights", weights + 4 * four * row_bytes, size_bytes=16) for four in range(2)]
    totals = [[a.op("zero", size_bytes=wide) for _ in range(2)] for _ in range(tokens)]
    with a.loop("block", k // _BLOCK) as block:
        fields = []
        for four in range(2):
            packed = a.load("weights", weights + block * _BLOCK + (16 + 4 * four * row_bytes), size_bytes=wide)
            shifted = [a.op("vpsrlw", packed, imm=2 * field, size_bytes=wide) for field in (1, 2, 3)]
            fields.append([a.op("vpand", value, mask, size_bytes=wide) for value in (packed, *shifted)])
        for number, sums in enumerate(totals):
            place = inputs + block * _BLOCK + (K16_HEAD + number * (K16_HEAD + k))
            activations = a.load("blocks", place, size_bytes=wide)
            for field in range(4):
                four_inputs = a.op("vpshufd", activations, imm=0b01010101 * field, size_bytes=wide)
                for four, total in enumerate(sums):
                    a.into(total, "vpdpbusd", total, fields[four][field], four_inputs, size_bytes=wide)
    for number, sums in enumerate(totals):
        for four, total in enumerate(sums):
            numbers = a.op("vcvtdq2ps", total, size_bytes=wide)
            parts = [a.op("lower_half", numbers, size_bytes=16)]
            parts += [a.op("vextracti32x4", numbers, imm=part, size_bytes=wide) for part in (1, 2, 3)]
            target = token * (4 * problem.n_out) + row * 4 + (4 * problem.n_out * number + 16 * four)
            _finish_four_rows(a, parts, scales[four], inputs + number * (K16_HEAD + k), target)


def _rows_of_four(a: Assembler, problem: Problem, row: Offset, token: Offset, tokens: int) -> None:
    if tokens == 1:
        _four_rows_with_a_token(a, problem, row, token)
    else:
        _eight_rows_with_tokens(a, problem, row, token, tokens)


def _pack(codes: Int8) -> Bytes:
    """Rows of IQ2_BN under scales of 1."""
    rows = codes.shape[0]
    fields = (codes.reshape(rows, -1, 4, 16) + 1).astype(np.uint8) << (2 * np.arange(4, dtype=np.uint8)[:, None])
    packed = np.bitwise_or.reduce(fields, axis=2).reshape(rows, -1)
    return np.hstack([np.tile(bytes_of(np.ones(1, "<f4")), (rows, 1)), packed]).reshape(-1)


def _pack_four_rows(codes: Int8) -> Bytes:
    """Rows of IQ2_BN_R4 under scales of 1."""
    fours = codes.shape[0] // 4
    fields = (codes.reshape(fours, 4, -1, 2, 4, 4) + 1).astype(np.uint8)
    shifted = fields << (2 * np.arange(4, dtype=np.uint8)[:, None])
    packed = np.bitwise_or.reduce(shifted, axis=4).transpose(0, 2, 3, 1, 4).reshape(fours, -1)
    return np.hstack([np.tile(bytes_of(np.ones(4, "<f4")), (fours, 1)), packed]).reshape(-1)


def _kernel(
    name: str,
    rows: Callable[[int], int],
    quantize: Callable[[Problem], Step],
    head: int,
    group: Group,
    pack: Callable[[Int8], Bytes],
) -> CpuKernel:
    """`rows` is how many are taken together, by the number of tokens."""

    def steps(problem: Problem) -> tuple[Step, ...]:
        k, n, batch = problem.k, problem.n_out, problem.batch_tokens
        together = rows(batch)
        if k % _BLOCK or n % together:
            expected = f"rows of a multiple of {_BLOCK} weights, and a multiple of {together} rows"
            raise ValueError(f"{name} takes {expected}, found {n} x {k}")
        sizes = {"weights": n * (_SCALE_BYTES + k // 4), "blocks": batch * (head + k), "sums": 4 * n * batch}
        a = Assembler(name, 32, sizes | {"constants": len(_CONSTANTS)})
        _write_tiles(a, problem, together, group)
        return quantize(problem), Step("product", a.program())

    def operands(problem: Problem, codes: Int8, activations: NDArray[Any]) -> Mapping[str, Bytes]:
        del problem
        inputs = bytes_of(activations.astype("<f4"))
        return {"weights": pack(codes), "inputs": inputs, "constants": _CONSTANTS, "quantize": QUANTIZE_CONSTANTS}

    return CpuKernel(name, frozenset({"avx2", "fma", "avx512", "vnni"}), _SOURCE, steps, operands, float_results)


IK_KERNELS = (
    _kernel("ik:iq2_bn", lambda _: 1, quantize_k64, K64_HEAD, _row_with_tokens, _pack),
    _kernel(
        "ik:iq2_bn_r4", lambda tokens: 4 if tokens == 1 else 8, quantize_k16, K16_HEAD, _rows_of_four, _pack_four_rows
    ),
)
