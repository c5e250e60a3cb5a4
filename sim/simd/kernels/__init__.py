"""Kernels as programs, a family in each file; `KERNELS` has them by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sim.simd.kernel import CpuKernel
from sim.simd.kernels.deepgemm import DEEPGEMM_KERNELS
from sim.simd.kernels.elut import ELUT_KERNELS
from sim.simd.kernels.ggml_dots import GGML_DOT_KERNELS
from sim.simd.kernels.ggml_floats import GGML_FLOAT_KERNELS
from sim.simd.kernels.ggml_k_dots import GGML_K_DOT_KERNELS
from sim.simd.kernels.ggml_q6_k import GGML_Q6_K_KERNELS
from sim.simd.kernels.ggml_repack_kernels import GGML_REPACK_KERNELS
from sim.simd.kernels.ggml_tq_dots import GGML_TQ_KERNELS
from sim.simd.kernels.i2_s import I2_S_KERNELS
from sim.simd.kernels.ik_iq2_bn import IK_KERNELS
from sim.simd.kernels.neon_ggml import NEON_GGML_KERNELS
from sim.simd.kernels.neon_i2_s import NEON_I2_S_KERNELS
from sim.simd.kernels.neon_k_dots import NEON_K_DOT_KERNELS
from sim.simd.kernels.neon_tl1 import NEON_TL1_KERNELS
from sim.simd.kernels.neon_tmac import NEON_TMAC_KERNELS
from sim.simd.kernels.tl import TL_KERNELS
from sim.simd.kernels.tmac import TMAC_KERNELS
from sim.simd.kernels.vnni import VNNI_KERNELS

__all__ = ["KERNELS"]

_FAMILIES = (
    *I2_S_KERNELS,
    *TL_KERNELS,
    *ELUT_KERNELS,
    *TMAC_KERNELS,
    *VNNI_KERNELS,
    *DEEPGEMM_KERNELS,
    *GGML_FLOAT_KERNELS,
    *GGML_DOT_KERNELS,
    *GGML_TQ_KERNELS,
    *GGML_K_DOT_KERNELS,
    *GGML_Q6_K_KERNELS,
    *GGML_REPACK_KERNELS,
    *IK_KERNELS,
    *NEON_I2_S_KERNELS,
    *NEON_TL1_KERNELS,
    *NEON_TMAC_KERNELS,
    *NEON_GGML_KERNELS,
    *NEON_K_DOT_KERNELS,
)

KERNELS: Mapping[str, CpuKernel] = MappingProxyType({kernel.name: kernel for kernel in _FAMILIES})
