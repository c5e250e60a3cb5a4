"""IEEE 754 arithmetic in hardware: what is exact of an operation, and the rounding that all operations share.

    bits ──► FloatProduct, FloatSum, Divider, FromInteger, FromFloat ──► Unrounded ──► Rounder ──► bits

Rounding is to nearest, ties to even; subnormal numbers are taken and given. A register may stand before the rounder, or
behind it. Every NaN is as good as any other: which one comes out is not defined.
"""

from rtl.floats.division import DIVIDE_CYCLES, Divider
from rtl.floats.formats import FP16, FP32, FloatFormat, Unrounded
from rtl.floats.operations import FloatProduct, FloatSum, FromFloat, FromInteger
from rtl.floats.rounding import Rounder

__all__ = [
    "DIVIDE_CYCLES",
    "FP16",
    "FP32",
    "Divider",
    "FloatFormat",
    "FloatProduct",
    "FloatSum",
    "FromFloat",
    "FromInteger",
    "Rounder",
    "Unrounded",
]
