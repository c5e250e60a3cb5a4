"""Number formats as values, and the operands that are written in them.

A `Format` says which values a code may take, how many bits it is stored in, how far one scale reaches, and how real
numbers become codes. Adding a format is adding one value to `FORMATS`. How codes are laid out in bytes is the subject
of `isa.packing`; which tensor of a model has which format is the subject of `workloads`.

    real numbers ──quantize──► Operand(codes, scales, format) ──dequantize──► real numbers

Two rules of scaling are in use, and the last bit of a float32 result depends on which: weights carry a *multiplier*
(real = code · scale), BitNet's activations carry the *divisor* s = 127/absmax (real = code / scale).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isa.errors import InputError

__all__ = ["FORMATS", "Format", "Operand", "Quantizer", "format_named"]

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]
Quantizer = Callable[[Float32], tuple[Int8, Float32]]

Granularity = Literal["none", "tensor", "row"]
ScaleRule = Literal["multiply", "divide"]

# Below this absolute maximum a row counts as zero (BitNet's clamp), so that its scale stays finite.
SMALLEST_ABSMAX = np.float32(1e-5)


@dataclass(frozen=True)
class Format:
    """A number format.

    Parameters
    ----------
    name : str
        The name used in traces, machine files and on the command line.
    bits : int
        Bits of one stored code. Bit-serial machines need as many planes (ternary: 2).
    kind : {"integer", "float"}
        Integer formats have `codes`; float formats are stored as themselves and have none.
    codes : range
        The integer values a code may take (empty for floats).
    granularity : {"none", "tensor", "row"}
        What shares one scale. A row of activations is one token.
    scale_bits : int
        Bits of one stored scale.
    scale_rule : {"multiply", "divide"}
        Whether real = code · scale or real = code / scale.
    quantizer : callable, optional
        Real float32 [rows, columns] to (codes int8 of that shape, scales float32 [rows or 1]).
    """

    name: str
    bits: int
    kind: Literal["integer", "float"]
    codes: range = range(0)
    granularity: Granularity = "none"
    scale_bits: int = 0
    scale_rule: ScaleRule = "multiply"
    quantizer: Quantizer | None = field(default=None, compare=False, repr=False)

    def bits_per_value(self, rows: int, columns: int) -> float:
        """Stored bits of one value of a [rows, columns] tensor, its share of the scales included."""
        scales = {"none": 0, "tensor": 1, "row": rows}[self.granularity]
        return self.bits + self.scale_bits * scales / (rows * columns)

    def quantize(self, values: Float32) -> Operand:
        """Quantize real values, float32 [rows, columns]; ValueError if the format has no quantizer of its own."""
        if self.quantizer is None:
            raise ValueError(f"format {self.name} has no quantizer")
        codes, scales = self.quantizer(values)
        return Operand(codes, scales, self)


@dataclass(frozen=True)
class Operand:
    """Integer codes with their scales.

    Parameters
    ----------
    codes : int8 array [rows, columns]
        Rows are output channels of a weight, or tokens of an activation.
    scales : float32 array [1] or [rows]
        One value a tensor, or one a row, as `format.granularity` says.
    format : Format
    """

    codes: Int8
    scales: Float32
    format: Format

    def __post_init__(self) -> None:
        if self.codes.dtype != np.int8 or self.codes.ndim != 2:
            raise ValueError(f"codes must be int8 [rows, columns], found {self.codes.dtype} {list(self.codes.shape)}")
        wanted = {"tensor": (1,), "row": (self.codes.shape[0],)}.get(self.format.granularity)
        if self.scales.dtype != np.float32 or self.scales.shape != wanted:
            raise ValueError(
                f"scales of {self.format.name} must be float32 {wanted}, found {self.scales.dtype} {self.scales.shape}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.codes.shape
        return rows, columns

    def dequantize(self) -> Float32:
        """The real values that the codes stand for, float32 [rows, columns]."""
        scale = self.scales[:, None]
        values = self.codes.astype(np.float32)
        return values * scale if self.format.scale_rule == "multiply" else values / scale


def _absmax_int8_per_row(values: Float32) -> tuple[Int8, Float32]:
    """BitNet b1.58 activation quantization (arXiv 2402.17764, section 2), in PyTorch's own rounding.

    `127 * (1 / absmax)` and not `127 / absmax`: PyTorch evaluates a scalar over a tensor by the reciprocal, and plain
    division changes the last bit of a fifth of all results.
    """
    absmax = np.maximum(np.abs(values).max(axis=-1), SMALLEST_ABSMAX)
    scales = np.float32(127) * (np.float32(1) / absmax)
    codes = np.clip(np.rint(values * scales[..., None]), -128, 127).astype(np.int8)
    return codes, scales


def _absmean_ternary_per_tensor(values: Float32) -> tuple[Int8, Float32]:
    """BitNet b1.58 weight quantization (arXiv 2402.17764, eq. 1-3): one scale a tensor, its mean absolute value."""
    absmean = np.maximum(np.abs(values).mean(dtype=np.float32), SMALLEST_ABSMAX)
    codes = np.clip(np.rint(values * (np.float32(1) / absmean)), -1, 1).astype(np.int8)
    return codes, np.array([absmean], np.float32)


def _symmetric_integer(bits: int) -> Format:
    """INTb weights, symmetric around zero, one float16 scale a row (output channel)."""
    top = 2 ** (bits - 1) - 1

    def quantizer(values: Float32) -> tuple[Int8, Float32]:
        absmax = np.maximum(np.abs(values).max(axis=-1), SMALLEST_ABSMAX)
        scales = (absmax / np.float32(top)).astype(np.float32)
        return np.clip(np.rint(values / scales[:, None]), -top, top).astype(np.int8), scales

    return Format(f"int{bits}", bits, "integer", range(-top, top + 1), "row", 16, quantizer=quantizer)


def _binary_per_tensor(values: Float32) -> tuple[Int8, Float32]:
    """One-bit weights ±1 (BitNet, arXiv 2310.11453, eq. 1-3, without the mean's removal)."""
    absmean = np.maximum(np.abs(values).mean(dtype=np.float32), SMALLEST_ABSMAX)
    return np.where(values < 0, -1, 1).astype(np.int8), np.array([absmean], np.float32)


FORMATS: dict[str, Format] = {
    value.name: value
    for value in (
        Format("ternary", 2, "integer", range(-1, 2), "tensor", 16, quantizer=_absmean_ternary_per_tensor),
        Format("int1", 1, "integer", range(-1, 2, 2), "tensor", 16, quantizer=_binary_per_tensor),
        *(_symmetric_integer(bits) for bits in range(2, 9)),
        Format("int8-token", 8, "integer", range(-128, 128), "row", 32, "divide", _absmax_int8_per_row),
        Format("fp16", 16, "float"),
        Format("bf16", 16, "float"),
        Format("fp32", 32, "float"),
    )
}


def format_named(name: str, source: str = "format") -> Format:
    """The format of that name; `InputError` that lists the known ones otherwise."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InputError(source, "format", name, "one of " + ", ".join(FORMATS)) from None
