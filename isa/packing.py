"""Layouts of codes in bytes: what a checkpoint stores and what a bit-serial unit reads.

Each packing is a pair of exact inverse functions over numpy arrays. Which format uses which packing in which file is
the reader's business (`workloads`).
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["bit_planes", "pack_hf_ternary", "unpack_hf_ternary"]

_SHIFTS = (0, 2, 4, 6)


def pack_hf_ternary(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack ternary codes as Hugging Face's BitNet checkpoints do.

    Parameters
    ----------
    codes : int8 [rows, columns] in {-1, 0, 1}; rows a multiple of 4

    Returns
    -------
    uint8 [rows/4, columns]: bits 2i..2i+1 of byte row r hold output row r + i·rows/4 as code + 1.

    Raises
    ------
    ValueError
        If the rows are no multiple of 4 or a code is not ternary.
    """
    rows, columns = codes.shape
    if rows % 4:
        raise ValueError(f"Hugging Face ternary packing needs a multiple of 4 rows, found {rows}")
    if codes.size and (codes.min() < -1 or codes.max() > 1):
        raise ValueError(f"ternary codes are -1, 0, 1; found {codes.min()} to {codes.max()}")
    quarters = (codes + 1).astype(np.uint8).reshape(4, rows // 4, columns)
    packed = np.zeros((rows // 4, columns), np.uint8)
    for quarter, shift in zip(quarters, _SHIFTS, strict=True):
        packed |= quarter << shift
    return packed


def unpack_hf_ternary(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Inverse of `pack_hf_ternary`: uint8 [rows/4, columns] to int8 [rows, columns].

    Raises
    ------
    ValueError
        If a 2-bit field holds 3, which stands for no ternary value.
    """
    if np.any(packed & (packed >> 1) & 0x55):
        raise ValueError("a 2-bit field holds 3; ternary fields are 0, 1 or 2")
    rows, columns = packed.shape
    codes = np.empty((4, rows, columns), np.int8)
    for quarter, shift in zip(codes, _SHIFTS, strict=True):
        np.subtract((packed >> shift) & 3, 1, out=quarter, casting="unsafe")
    return codes.reshape(4 * rows, columns)


def bit_planes(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Two's-complement bit planes of integer codes.

    Parameters
    ----------
    codes : int8, any shape, each in [-2^(bits-1), 2^(bits-1) - 1]
    bits : int from 1 to 8

    Returns
    -------
    uint8 [bits, *codes.shape] of 0 and 1; plane b has weight 2^b, the last plane -2^(bits-1).
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"bits must be 1 to 8, found {bits}")
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if codes.size and (codes.min() < low or codes.max() > high):
        raise ValueError(f"codes of {codes.min()} to {codes.max()} do not fit {bits} bits ({low} to {high})")
    shifts = np.arange(bits, dtype=np.uint8).reshape(bits, *(1,) * codes.ndim)
    return (codes.view(np.uint8)[None] >> shifts) & np.uint8(1)
