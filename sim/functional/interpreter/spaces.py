"""Memory and scratchpads as arrays of bytes, and the one way to look at a region of them.

Regions are checked here against the size of their space; whether they may be read or written at that time is the
subject of `sim.functional.interpreter.accesses`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from isa.instructions import Region
from isa.instructions.base import Bytes
from isa.instructions.types import Space
from sim.functional.interpreter.errors import Violation

__all__ = ["Spaces", "rows_of"]

Element = TypeVar("Element", bound=np.generic)


def rows_of(space: NDArray[Element], region: Region) -> NDArray[Element]:
    """A region as a view [rows, row_bytes] of an array that has one element for every byte of the space."""
    pitch = region.pitch_bytes if region.rows > 1 else region.row_bytes
    size = space.itemsize
    view: np.ndarray[Any, np.dtype[Element]] = np.ndarray(
        (region.rows, region.row_bytes), space.dtype, space, region.address * size, (pitch * size, size)
    )
    return view


class Spaces:
    """The bytes that instructions read and write; the `Storage` that they are executed on.

    Parameters
    ----------
    contents : mapping of Space to uint8 [size_bytes]
    """

    def __init__(self, contents: Mapping[Space, Bytes]) -> None:
        self.contents = contents

    def check(self, region: Region) -> None:
        """Raise a `Violation` if a region does not lie in its space."""
        size_bytes = len(self.contents[region.space])
        if region.address < 0 or region.end > size_bytes:
            raise Violation(
                "out of bounds",
                f"bytes {region.address} to {region.end - 1} of {region.space}",
                f"bytes 0 to {size_bytes - 1}" if size_bytes else f"no use of {region.space}, which the unit lacks",
            )

    def read(self, region: Region) -> Bytes:
        """The bytes of a region uint8 [rows, row_bytes], as a view that cannot be written."""
        view = rows_of(self.contents[region.space], region)
        view.flags.writeable = False
        return view

    def write(self, region: Region, data: Bytes) -> None:
        """Replace the bytes of a region by uint8 [rows, row_bytes]."""
        rows_of(self.contents[region.space], region)[...] = data
