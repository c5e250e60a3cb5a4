"""How groups of weights choose entries of tables: levels and group size, what each entry sums up, and which columns of
weights are grouped in which way. The programs that look up are in `elut`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product as combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grouping", "Part"]

Bytes = NDArray[np.uint8]
Int8 = NDArray[np.int8]

_ENTRIES = 16
_GROUPS_OF_A_SIGN_VECTOR = 8
_LARGEST_ACTIVATION = 128


@dataclass(frozen=True)
class Grouping:
    """How neighbouring weights choose an entry.

    Parameters
    ----------
    levels : int
        Values that a weight has. Of an odd number they are balanced around 0, two are -1 and 1; of more even ones the
        codes are -levels/2 and up, and weigh 2·code + 1 in the table, so that entries come in pairs of opposite sign.
    group : int
        Weights that choose together.

    Raises
    ------
    ValueError
        If the entries are more than a byte shuffle has.
    """

    levels: int
    group: int

    def __post_init__(self) -> None:
        if self.levels < 2 or self.group < 1 or len(self.entries) > _ENTRIES:
            raise ValueError(f"{self.levels} levels in groups of {self.group} need more than {_ENTRIES} entries")

    @property
    def signed(self) -> bool:
        """Whether only half of the entries are there, and a bit says which side."""
        return int(self.levels**self.group) > _ENTRIES

    @property
    def weights(self) -> range:
        """What the levels weigh in a table."""
        return range(1 - self.levels, self.levels, 2) if self.levels % 2 == 0 else _balanced(self.levels)

    @property
    def doubled(self) -> bool:
        """Whether codes weigh 2·code + 1."""
        return self.levels % 2 == 0 and self.levels > 2

    @property
    def codes(self) -> range:
        """The weight codes that there are."""
        return range(-self.levels // 2, self.levels // 2) if self.doubled else self.weights

    @property
    def entries(self) -> NDArray[np.int64]:
        """What each entry takes of each activation, int64 [entries, group]."""
        every = np.array(list(combinations(self.weights, repeat=self.group)), np.int64)
        return every[len(every) // 2 :] if self.signed else every

    @property
    def largest_tile_columns(self) -> int:
        """So many columns, in whole vectors of signs, cannot exceed a sum of 16 bits."""
        groups = (1 << 15) // (self.group * max(self.weights) * _LARGEST_ACTIVATION + 1)
        return min(32, groups // _GROUPS_OF_A_SIGN_VECTOR * _GROUPS_OF_A_SIGN_VECTOR) * self.group

    def encode(self, codes: Int8) -> tuple[Bytes, Bytes]:
        """Indices and signs uint8 [rows, groups] of codes int8 [rows, columns]."""
        digits = codes.reshape(len(codes), -1, self.group).astype(np.int64) - self.codes.start
        digits //= self.codes.step
        number = digits @ self.levels ** np.arange(self.group - 1, -1, -1)
        if not self.signed:
            return number.astype(np.uint8), np.zeros(number.shape, np.uint8)
        last = self.levels**self.group - 1
        negative = number < (last + 1) // 2
        index = np.where(negative, last - number, number) - (last + 1) // 2
        return index.astype(np.uint8), negative.astype(np.uint8)


def _balanced(levels: int) -> range:
    return range(-(levels // 2), levels // 2 + 1)


@dataclass(frozen=True)
class Part:
    """Columns of one grouping, and where their bytes are.

    Parameters
    ----------
    grouping : Grouping
    columns, tile_columns : int
        All, and those of a sum of 16 bits.
    first_index_byte, first_sign_byte : int
        In the buffer of weights: indices [row tiles, tiles, strips, pairs of groups, 32 rows], the first group of a
        byte in its high bits; signs [row tiles, tiles, strips, eights of groups, 16 words].
    """

    grouping: Grouping
    columns: int
    tile_columns: int
    first_index_byte: int
    first_sign_byte: int

    @property
    def tables(self) -> int:
        """Tables of a token."""
        return self.columns // self.grouping.group
