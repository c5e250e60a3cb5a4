"""Terms of integer codes: what a term-serial array feeds into its lanes, and how long lanes wait for each other.

A code of b bits is a sum of ⌈b/2⌉ radix-4 Booth terms d·4^i with d in {-2, -1, 0, 1, 2}; only non-zero terms need a
cycle. Ternary codes are one term. Source of the recoding: Booth 1951 / MacSorley 1961; of counting INT8 as 4 and INT6
as 3 strings: BitMoD (HPCA 2025, section IV).
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["booth_terms", "dense_terms", "windowed_maxima"]


def dense_terms(bits: int) -> int:
    """Terms of the widest code of so many bits."""
    return -(-bits // 2)


def _booth_table() -> NDArray[np.uint8]:
    """Non-zero radix-4 Booth digits of every 8-bit code, indexed by code & 255.

    Codes of fewer bits, sign-extended, have the same non-zero digits.
    """
    codes = np.arange(-128, 128)
    padded = (codes & 255) << 1
    counts = np.zeros(256, np.uint8)
    for digit in range(4):
        window = (padded >> (2 * digit)) & 7
        counts += (window != 0) & (window != 7)
    return np.roll(counts, 128)


_BOOTH_TERMS = _booth_table()


def booth_terms(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Non-zero terms of each code, uint8 of the same shape, each at most `dense_terms(bits)`."""
    return np.minimum(_BOOTH_TERMS[codes.view(np.uint8)], np.uint8(dense_terms(bits)))


def windowed_maxima(terms: NDArray[np.uint8], lines: int, group: int, window: int) -> NDArray[np.int64]:
    """Cycles of lanes that synchronize at the end of every window.

    Parameters
    ----------
    terms : uint8 [rows, inputs]
        Terms of each operand value.
    lines : int
        Rows that one block of the array holds.
    group : int
        Inputs of one pass; lane j of a row takes inputs j, j + group, j + 2·group, ...
    window : int
        Passes in a window.

    Returns
    -------
    int64 [⌈rows/lines⌉, ⌈inputs/(group·window)⌉]: the largest sum of any lane of the block in the window. Inputs beyond
    the end have no terms and take no cycle.
    """
    rows, inputs = terms.shape
    blocks, windows = -(-rows // lines), -(-inputs // (group * window))
    padded = np.zeros((blocks * lines, windows * window * group), np.uint8)
    padded[:rows, :inputs] = terms
    lanes = padded.reshape(blocks, lines, windows, window, group).sum(axis=3, dtype=np.int64)
    maxima: NDArray[np.int64] = lanes.max(axis=(1, 3))
    return maxima
