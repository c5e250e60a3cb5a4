"""What kernels of ggml's CPU backend have in common: the tiles in which rows and tokens are taken, the call of a dot
product, and buffers.

A product first converts the activations to what the dot product wants. One token takes rows in order; more are taken in
tiles of 16 rows and 16 tokens, the rows of a tile one after the other for every token. Each pair is a call through a
pointer. (The public code collects 16 results before it copies them; here they go where they belong.)

Source: llama.cpp, ggml/src/ggml-cpu/ggml-cpu.c, `ggml_compute_forward_mul_mat` and `.._one_chunk`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

import sim.simd.x86
import sim.simd.x86_floats
import sim.simd.x86_permutes  # noqa: F401
from isa.packings import PACKINGS
from sim.simd.assembler import Assembler
from sim.simd.kernel import Problem
from sim.simd.program import Offset, Register

__all__ = [
    "LLAMA_CPP",
    "Dot",
    "bytes_of",
    "float_results",
    "format_of",
    "repeated",
    "tiles",
    "write_dots",
]

Bytes = NDArray[np.uint8]
Dot = Callable[[Assembler, Offset, Offset], Register]
"""Writes a dot product of a row of "weights" and a token, which begin at two offsets; its sum is the lowest float."""

LLAMA_CPP = "ggml-org/llama.cpp, ggml/src/ggml-cpu"

_TILE = 16
_CALL = 30
"""Instructions on integers around a dot product in GCC 12's code: 18 of the caller's loop, a call, 11 of its entry."""


def bytes_of(numbers: NDArray[np.generic]) -> Bytes:
    """Numbers as they lie in memory."""
    return np.ascontiguousarray(numbers).reshape(-1).view(np.uint8)


def repeated(value: float, dtype: str, size_bytes: int = 32) -> Bytes:
    """A register full of one number."""
    return bytes_of(np.full(size_bytes // np.dtype(dtype).itemsize, value, dtype))


def tiles(count: int, size: int) -> list[tuple[int, int, int]]:
    """First, number and size of tiles: whole ones, and one of what is left."""
    whole = [(0, count // size, size)] if count >= size else []
    return whole + ([(count - count % size, 1, count % size)] if count % size else [])


def write_dots(a: Assembler, problem: Problem, row_bytes: int, token_bytes: int, dot: Dot) -> None:
    """The whole product as dot products, to the buffer "sums" of float32 [batch_tokens, n_out]."""
    n, batch = problem.n_out, problem.batch_tokens
    if batch == 1:
        with a.loop("row", n, overhead=_CALL) as only_row:
            a.store("sums", only_row * 4, dot(a, only_row * row_bytes, Offset(0)), size_bytes=4)
        return
    for first_token, token_tiles, tokens in tiles(batch, _TILE):
        for first_row, row_tiles, rows in tiles(n, _TILE):
            with (
                a.loop("tokens", token_tiles) as token_tile,
                a.loop("rows", row_tiles) as row_tile,
                a.loop("token", tokens) as token_in_tile,
                a.loop("row", rows, overhead=_CALL) as row_in_tile,
            ):
                token = token_tile * _TILE + token_in_tile + first_token
                row = row_tile * _TILE + row_in_tile + first_row
                total = dot(a, row * row_bytes, token * token_bytes)
                a.store("sums", token * (4 * n) + row * 4, total, size_bytes=4)


def format_of(packing: str) -> str:
    """Number format of the codes in a packing of GGUF files; the packing's own name where that is one."""
    return PACKINGS[packing].format.name if packing in PACKINGS else packing


def float_results(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.float32]:
    """The buffer "sums" as float32 [batch_tokens, n_out]."""
    return memory["sums"].view("<f4").reshape(problem.batch_tokens, problem.n_out).astype(np.float32)
