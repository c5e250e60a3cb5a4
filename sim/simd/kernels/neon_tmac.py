"""T-MAC on NEON: weights of 2 or 4 bits as planes of signs, four of which look up a sum of activations in a table of 16
bytes.

    T-MAC b2 NEON         one scale for all entries of a token; neighbours are added in 16 bits, tiles in 32: exact sums
    T-MAC b2 NEON fast    a scale for 64 activations, whose entries are averaged in bytes by a tree of srhadd: low bits
                          are lost. Outputs are added up in float16, as publicly

and the same of 4 bits.

Layout, tiles and the way a plane's sums follow each other are those of `tmac`; tables are made in `neon_tmac_tables`.

Source: microsoft/T-MAC, `python/t_mac/intrins/tbl.cc` on ARM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.simd.neon
import sim.simd.neon_floats  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.neon_tmac_tables import GROUP, TILE_INPUTS, table_constants, table_steps
from sim.simd.kernels.tmac import pack_planes
from sim.simd.program import Offset, Register

__all__ = ["NEON_TMAC_KERNELS"]

Bytes = NDArray[np.uint8]

_TILE_BITS = (256, 128, 64, 32)
_STRIP_BITS = 32
_TABLES = TILE_INPUTS // GROUP
_OUTPUTS = 8


@dataclass(frozen=True)
class _Variant:
    """A member of the family."""

    bits: int
    fast: bool

    @property
    def name(self) -> str:
        """As tables of it are headed."""
        return f"T-MAC b{self.bits} NEON" + (" fast" if self.fast else "")

    @property
    def sum_bytes(self) -> int:
        """Of a sum of a plane: float16 or int32."""
        return 2 if self.fast else 4

    def tile_bits(self, problem: Problem) -> int:
        """Rows of planes of a tile; ValueError if the problem has none."""
        for tile in _TILE_BITS:
            if problem.n_out * self.bits % tile == 0 and problem.k % TILE_INPUTS == 0:
                return tile
        rows, sizes = _STRIP_BITS // self.bits, f"{problem.n_out} x {problem.k}"
        raise ValueError(f"{self.name} takes a multiple of {rows} rows of {TILE_INPUTS} weights, found {sizes}")


def _sizes(variant: _Variant, problem: Problem) -> dict[str, int]:
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    scales = batch * (k // TILE_INPUTS if variant.fast else 1)
    return {
        "weights": n * k * variant.bits // 8,
        "activations": 2 * batch * k,
        "tables": batch * k // GROUP * 16,
        "scales": 2 * scales,
        "biases": 2 * scales,
        "sums": variant.sum_bytes * batch * n * variant.bits,
        "outputs": variant.sum_bytes * batch * n,
    } | {name: len(contents) for name, contents in _constants(variant).items()}


def _constants(variant: _Variant) -> Mapping[str, Bytes]:
    shares = np.exp2(np.arange(variant.bits) - 1.0)
    return table_constants(variant.fast, variant.bits) | {
        "nibbles": np.full(16, 15, np.uint8),
        "weight_scale": np.ones(1, "<f2").view(np.uint8),
        "shares": shares.astype(f"<f{variant.sum_bytes}").view(np.uint8),
    }


class _Product:
    """Writes the program of a product."""

    def __init__(self, variant: _Variant, problem: Problem) -> None:
        self._variant, self._problem = variant, problem
        self._a = a = Assembler(f"{variant.name} lookups", 16, _sizes(variant, problem))
        self._nibbles = a.load("nibbles", 0)

    def program(self) -> Step:
        """Tiles of rows, the tables of 64 activations within, strips of 32 rows of planes within these."""
        a, problem, size, bits = self._a, self._problem, self._variant.sum_bytes, self._variant.bits
        tile_bits = self._variant.tile_bits(problem)
        steps, strips, batch = problem.k // TILE_INPUTS, tile_bits // _STRIP_BITS, problem.batch_tokens
        token_bytes = size * problem.n_out * bits
        with a.loop("row_tile", problem.n_out * bits // tile_bits) as tile:
            first, zero = tile * (size * tile_bits), a.op("movi")
            with a.loop("cleared", batch) as token, a.loop("vector", size * tile_bits // 16, overhead=0) as vector:
                a.store("sums", first + token * token_bytes + vector * 16, zero)
            with a.loop("step", steps) as step, a.loop("token", batch) as token:
                tables = token * (problem.k // GROUP * 16) + step * (_TABLES * 16)
                held = [a.load("tables", tables + 16 * number) for number in range(_TABLES)]
                scales = self._scales(token * (2 * steps) + step * 2)
                with a.loop("strip", strips) as strip:
                    place = tile * (steps * strips * 256) + step * (strips * 256) + strip * 256
                    self._strip(place, held, scales, first + token * token_bytes + strip * (size * _STRIP_BITS))
            with a.loop("token", batch) as token:
                self._outputs(tile * (size * tile_bits // bits) + token * (size * problem.n_out), tile_bits, token * 2)
        return Step("product", a.program())

    def _scales(self, place: Offset) -> tuple[Register, ...]:
        """Of entries, what is added to the first plane, and of weights."""
        if not self._variant.fast:
            return ()
        a = self._a
        bias = a.op("ld1r.16", memory=a.at("biases", place, 2))
        return a.load("scales", place, size_bytes=2), bias, a.load("weight_scale", 0, size_bytes=2)

    def _strip(self, place: Offset, tables: Sequence[Register], scales: tuple[Register, ...], target: Offset) -> None:
        """The lower nibbles are the first 16 rows."""
        a = self._a
        entries: tuple[list[Register], list[Register]] = ([], [])
        for number, table in enumerate(tables):
            packed = a.load("weights", place + 16 * number)
            indices = (a.op("and.8", packed, self._nibbles), a.op("ushr.8", packed, imm=4))
            for half, index in zip(entries, indices, strict=True):
                half.append(a.op("tbl", table, index))
        for side, half in enumerate(entries):
            for number, words in enumerate(self._averaged(half) if self._variant.fast else self._added(half), 2 * side):
                place = target + number * (_OUTPUTS * self._variant.sum_bytes)
                if scales:
                    self._add_floats(words, number % self._variant.bits, scales, place)
                else:
                    self._add_integers(words, place)

    def _added(self, entries: Sequence[Register]) -> list[Register]:
        """Sums of 16 bits, of neighbours first."""
        totals = list[Register]()
        for name in ("saddl", "saddl2"):
            pairs = [self._a.op(name, *entries[number : number + 2]) for number in range(0, _TABLES, 2)]
            total = pairs[0]
            for pair in pairs[1:]:
                total = self._a.op("add.16", total, pair)
            totals.append(total)
        return totals

    def _averaged(self, entries: Sequence[Register]) -> list[Register]:
        level = list(entries)
        while len(level) > 1:
            level = [self._a.op("srhadd", *pair) for pair in zip(level[0::2], level[1::2], strict=True)]
        return [self._a.op(name, level[0]) for name in ("sxtl", "sxtl2")]

    def _add_integers(self, words: Register, target: Offset) -> None:
        for half, name in enumerate(("saddw", "saddw2")):
            place = target + 16 * half
            self._a.store("sums", place, self._a.op(name, self._a.load("sums", place), words))

    def _add_floats(self, words: Register, plane: int, scales: tuple[Register, ...], target: Offset) -> None:
        a = self._a
        scale, bias, weight_scale = scales
        floats = a.op("scvtf.16", words)
        scaled = a.op("fmul.16", floats, scale) if plane else a.op("fmla.16", bias, floats, scale)
        a.store("sums", target, a.op("fmla.16", a.load("sums", target), scaled, weight_scale))

    def _outputs(self, place: Offset, tile_bits: int, token: Offset) -> None:
        """Half of the first plane, the second, twice the third and so on, and a scale where one is left to apply."""
        a, size, bits = self._a, self._variant.sum_bytes, self._variant.bits
        shares = {plane: a.load("shares", size * plane, size_bytes=size) for plane in range(bits) if plane != 1}
        finals = () if self._variant.fast else self._final_scales(token)
        with a.loop("eight", tile_bits // bits // _OUTPUTS, overhead=1) as eight:
            for vector in range(_OUTPUTS * size // 16):
                first = place * bits + eight * (_OUTPUTS * size * bits) + 16 * vector
                planes = [a.load("sums", first + _OUTPUTS * size * plane) for plane in range(bits)]
                if finals:
                    planes = [a.op("scvtf.32", plane) for plane in planes]
                total = planes[1]
                for plane, share in shares.items():
                    total = a.op(f"fmla.{8 * size}", total, planes[plane], share)
                if finals:
                    total = a.op("fmla.32", finals[1], total, finals[0])
                a.store("outputs", place + eight * (_OUTPUTS * size) + 16 * vector, total)

    def _final_scales(self, place: Offset) -> tuple[Register, Register]:
        """The token's scale, and half of the negative sum of its activations in every lane."""
        a = self._a
        scale, bias = (a.op("fcvt.16", a.load(name, place, size_bytes=2)) for name in ("scales", "biases"))
        return scale, a.op("dup.32", bias, imm=0)


def _kernel(bits: int, fast: bool) -> CpuKernel:
    variant = _Variant(bits, fast)

    def steps(problem: Problem) -> tuple[Step, ...]:
        variant.tile_bits(problem)
        tables = table_steps(problem, _sizes(variant, problem), fast, bits)
        return (*tables, _Product(variant, problem).program())

    def operands(problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> Mapping[str, Bytes]:
        halves = np.ascontiguousarray(activations, "<f2").reshape(-1).view(np.uint8)
        weights = pack_planes(codes, bits, variant.tile_bits(problem))
        return {"weights": weights, "activations": halves} | dict(_constants(variant))

    def result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.float32]:
        outputs = memory["outputs"].view(f"<f{variant.sum_bytes}").astype(np.float32)
        return outputs.reshape(problem.batch_tokens, problem.n_out)

    features = frozenset({"neon", "fp16"})
    source = "microsoft/T-MAC, python/t_mac/intrins/tbl.cc and lut_ctor.cc"
    loss = "entries of tables in 8 bits" + (", averaged in 8 bits" if fast else "")
    return CpuKernel(*(variant.name, features, source, steps, operands, result), loss=loss, weight_format=f"int{bits}")


NEON_TMAC_KERNELS = tuple(_kernel(bits, fast) for bits in (2, 4) for fast in (False, True))
"""In this order: 2 bits exact, 2 bits fast, 4 bits exact, 4 bits fast."""
