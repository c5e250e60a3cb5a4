"""CPU kernels in C with intrinsics: compiled at first use, exact, and timed on the processor at hand.

    codes ──pack──► PackedWeights ─┐
    activations ──arguments────────┴──► prepare ──► run (rows) ──► outputs        measure_kernel ──► Measurement

They are what predicted times are compared with, and the fast backend of golden inference
(`sim.functional.backends.native`). What processor and compiler must have is said by an `InputError` where it is
missing, when a kernel is used and not before.
"""

from sim.native.kernels import KERNELS, NativeKernel, kernel_named
from sim.native.layouts import Layout, PackedWeights
from sim.native.measure import Measurement, measure_kernel
from sim.native.product import Arguments

__all__ = [
    "KERNELS",
    "Arguments",
    "Layout",
    "Measurement",
    "NativeKernel",
    "PackedWeights",
    "kernel_named",
    "measure_kernel",
]
