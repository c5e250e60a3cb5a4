"""One number out of the floats of a register on x86, by halves: what epilogues of dot products and quantizers share."""

from __future__ import annotations

from typing import Literal

import sim.simd.x86
import sim.simd.x86_floats  # noqa: F401
from sim.simd.assembler import Assembler
from sim.simd.program import Register

__all__ = ["horizontal_maximum", "horizontal_sum"]


def horizontal_sum(a: Assembler, total: Register) -> Register:
    """The floats of a register added up, in its lowest place."""
    return _folded(a, total, "vadd")


def horizontal_maximum(a: Assembler, numbers: Register) -> Register:
    """The greatest of the floats of a register, in its lowest place."""
    return _folded(a, numbers, "vmax")


def _folded(a: Assembler, value: Register, operation: Literal["vadd", "vmax"]) -> Register:
    packed, single = f"{operation}ps", f"{operation}ss"
    if value.size_bytes == 64:
        upper = a.op("vextractf64x4", value, imm=1, size_bytes=64)
        value = a.op(packed, upper, value, size_bytes=32)
    if value.size_bytes == 32:
        upper = a.op("vextractf128", value, imm=1, size_bytes=32)
        value = a.op(packed, upper, value, size_bytes=16)
    pairs = a.op(packed, value, a.op("vmovhlps", value, value, size_bytes=16), size_bytes=16)
    return a.op(single, pairs, a.op("vmovshdup", pairs, size_bytes=16), size_bytes=16)
