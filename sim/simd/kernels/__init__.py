"""Kernels as programs, a family in each file; `KERNELS` has them by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sim.simd.kernel import CpuKernel
from sim.simd.kernels.i2_s import I2_S_KERNELS

__all__ = ["KERNELS"]

KERNELS: Mapping[str, CpuKernel] = MappingProxyType({kernel.name: kernel for kernel in (*I2_S_KERNELS,)})
