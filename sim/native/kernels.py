"""The native kernels by name: which C function each is, what it needs, and how it is called.

All sizes are checked here, before C is called: it trusts what it is given. Names are those of published measurements
where there are such.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from isa import InputError
from sim.native.build import library_of
from sim.native.cpu import require_features
from sim.native.layouts import I2_S, I2_S_ROWS, TL2, TMAC, TQ2_0, VNNI, Layout, PackedWeights
from sim.native.product import SCALED_INPUTS, Arguments

__all__ = ["KERNELS", "MOST_INPUTS", "NativeKernel", "kernel_named"]

Int8 = NDArray[np.int8]
Float32 = NDArray[np.float32]
Outputs = NDArray[np.int32] | NDArray[np.float32]

MOST_INPUTS = 1 << 17
"""So many products of ternary weights and 8-bit activations are exact in float32, as TQ2_0 adds them up."""
_MOST_PREPARED_BYTES = 1 << 31

_AVX2 = ("avx2",)
_AVX512_VNNI = ("avx512f", "avx512bw", "avx512_vnni")
_TMAC_GROUP = 4
_TMAC_ENTRIES = 16
_TABLE_BYTES = 32
_TQ2_0_INPUT_BYTES = 292


def _int32_a_token(weights: PackedWeights, tokens: int) -> int:
    del weights
    return 4 * tokens


def _tl2_tables(weights: PackedWeights, tokens: int) -> int:
    if weights.tiling is None:
        raise ValueError("TL2 weights have a tiling")
    twos = weights.columns % weights.tiling.block_columns
    return tokens * ((weights.columns - twos) // 3 + twos // 2) * _TABLE_BYTES


def _tmac_tables(weights: PackedWeights, tokens: int) -> int:
    return tokens * (weights.columns // _TMAC_GROUP * _TMAC_ENTRIES + 4 + 4)


def _tq2_0_inputs(weights: PackedWeights, tokens: int) -> int:
    return tokens * weights.columns // SCALED_INPUTS * _TQ2_0_INPUT_BYTES


def _as_they_are(arguments: Arguments) -> Outputs:
    return arguments.outputs


def _tmac_outputs(arguments: Arguments) -> Outputs:
    """(sums · scale - sum of activations) / 2 in float32, from what stands behind the tables."""
    tokens = arguments.tokens
    behind = arguments.prepared[-8 * tokens :]
    scales, sums = behind[: 4 * tokens].view(np.float32), behind[4 * tokens :].view(np.int32)
    doubled = arguments.outputs.astype(np.float32) * scales[:, None] - sums.astype(np.float32)[:, None]
    halved: NDArray[np.float32] = doubled / np.float32(2)
    return halved


@cache
def _function(source: str, features: tuple[str, ...], name: str, numbers: int) -> Any:
    """A function of a product and so many numbers that returns nothing; `InputError` if it cannot run here."""
    require_features(features, f"{source}.c")
    function = getattr(library_of(source, features), name)
    function.argtypes, function.restype = (ctypes.c_void_p, *[ctypes.c_int64] * numbers), None
    return function


@dataclass(frozen=True)
class NativeKernel:
    """A kernel in C.

    Parameters
    ----------
    name : str
    summary : str
        What it does, in one line.
    source : str
        Its C file in this package, without the suffix.
    function : str
        In C: `void function(const struct product *, int64_t first_row, int64_t last_row)`.
    preparation : str
        In C: `void preparation(const struct product *)`, run before on the activations.
    features : tuple of str
        Flags of /proc/cpuinfo that it needs.
    layout : Layout
        Of its weights.
    prepared_bytes : callable
        (weights, tokens) to the bytes that its preparation writes.
    output_type : dtype
        Of what the C function writes.
    finish : callable
        `Arguments` after the run to the outputs [tokens, rows].
    exact : bool
        Whether the outputs are those of the integer product; if not, entries of tables are rounded.
    measured_tokens : int
        Batch at which it is measured.
    """

    name: str
    summary: str
    source: str
    function: str
    preparation: str
    features: tuple[str, ...]
    layout: Layout = field(repr=False)
    prepared_bytes: Callable[[PackedWeights, int], int] = field(default=_int32_a_token, compare=False, repr=False)
    output_type: DTypeLike = np.int32
    finish: Callable[[Arguments], Outputs] = field(default=_as_they_are, compare=False, repr=False)
    exact: bool = True
    measured_tokens: int = 1

    def require(self) -> None:
        """Check that it can run here, and compile it if it is not yet.

        Raises
        ------
        InputError
            If the processor lacks an instruction, or there is no compiler.
        """
        require_features(self.features, f"kernel {self.name}")
        library_of(self.source, self.features)

    @property
    def run_function(self) -> Any:
        """The kernel as C has it, for `ctypes`; what calls it has checked its arguments."""
        return _function(self.source, self.features, self.function, 2)

    @property
    def prepare_function(self) -> Any:
        """Its preparation, likewise."""
        return _function(self.source, self.features, self.preparation, 0)

    def pack(self, codes: Int8) -> PackedWeights:
        """Weights int8 [n_out, k] in the kernel's layout; ValueError if they are none that it holds."""
        if codes.ndim == 2 and codes.shape[1] > MOST_INPUTS:
            raise ValueError(f"{self.name} sums at most {MOST_INPUTS} inputs, found {codes.shape[1]}")
        return self.layout.pack(codes)

    def arguments(self, weights: PackedWeights, activations: Int8, scales: Float32 | None = None) -> Arguments:
        """The arrays of one product.

        Parameters
        ----------
        weights : PackedWeights
            Of this kernel's layout.
        activations : int8 [tokens, k], at least one token
        scales : float32 [tokens, ceil(k / 256)], optional
            Of blocks of 256 activations: of TQ2_0, which else takes them as 1.

        Raises
        ------
        ValueError
            If types or shapes are others, or the tables would take gigabytes.
        """
        if weights.layout != self.layout:
            raise ValueError(f"{self.name} takes weights as {self.layout.name}, found {weights.layout.name}")
        k = weights.k
        if k > MOST_INPUTS:
            raise ValueError(f"{self.name} sums at most {MOST_INPUTS} inputs, found {k}")
        if activations.dtype != np.int8 or activations.ndim != 2 or activations.shape[1] != k or not len(activations):
            found = f"{activations.dtype} {activations.shape}"
            raise ValueError(f"{self.name} takes activations int8 [tokens, {k}], found {found}")
        shape = (len(activations), -(-k // SCALED_INPUTS))
        if scales is not None and (scales.dtype != np.float32 or scales.shape != shape):
            raise ValueError(f"{self.name} takes scales float32 {shape}, found {scales.dtype} {scales.shape}")
        size = self.prepared_bytes(weights, len(activations))
        if size > _MOST_PREPARED_BYTES:
            raise ValueError(f"{self.name} would prepare {size} bytes for {len(activations)} tokens: take fewer")
        return Arguments.of(weights, activations, scales, size, self.output_type)

    def prepare(self, arguments: Arguments) -> None:
        """Make of the activations what the kernel looks up or subtracts."""
        self.prepare_function(ctypes.byref(arguments.structure))

    def run(self, arguments: Arguments, rows: range | None = None) -> None:
        """Compute outputs of prepared arguments: all, or those of a range of rows in whole steps.

        Several threads may compute ranges of one product at the same time.

        Raises
        ------
        ValueError
            If the range is none of whole steps (`PackedWeights.rows_a_step`).
        """
        weights = arguments.weights
        taken = range(weights.rows) if rows is None else rows
        step = weights.rows_a_step
        whole = taken.step == 1 and 0 <= taken.start <= taken.stop <= weights.rows
        if not whole or taken.start % step or taken.stop % step:
            raise ValueError(f"{self.name} computes rows in steps of {step} below {weights.rows}, found {taken}")
        self.run_function(ctypes.byref(arguments.structure), taken.start, taken.stop)

    def outputs(self, arguments: Arguments) -> Outputs:
        """The outputs [tokens, n_out] of arguments that have been run."""
        return self.finish(arguments)[:, : arguments.weights.n_out]

    def multiply(self, weights: PackedWeights, activations: Int8, scales: Float32 | None = None) -> Outputs:
        """The product of packed weights and activations, on one core; see `arguments`."""
        self.require()
        arguments = self.arguments(weights, activations, scales)
        self.prepare(arguments)
        self.run(arguments)
        return self.outputs(arguments)


def _table(*kernels: NativeKernel) -> dict[str, NativeKernel]:
    return {kernel.name: kernel for kernel in kernels}


KERNELS: dict[str, NativeKernel] = _table(
    NativeKernel(
        *("I2_S[1x1]", "I2_S, a row and a token at a time", "i2_s", "i2_s_1x1", "i2_s_prepare"), _AVX2, I2_S
    ),
    NativeKernel(
        *("I2_S[1xN]", "I2_S, four rows at a time", "i2_s", "i2_s_1xn", "i2_s_prepare"), _AVX2, I2_S_ROWS
    ),
    NativeKernel(
        *("I2_S[Nx1]", "I2_S, four tokens at a time", "i2_s", "i2_s_nx1", "i2_s_prepare"),
        *(_AVX2, I2_S),
        measured_tokens=128,
    ),
    NativeKernel(
        *("TL2", "exact tables of three ternary weights", "tl2", "tl2", "tl2_prepare"),
        *(_AVX2, TL2, _tl2_tables),
    ),
    NativeKernel(
        *("T-MAC b2 unified-scale int32", "8-bit tables of four bits in two planes", "tmac", "tmac", "tmac_prepare"),
        *(_AVX2, TMAC, _tmac_tables),
        finish=_tmac_outputs,
        exact=False,
    ),
    NativeKernel(
        *("VNNI 2-bit", "2-bit weights by AVX-512 dot products", "vnni", "vnni", "vnni_prepare"), _AVX512_VNNI, VNNI
    ),
    NativeKernel(
        *("tq2_0", "TQ2_0, blocks of 256 with scales", "tq2_0", "tq2_0", "tq2_0_prepare"),
        *(("avx2", "f16c"), TQ2_0, _tq2_0_inputs),
        output_type=np.float32,
    ),
)  # fmt: skip


def kernel_named(name: str) -> NativeKernel:
    """The kernel of that name; `InputError` that lists the known ones otherwise."""
    try:
        return KERNELS[name]
    except KeyError:
        raise InputError("command line", "--kernel", name, "one of " + ", ".join(KERNELS)) from None
