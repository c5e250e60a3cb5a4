"""How operands of `lmma` lie in scratchpads, and so in memory: activations, tables, weights.

    activations   row after row, b bits each in two's complement, a row begins at a byte
    tables        [row][group of K inputs][2^(K-1) entries], int16
    weights       [block of N columns][group of K inputs][N x K weights, whole bytes a group]

In the order `rows`, a block of weights is one column, and a group all its inputs. A group has two layouts. Where
activations are multiplied (`codes`), it is N times K fields of b bits. Where tables are looked up (`planes`), it is b
planes of N fields of K bits: the sign of a lookup in the highest bit and the entry below it (LUT Tensor Core, arXiv
2408.06003, eq. 2 to 6). Padding is code 0, of odd codes the least.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isa.instructions.types import ActivationType, WeightType

__all__ = [
    "ENTRY_BYTES",
    "LARGEST_TABLE_GROUP",
    "WeightLayout",
    "group_bytes",
    "pack_activations",
    "pack_weights",
    "row_bytes",
    "table_sums",
    "tables",
    "unpack_activations",
    "unpack_weights",
]

Bytes = NDArray[np.uint8]
WeightLayout = Literal["codes", "planes"]

ENTRY_BYTES = 2
LARGEST_TABLE_GROUP = 8

# Products of lookups that are held at a time.
_LOOKUPS_AT_A_TIME = 1 << 22


def group_bytes(n: int, k: int, bits: int) -> int:
    """Bytes of N columns times K inputs of weights."""
    return -(-n * k * bits // 8)


def row_bytes(depth: int, bits: int) -> int:
    """Bytes of a row of activations."""
    return -(-depth * bits // 8)


def pack_activations(codes: NDArray[np.integer | np.floating], activation: ActivationType) -> Bytes:
    """Activations [rows, depth] as bytes uint8 [rows, row_bytes]."""
    if activation.floating:
        return np.ascontiguousarray(codes, "<f2").view(np.uint8).reshape(len(codes), -1)
    if activation.bits == 8:
        return np.ascontiguousarray(codes, np.int8).view(np.uint8)
    return _pack_fields(codes.astype(np.int16), activation.bits)


def unpack_activations(data: Bytes, depth: int, activation: ActivationType) -> NDArray[np.int8] | NDArray[np.float16]:
    """Activations [rows, depth], int8 or float16, of bytes [rows, row_bytes]."""
    if activation.floating:
        return data.view("<f2")[:, :depth]
    if activation.bits == 8:
        return data.view(np.int8)[:, :depth]
    return _signed(_unpack_fields(data, depth, activation.bits), activation.bits)


def tables(codes: NDArray[Any], k: int) -> NDArray[np.int16]:
    """Half tables int16 [rows, groups, 2^(K-1)] of integer activations [rows, depth].

    Entry i of a group is the sum of its inputs, the last taken negative, input j below it positive where bit j of i is
    set and negative elsewhere.
    """
    rows, depth = codes.shape
    groups = -(-depth // k)
    padded = np.zeros((rows, groups * k), np.int16)
    padded[:, :depth] = codes
    values = padded.reshape(rows, groups, k)
    signs = (np.arange(1 << (k - 1))[:, None] >> np.arange(k - 1) & 1) * 2 - 1
    entries: NDArray[np.int16] = values[:, :, : k - 1] @ signs.T.astype(np.int16) - values[:, :, k - 1 :]
    return entries.astype("<i2")


def pack_weights(
    codes: NDArray[np.integer | np.floating], n: int, k: int, weight: WeightType, layout: WeightLayout
) -> Bytes:
    """Weights [columns, depth] as bytes uint8 [blocks of N columns, groups of K inputs, bytes of a group].

    Raises
    ------
    ValueError
        If a code is none that the type can hold, or planes are asked for of floats or of more than
        `LARGEST_TABLE_GROUP` inputs.
    """
    columns, depth = codes.shape
    blocks, groups = -(-columns // n), -(-depth // k)
    if layout == "planes" and k > LARGEST_TABLE_GROUP:
        raise ValueError(f"lookups are of at most {LARGEST_TABLE_GROUP} inputs, found {k}")
    if weight.coding == "float":
        if layout == "planes":
            raise ValueError(f"{weight.name} weights have no bit planes")
        values = np.zeros((blocks * n, groups * k), "<f2")
        values[:columns, :depth] = codes
        return _by_groups(values, n, k).view(np.uint8)
    padding = 0 if weight.coding == "odd" else 1 << (weight.bits - 1)
    fields = np.full((blocks * n, groups * k), padding, np.int16)
    fields[:columns, :depth] = _field(np.asarray(codes, np.int64), weight)
    grouped = _by_groups(fields, n, k)
    if layout == "codes":
        # Two's complement as it is; fields of odd codes and offset codes differ from it in the highest bit alone.
        top = 1 << (weight.bits - 1) if weight.coding == "twos_complement" else 0
        return _pack_fields(grouped.reshape(blocks * groups, -1) ^ top, weight.bits).reshape(blocks, groups, -1)
    patterns = _plane_patterns(grouped.reshape(blocks * groups, n, k), weight.bits)
    return _pack_fields(patterns.reshape(blocks * groups, -1), k).reshape(blocks, groups, -1)


def unpack_weights(packed: Bytes, n: int, k: int, weight: WeightType) -> NDArray[np.int16] | NDArray[np.float16]:
    """Weights [blocks · N, groups · K], int16 or float16, of bytes in the layout `codes`."""
    blocks, groups, _ = packed.shape
    if weight.coding == "float":
        values = np.ascontiguousarray(packed).view("<f2").reshape(blocks, groups, n, k)
        return values.transpose(0, 2, 1, 3).reshape(blocks * n, groups * k)
    fields = _unpack_fields(packed.reshape(blocks * groups, -1), n * k, weight.bits)
    if weight.coding == "odd":
        codes = 2 * fields - ((1 << weight.bits) - 1)
    else:
        codes = _signed(fields, weight.bits).astype(np.int16)
    return codes.reshape(blocks, groups, n, k).transpose(0, 2, 1, 3).reshape(blocks * n, groups * k)


def table_sums(entries: NDArray[np.int16], packed: Bytes, n: int, weight: WeightType) -> NDArray[np.int64]:
    """Sums int64 [rows, blocks · N] of table lookups, which equal the products with the codes.

    Parameters
    ----------
    entries : int16 [rows, groups, 2^(K-1)]
    packed : uint8 [blocks, groups, bytes of a group], in the layout `planes`

    Notes
    -----
    A code of b bits in two's complement is looked up as q' = 2 · code + 1 (eq. 2), so the sum over q' less that of the
    activations is twice the result. The sum of a group's activations is the negative of entry 0.
    """
    rows, groups, size = entries.shape
    blocks, k = len(packed), size.bit_length()
    fields = _unpack_fields(packed.reshape(blocks * groups, -1), weight.bits * n, k)
    # [plane, group, column], an index into the table and its negative below each other
    lookups = fields.reshape(blocks, groups, weight.bits, n).transpose(2, 1, 0, 3).reshape(weight.bits, groups, -1)
    wide = entries.astype(np.int64)
    whole = np.concatenate((wide, -wide), axis=2).transpose(1, 2, 0)
    sums = np.zeros((blocks * n, rows), np.int64)
    step = max(1, _LOOKUPS_AT_A_TIME // sums.size)
    for start in range(0, groups, step):
        part = np.arange(start, min(start + step, groups))
        for plane, indices in enumerate(lookups):
            sums += whole[part[:, None], indices[part]].sum(axis=0) << plane
    if weight.coding == "twos_complement":
        sums = (sums + entries[:, :, 0].sum(axis=1, dtype=np.int64)) >> 1
    return sums.T


def _field(codes: NDArray[np.int64], weight: WeightType) -> NDArray[np.int64]:
    """The unsigned number that the bit planes of a code are read from: eq. 2's (q' + 2^b - 1) / 2."""
    odd = weight.coding == "odd"
    fields = (codes + (1 << weight.bits) - 1) >> 1 if odd else codes + (1 << (weight.bits - 1))
    even = odd and bool((codes & 1 == 0).any())
    if fields.size and (even or fields.min() < 0 or fields.max() >> weight.bits):
        raise ValueError(f"{weight.name} weights of {weight.bits} bits, found codes {codes.min()} to {codes.max()}")
    return fields


def _by_groups(values: NDArray[Any], n: int, k: int) -> NDArray[Any]:
    """[blocks · N, groups · K] as [blocks, groups, N · K]."""
    blocks, groups = values.shape[0] // n, values.shape[1] // k
    ordered = values.reshape(blocks, n, groups, k).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(ordered).reshape(blocks, groups, n * k)


def _plane_patterns(fields: NDArray[np.int16], bits: int) -> NDArray[np.int16]:
    """Lookups [groups, planes, N] of unsigned fields [groups, N, K]: the inversion of the entry under a set sign bit is
    folded in (eq. 6)."""
    k = fields.shape[2]
    planes = fields[:, None] >> np.arange(bits, dtype=np.int16)[:, None, None] & 1
    patterns = (planes << np.arange(k, dtype=np.int16)).sum(axis=3, dtype=np.int16)
    sign = patterns >> (k - 1)
    folded: NDArray[np.int16] = np.where(sign == 1, patterns ^ ((1 << (k - 1)) - 1), patterns)
    return folded


def _pack_fields(values: NDArray[np.int16], bits: int) -> Bytes:
    """The low bits of integers [rows, count] as bytes [rows, ⌈count · bits / 8⌉], lowest bit first."""
    fields = values[:, :, None] >> np.arange(bits, dtype=np.int16) & 1
    return np.packbits(fields.astype(np.uint8).reshape(len(values), -1), axis=1, bitorder="little")


def _unpack_fields(data: Bytes, count: int, bits: int) -> NDArray[np.int16]:
    """Unsigned integers int16 [rows, count] of bytes [rows, ⌈count · bits / 8⌉]."""
    flat = np.unpackbits(data, axis=1, bitorder="little", count=count * bits)
    weights = (1 << np.arange(bits)).astype(np.int16)
    fields: NDArray[np.int16] = (flat.reshape(len(data), count, bits) * weights).sum(axis=2, dtype=np.int16)
    return fields


def _signed(fields: NDArray[np.int16], bits: int) -> NDArray[np.int8]:
    top = 1 << (bits - 1)
    codes: NDArray[np.int8] = ((fields ^ top) - top).astype(np.int8)
    return codes
