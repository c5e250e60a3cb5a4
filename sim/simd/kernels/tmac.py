"""T-MAC on AVX2: n-bit weights as n planes of signs, four of which look up a sum of activations in a table of 16 bytes.

    unified-scale int32   one scale for all entries of a token; sums in 32 bits, and one multiplication at the end
    ags64 float           a scale for the 16 tables of 64 activations; their exact sums go to float32 at once
    fast                  the same with entries averaged in bytes by a tree of vpavgb: cheaper, and low bits are lost

Planes are tiled as T-MAC tunes them: tiles of `_TILE_BITS` rows of planes, within which tables of 64 activations stay
in registers as far as there are any. Eight outputs of one plane are followed by the same outputs of the next. vpavgb
takes unsigned bytes, so that `fast` keeps entries with their sign flipped.

Source: microsoft/T-MAC, `python/t_mac/intrins/tbl.cc` (`tbl_g4_int8_int32_update_impl`, `tbl_g4_int8_float_update_impl`
on AVX2), `python/t_mac/weights.py` for the layout; tables are made in `tmac_tables`. The instructions are those of
clang with -O3, which masks both nibbles of a byte at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import sim.simd.x86
import sim.simd.x86_floats  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.tmac_tables import GROUP, TILE_INPUTS, Scaling, table_constants, table_steps
from sim.simd.program import Offset, Register

__all__ = ["TMAC_KERNELS", "pack_planes", "plane_signs", "tmac_kernel"]

Bytes = NDArray[np.uint8]
Int8 = NDArray[np.int8]
Kind = Literal["unified-scale int32", "ags64 float", "fast"]

_TILE_BITS = (256, 128, 320, 192, 64, 32)
"""Rows of planes of a tile, of which the first is taken that fits."""
_STRIP_BITS = 32
_TABLES = TILE_INPUTS // GROUP
_TABLES_IN_REGISTERS = 9
_OUTPUTS = 8


@dataclass(frozen=True)
class _Variant:
    """A member of the family."""

    bits: int
    kind: Kind

    @property
    def name(self) -> str:
        """As measurements call it."""
        return f"T-MAC b{self.bits} {self.kind}"

    @property
    def scaling(self) -> Scaling:
        """How its tables are scaled."""
        return Scaling(unified=self.kind == "unified-scale int32", averaged=self.kind == "fast", planes=self.bits)

    def tile_bits(self, problem: Problem) -> int:
        """Rows of planes of a tile; ValueError if the problem has none."""
        for tile in _TILE_BITS:
            if problem.n_out * self.bits % tile == 0 and problem.k % TILE_INPUTS == 0:
                return tile
        sizes = f"{problem.n_out} x {problem.k}"
        raise ValueError(
            f"{self.name} takes a multiple of {_STRIP_BITS // self.bits} rows of {TILE_INPUTS} weights, found {sizes}"
        )


def plane_signs(codes: Int8, bits: int) -> NDArray[np.uint8]:
    """Signs uint8 [rows, bits, columns], 1 for +, of codes from -2^(bits-1) up; one bit is of -1 and 1."""
    stored = (codes > 0).astype(np.uint8) if bits == 1 else codes.view(np.uint8) + np.uint8(1 << (bits - 1))
    planes: Bytes = (stored[:, None] >> np.arange(bits, dtype=np.uint8)[:, None]) & np.uint8(1)
    return planes


def pack_planes(codes: Int8, bits: int, tile_bits: int) -> Bytes:
    """Weights as T-MAC orders them: (tiles, k / 64, strips of 32 rows of planes, 16 groups, 16 bytes).

    A byte has an index of the row of its number in its low bits, of the one 16 further in its high bits.
    """
    rows, columns = codes.shape
    grouped = plane_signs(codes, bits).reshape(rows, bits, columns // GROUP, GROUP)
    nibbles = (grouped << np.arange(GROUP, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)
    ordered = nibbles.reshape(rows // _OUTPUTS, _OUTPUTS, bits, -1).transpose(0, 2, 1, 3)
    halves = ordered.reshape(-1, 2, 16, columns // GROUP)
    packed = halves[:, 0] | (halves[:, 1] << np.uint8(4))
    tiled = packed.reshape(rows * bits // tile_bits, tile_bits // _STRIP_BITS, 16, -1, _TABLES)
    ordered_bytes: Bytes = tiled.transpose(0, 3, 1, 4, 2).ravel()
    return ordered_bytes


class _Product:
    """Writes the program of a product."""

    def __init__(self, variant: _Variant, problem: Problem) -> None:
        self._variant, self._problem = variant, problem
        self._a = a = Assembler(f"{variant.name} lookups", 32, _sizes(variant, problem))
        self._mask = a.load("nibbles", 0)
        self._flip = a.load("sign_bits", 0) if variant.kind == "fast" else None

    def program(self) -> Step:
        """Tiles of rows, the tables of 64 activations within, strips of 32 rows of planes within these."""
        a, problem, bits = self._a, self._problem, self._variant.bits
        tile_bits = self._variant.tile_bits(problem)
        steps, strips, batch = problem.k // TILE_INPUTS, tile_bits // _STRIP_BITS, problem.batch_tokens
        sums_bytes = 4 * problem.n_out * bits
        with a.loop("row_tile", problem.n_out * bits // tile_bits) as tile:
            zero = a.op("zero")
            with a.loop("cleared", batch) as token, a.loop("vector", tile_bits // 8, overhead=0) as vector:
                a.store("sums", tile * (4 * tile_bits) + token * sums_bytes + vector * 32, zero)
            with a.loop("step", steps) as step, a.loop("token", batch) as token:
                first_table = token * (problem.k // GROUP * 16) + step * (_TABLES * 16)
                held = [self._table(first_table, number) for number in range(_TABLES_IN_REGISTERS)]
                scales = self._scales(token * (4 * steps) + step * 4)
                with a.loop("strip", strips) as strip:
                    place = tile * (steps * strips * 256) + step * (strips * 256) + strip * 256
                    target = tile * (4 * tile_bits) + token * sums_bytes + strip * (4 * _STRIP_BITS)
                    self._strip(place, first_table, held, scales, target)
            with a.loop("token", batch) as token:
                self._outputs(tile * (4 * tile_bits // bits) + token * (4 * problem.n_out), tile_bits, token * 4)
        return Step("product", a.program())

    def _table(self, first: Offset, number: int) -> Register:
        return self._a.op("vbroadcasti128", memory=self._a.at("tables", first + 16 * number, 16))

    def _scales(self, place: Offset) -> tuple[Register, Register, Register] | None:
        """Of entries, what is added to the first plane, and of weights."""
        if self._variant.scaling.unified:
            return None
        a = self._a
        scale, bias = (a.op("vbroadcastss", memory=a.at(name, place, 4)) for name in ("scales", "biases"))
        return scale, bias, a.op("vbroadcastss", memory=a.at("weight_scale", 0, 4))

    def _strip(
        self,
        place: Offset,
        first_table: Offset,
        held: list[Register],
        scales: tuple[Register, Register, Register] | None,
        target: Offset,
    ) -> None:
        entries = list[Register]()
        for number in range(_TABLES):
            packed = self._a.load("weights", place + 16 * number, size_bytes=16)
            upper = self._a.op("vpsrlw", packed, imm=4, size_bytes=16)
            indices = self._a.op("vpand", self._a.op("vinserti128", packed, upper), self._mask)
            table = held[number] if number < len(held) else self._table(first_table, number)
            entries.append(self._a.op("vpshufb", table, indices))
        for number, words in enumerate(self._averaged(entries, self._flip) if self._flip else self._added(entries)):
            for half in range(2):
                part = self._a.op("vextracti128", words, imm=1) if half else words
                self._add(self._a.op("vpmovsxwd", part), 2 * number + half, scales, target)

    def _halves(self, value: Register) -> tuple[Register, Register]:
        """Bytes as words."""
        upper = self._a.op("vextracti128", value, imm=1)
        return self._a.op("vpmovsxbw", value), self._a.op("vpmovsxbw", upper)

    def _added(self, entries: list[Register]) -> tuple[Register, Register]:
        low, high = self._halves(entries[0])
        for entry in entries[1:]:
            more = self._halves(entry)
            low, high = self._a.op("vpaddw", low, more[0]), self._a.op("vpaddw", high, more[1])
        return low, high

    def _averaged(self, entries: list[Register], flip: Register) -> tuple[Register, Register]:
        level = entries
        while len(level) > 1:
            level = [self._a.op("vpavgb", *pair) for pair in zip(level[0::2], level[1::2], strict=True)]
        return self._halves(self._a.op("vpxor", level[0], flip))

    def _add(
        self, sums: Register, number: int, scales: tuple[Register, Register, Register] | None, target: Offset
    ) -> None:
        """Eight sums of one plane, to those in memory."""
        a, place = self._a, target + 32 * number
        if scales is None:
            a.store("sums", place, a.op("vpaddd", sums, memory=a.at("sums", place)))
            return
        scale, bias, weight_scale = scales
        floats = a.op("vcvtdq2ps", sums)
        if number % self._variant.bits == 0:
            # The compiler has a form that leaves the product where the addend was not; it takes no move.
            scaled = a.op("vfmadd213ps", floats, scale, bias)
        else:
            scaled = a.op("vmulps", floats, scale)
        a.store("sums", place, a.op("vfmadd213ps", scaled, weight_scale, memory=a.at("sums", place)))

    def _outputs(self, place: Offset, tile_bits: int, token: Offset) -> None:
        """The planes with their shares, and a scale where one is left to apply."""
        a, bits = self._a, self._variant.bits
        shares = [a.op("vbroadcastss", memory=a.at("shares", 4 * plane, 4)) for plane in range(bits)]
        names = ("scales", "biases") if self._variant.scaling.unified else ()
        finals = [a.op("vbroadcastss", memory=a.at(name, token, 4)) for name in names]
        offset = a.op("vmulps", finals[1], shares[0]) if finals else None
        weight_scale = a.op("vbroadcastss", memory=a.at("weight_scale", 0, 4))
        with a.loop("eight", tile_bits // bits // _OUTPUTS, overhead=1) as eight:
            sums = place * bits + eight * (32 * bits)
            planes = [self._floats(sums + 32 * plane) for plane in range(bits)]
            total = a.op("vmulps", planes[0], shares[0])
            for plane, share in zip(planes[1:], shares[1:], strict=True):
                total = a.op("vfmadd213ps", plane, share, total)
            if offset:
                total = a.op("vmulps", a.op("vfmadd213ps", total, finals[0], offset), weight_scale)
            a.store("outputs", place + eight * 32, total)

    def _floats(self, place: Offset) -> Register:
        """Eight sums of a plane."""
        where = self._a.at("sums", place)
        return self._a.op("vcvtdq2ps" if self._variant.scaling.unified else "load", memory=where)


def _sizes(variant: _Variant, problem: Problem) -> dict[str, int]:
    k, n, batch = problem.k, problem.n_out, problem.batch_tokens
    scales = batch if variant.scaling.unified else batch * (k // TILE_INPUTS)
    return {
        "weights": n * k * variant.bits // 8,
        "activations": 4 * batch * k,
        "tables": batch * k // GROUP * 16,
        "scales": 4 * scales,
        "biases": 4 * scales,
        "sums": 4 * batch * n * variant.bits,
        "outputs": 4 * batch * n,
    } | {name: len(contents) for name, contents in _constants(variant).items()}


def _constants(variant: _Variant) -> Mapping[str, Bytes]:
    shares = np.exp2(np.arange(variant.bits) - (variant.bits > 1)).astype("<f4")
    return table_constants(variant.scaling) | {
        "nibbles": np.full(32, 15, np.uint8),
        "shares": shares.view(np.uint8),
        "weight_scale": np.ones(1, "<f4").view(np.uint8),
    }


def tmac_kernel(bits: int, kind: Kind) -> CpuKernel:
    """T-MAC for weights of 1, 2 or 4 bits, two's-complement codes (one bit: -1 and 1); ValueError for others."""
    if bits not in (1, 2, 4):
        raise ValueError(f"T-MAC programs take weights of 1, 2 or 4 bits, found {bits}")
    variant = _Variant(bits, kind)

    def steps(problem: Problem) -> tuple[Step, ...]:
        variant.tile_bits(problem)
        sizes = _sizes(variant, problem)
        return (*table_steps(problem, variant.name, sizes, variant.scaling), _Product(variant, problem).program())

    def operands(problem: Problem, codes: Int8, activations: NDArray[Any]) -> Mapping[str, Bytes]:
        floats = np.ascontiguousarray(activations, "<f4").reshape(-1).view(np.uint8)
        weights = pack_planes(codes, bits, variant.tile_bits(problem))
        return {"weights": weights, "activations": floats} | dict(_constants(variant))

    def result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.float32]:
        outputs: NDArray[np.float32] = memory["outputs"].view("<f4").reshape(problem.batch_tokens, problem.n_out)
        return outputs

    source = "microsoft/T-MAC, python/t_mac/intrins/tbl.cc and lut_ctor.cc"
    loss = "entries of tables in 8 bits" + (", averaged in 8 bits" if kind == "fast" else "")
    return CpuKernel(
        *(variant.name, frozenset({"avx2", "fma"}), source, steps, operands, result),
        loss=loss,
        weight_format=f"int{bits}",
    )


_MEMBERS: tuple[tuple[int, Kind], ...] = (
    (2, "unified-scale int32"), (2, "ags64 float"), (2, "fast"), (4, "unified-scale int32"), (4, "ags64 float"),
    (4, "fast"), (1, "unified-scale int32"), (1, "ags64 float"),
)  # fmt: skip

TMAC_KERNELS = tuple(tmac_kernel(bits, kind) for bits, kind in _MEMBERS)
