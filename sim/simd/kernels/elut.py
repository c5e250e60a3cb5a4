"""Element-wise lookup tables on AVX2: groups of neighbouring weights of few levels choose the sum of their activations
from a table of at most 16 entries.

    C levels, groups of g     C^g entries, or where these are more than 16, (C^g + 1) / 2 and a sign

    C = 2    g = 1, 2, 3, 4, and 5 with a sign        C = 3             g = 1, 2, and 3 with a sign (TL2's two)
    C = 4    g = 1, 2                                 C = 5             g = 1, and 2 with a sign
    C = 6 to 16     g = 1                             C = 17 to 32      g = 1 with a sign

An entry has 16 bits, kept as two planes of bytes, so that two byte shuffles look it up for 32 rows. Sums of 16 bits
take one tile of columns and are exact; tiles are added up in 32 bits. Tables are made of float32 activations, which are
quantized to 8 bits on the way. What differs between the members of the family is data: `Grouping`, `Part`. On NEON
there are programs of (3, 2), which is TL1 (`neon_tl1`), and of (2, 4) with entries of 8 bits (`neon_tmac`).

Source: arXiv 2502.11880 (Bitnet.cpp), section 3, for the family; microsoft/BitNet, `utils/codegen_tl2.py`, for program,
order of bytes and table build, of which all others here are generalizations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.simd.x86
import sim.simd.x86_floats  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels.elut_groupings import Grouping, Part
from sim.simd.kernels.elut_tables import TABLE_BYTES, table_constants, table_steps
from sim.simd.program import Offset, Register

__all__ = ["ELUT_KERNELS", "elut_kernel", "lookup_steps", "scaled_operands", "scaled_outputs"]

Bytes = NDArray[np.uint8]
Int8 = NDArray[np.int8]

_STRIP = 32
_GROUPS_OF_A_SIGN_VECTOR = 8
_SIGN_BITS = 16
# Of eight rows each, so that a byte unpack puts the sums of a strip in order.
_BLOCKS_OF_ROWS = (0, 2, 1, 3)


def lookup_steps(problem: Problem, name: str, parts: Sequence[Part], tile_rows: int, weight_bytes: int) -> list[Step]:
    """The steps of a kernel: scale of the activations, tables of every part, lookups."""
    tables = sum(part.tables for part in parts) * TABLE_BYTES
    sizes = {
        "weights": weight_bytes,
        "activations": 4 * problem.batch_tokens * problem.k,
        "scales": 4 * problem.batch_tokens,
        "tables": problem.batch_tokens * tables,
        "sums": 4 * problem.batch_tokens * problem.n_out,
        "outputs": 4 * problem.batch_tokens * problem.n_out,
    } | {constant: len(contents) for constant, contents in _constants().items()}
    built = [(part.grouping.entries, part.columns) for part in parts]
    a = Assembler(f"{name} lookups", 32, sizes)
    _product(a, problem, parts, tile_rows, tables)
    return [*table_steps(problem, name, sizes, built), Step("product", a.program())]


def _constants() -> Mapping[str, Bytes]:
    return table_constants() | {
        "nibbles": np.full(32, 15, np.uint8),
        "lowest_bits": np.full(16, 1, "<u2").view(np.uint8),
    }


def _product(a: Assembler, problem: Problem, parts: Sequence[Part], tile_rows: int, table_bytes: int) -> None:
    n, batch = problem.n_out, problem.batch_tokens
    nibbles, ones = a.load("nibbles", 0), a.load("lowest_bits", 0)
    with a.loop("row_tile", n // tile_rows) as row_tile:
        rows = row_tile * (4 * tile_rows)
        zero = a.op("zero")
        with a.loop("cleared", batch) as token, a.loop("strip", tile_rows // 8, overhead=0) as eight:
            a.store("sums", rows + token * (4 * n) + eight * 32, zero)
        first_table = 0
        for part in parts:
            groups, columns = part.grouping.group, part.tile_columns
            strip_bytes = _STRIP * columns // groups // 2
            with a.loop("tile", part.columns // columns) as tile, a.loop("strip", tile_rows // _STRIP) as strip:
                place = row_tile * (tile_rows * part.columns // groups // 2)
                place = place + tile * (tile_rows * columns // groups // 2) + strip * strip_bytes
                signs = _fraction(place, 4) + part.first_sign_byte
                with a.loop("token", batch, overhead=0 if batch == 1 else 2) as token:
                    tables = tile * (columns // groups * TABLE_BYTES) + (token * table_bytes + first_table)
                    sums = _strip(a, part, place + part.first_index_byte, signs, tables, (nibbles, ones))
                    _widen(a, sums, rows + strip * (4 * _STRIP) + token * (4 * n))
            first_table += part.tables * TABLE_BYTES
        with a.loop("scaled", batch) as token:
            scale = a.op("vbroadcastss", memory=a.at("scales", token * 4, 4))
            with a.loop("strip", tile_rows // 8, overhead=0) as eight:
                where = rows + token * (4 * n) + eight * 32
                floats = a.op("vcvtdq2ps", memory=a.at("sums", where))
                a.store("outputs", where, a.op("vdivps", floats, scale))


def _fraction(offset: Offset, divisor: int) -> Offset:
    """An offset of indices as one of signs: a byte of indices has two groups, a byte of signs eight."""
    return Offset(
        offset.constant // divisor, tuple((variable, stride // divisor) for variable, stride in offset.strides)
    )


def _strip(
    a: Assembler, part: Part, indices: Offset, signs: Offset, tables: Offset, masks: tuple[Register, Register]
) -> tuple[Register, Register]:
    """Sums of 16 bits of 32 rows over a tile."""
    nibbles, ones = masks
    sums = (a.op("zero"), a.op("zero"))
    eights = part.tile_columns // part.grouping.group // _GROUPS_OF_A_SIGN_VECTOR
    with a.loop("eight", eights, overhead=0) as eight:
        flags = a.load("weights", signs + eight * 32) if part.grouping.signed else None
        for pair in range(_GROUPS_OF_A_SIGN_VECTOR // 2):
            packed = a.load("weights", indices + (eight * (4 * _STRIP) + _STRIP * pair))
            high = a.op("vpand", a.op("vpsrlw", packed, imm=4), nibbles)
            for half, chosen in enumerate((high, a.op("vpand", packed, nibbles))):
                group = 2 * pair + half
                table = tables + (eight * (8 * TABLE_BYTES) + group * TABLE_BYTES)
                for side, entry in enumerate(_looked_up(a, table, chosen)):
                    value = _with_sign(a, entry, _sign(a, flags, 2 * group + side, ones)) if flags else entry
                    a.into(sums[side], "vpaddw", sums[side], value)
    return sums


def _looked_up(a: Assembler, table: Offset, indices: Register) -> list[Register]:
    """Entries of 32 rows, rows 0 to 15 and 16 to 31."""
    planes = [a.op("vbroadcasti128", memory=a.at("tables", table + 16 * plane, 16)) for plane in range(2)]
    low, high = (a.op("vpshufb", plane, indices) for plane in planes)
    return [a.op(name, low, high) for name in ("vpunpcklbw", "vpunpckhbw")]


def _sign(a: Assembler, flags: Register, place: int, ones: Register) -> Register:
    """All bits of a word of what stands at a place from its top. Compilers take the lowest bit another way."""
    if place == _SIGN_BITS - 1:
        return a.op("vpsubw", a.op("zero"), a.op("vpand", flags, ones))
    return a.op("vpsraw", a.op("vpsllw", flags, imm=place) if place else flags, imm=15)


def _with_sign(a: Assembler, value: Register, sign: Register) -> Register:
    """The negative where all bits of a word are set."""
    return a.op("vpxor", a.op("vpaddw", value, sign), sign)


def _widen(a: Assembler, sums: tuple[Register, Register], target: Offset) -> None:
    for side, total in enumerate(sums):
        for half in range(2):
            place = target + (64 * side + 32 * half)
            part = a.op("vextracti128", total, imm=1) if half else total
            wide = a.op("vpmovsxwd", part)
            a.store("sums", place, a.op("vpaddd", wide, memory=a.at("sums", place)))


def scaled_operands(weights: Bytes, activations: NDArray[Any]) -> dict[str, Bytes]:
    """Buffers before a run: packed weights, and activations as float32."""
    floats = np.ascontiguousarray(activations, "<f4").reshape(-1).view(np.uint8)
    return {"weights": weights, "activations": floats} | dict(_constants())


def scaled_outputs(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.float32]:
    """Sums under the scales of the activations: exactly the integers, if codes up to 127 came in as floats."""
    outputs: NDArray[np.float32] = memory["outputs"].view("<f4").reshape(problem.batch_tokens, problem.n_out)
    return outputs


# --- the family, with an order of bytes of its own


def _parts(problem: Problem, grouping: Grouping) -> list[Part]:
    columns = grouping.largest_tile_columns
    signs = problem.n_out * problem.k // grouping.group // 2
    return [Part(grouping, problem.k, columns, 0, signs)]


def _check(problem: Problem, grouping: Grouping) -> None:
    if problem.k % grouping.largest_tile_columns or problem.n_out % _STRIP:
        tile = f"{_STRIP} rows and {grouping.largest_tile_columns} columns"
        raise ValueError(f"{_name(grouping)} takes tiles of {tile}, found {problem.n_out} x {problem.k}")


def _weight_bytes(problem: Problem, grouping: Grouping) -> int:
    groups = problem.n_out * problem.k // grouping.group
    return groups // 2 + (groups // 8 if grouping.signed else 0)


def _packed(grouping: Grouping, codes: Int8) -> Bytes:
    """Bytes as TL2 has them, for tiles of 32 rows."""
    indices, signs = grouping.encode(codes)
    nibbles = (indices[:, 0::2] << np.uint8(4)) | indices[:, 1::2]
    tile = grouping.largest_tile_columns // grouping.group
    strips = len(codes) // _STRIP
    by_row = nibbles.reshape(strips, 4, 8, -1)[:, _BLOCKS_OF_ROWS]
    packed = by_row.transpose(0, 3, 1, 2).ravel()
    if not grouping.signed:
        return packed
    eights = signs.reshape(strips, 2, 16, -1, tile // 8, 8)
    bits = np.packbits(eights.transpose(0, 3, 4, 2, 5, 1).reshape(-1, 8))
    return np.concatenate([packed, bits.reshape(-1, 2)[:, ::-1].ravel()])


def _name(grouping: Grouping) -> str:
    return f"ELUT {grouping.levels}^{grouping.group}"


def elut_kernel(levels: int, group: int) -> CpuKernel:
    """The member of the family of so many levels and weights a group; ValueError if a byte shuffle is too small."""
    grouping = Grouping(levels, group)

    def steps(problem: Problem) -> tuple[Step, ...]:
        _check(problem, grouping)
        parts = _parts(problem, grouping)
        return tuple(lookup_steps(problem, _name(grouping), parts, _STRIP, _weight_bytes(problem, grouping)))

    def operands(problem: Problem, codes: Int8, activations: NDArray[Any]) -> Mapping[str, Bytes]:
        del problem
        return scaled_operands(_packed(grouping, codes), activations)

    def result(problem: Problem, memory: Mapping[str, Bytes]) -> NDArray[np.float32]:
        outputs = scaled_outputs(problem, memory)
        if not grouping.doubled:
            return outputs
        scales = memory["scales"].view("<f4")[:, None]
        floats = memory["activations"].view("<f4").reshape(problem.batch_tokens, problem.k)
        offset = np.rint(floats * scales).sum(axis=1, dtype=np.float32)[:, None] / scales
        halved: NDArray[np.float32] = (outputs - offset) / np.float32(2)
        return halved

    source = "arXiv 2502.11880, section 3; microsoft/BitNet, utils/codegen_tl2.py"
    weight_format = {2: "int1", 3: "ternary"}.get(levels, f"int{(levels - 1).bit_length()}")
    return CpuKernel(_name(grouping), frozenset({"avx2"}), source, steps, operands, result, weight_format=weight_format)


ELUT_KERNELS = tuple(elut_kernel(*member) for member in ((2, 4), (2, 5), (3, 2), (3, 3), (4, 2), (5, 2)))
"""The members that use a table well; `elut_kernel` makes any other."""
