"""All mpGEMM backends by name: what a backend is stands in `sim.functional.backends.base`, each algorithm in a file."""

from __future__ import annotations

from isa import InputError
from sim.functional.backends.accumulators import emulated
from sim.functional.backends.base import Accumulators, Backend, Counts, Product
from sim.functional.backends.binary_planes import BINARY_PLANES_BACKENDS
from sim.functional.backends.bitserial import BITSERIAL_BACKENDS
from sim.functional.backends.deepgemm import DEEPGEMM_BACKENDS
from sim.functional.backends.dense import DENSE_BACKENDS
from sim.functional.backends.i2_s import I2_S_BACKENDS
from sim.functional.backends.isa import ISA_BACKENDS
from sim.functional.backends.lmul import LMUL_BACKENDS
from sim.functional.backends.lut import LUT_BACKENDS
from sim.functional.backends.lut_ternary import LUT_TERNARY_BACKENDS
from sim.functional.backends.native import NATIVE_BACKENDS
from sim.functional.backends.packed import PACKED_BACKENDS
from sim.functional.backends.rtl import RTL_BACKENDS
from sim.functional.backends.shift_add import SHIFT_ADD_BACKENDS
from sim.functional.backends.tl import TL_BACKENDS
from sim.functional.backends.tmac import TMAC_BACKENDS

__all__ = ["BACKENDS", "Accumulators", "Backend", "Counts", "Product", "backend_named"]

_ALGORITHMS = (
    *DENSE_BACKENDS,
    *PACKED_BACKENDS,
    *NATIVE_BACKENDS,
    *I2_S_BACKENDS,
    *TL_BACKENDS,
    *TMAC_BACKENDS,
    *LUT_BACKENDS,
    *LUT_TERNARY_BACKENDS,
    *BITSERIAL_BACKENDS,
    *BINARY_PLANES_BACKENDS,
    *DEEPGEMM_BACKENDS,
    *SHIFT_ADD_BACKENDS,
    *LMUL_BACKENDS,
    *ISA_BACKENDS,
    *RTL_BACKENDS,
)
# `NAME:kernel` is what the registers of the real kernel leave; other names with a colon are emulated where they stand.
# Registers of 32 bits leave what the result itself holds.
_EMULATED = (
    emulated(backend, f"{backend.name}:kernel")
    for backend in _ALGORITHMS
    if backend.accumulators is not None and backend.accumulators.bits < 32 and ":" not in backend.name
)

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (*_ALGORITHMS, *_EMULATED)}


def backend_named(name: str) -> Backend:
    """The backend of that name; `InputError` that lists the known ones otherwise."""
    try:
        return BACKENDS[name]
    except KeyError:
        raise InputError("command line", "--backend", name, "one of " + ", ".join(BACKENDS)) from None
