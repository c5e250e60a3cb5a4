"""Time of vector programs on CPU cores.

    VectorProgram + Core ─┬─► schedule: cycles out of the first cache ─┐
                          └─► traffic: bytes from each level ──────────┴─► predict: microseconds, and what bounds them

Programs are those of `sim.simd`; cores are files in `sim/machines/cpu/`.
"""

from sim.timing.cpu.core import Core, load_core, shipped_cores
from sim.timing.cpu.predict import Prediction, kernel_named, predict_kernel

__all__ = ["Core", "Prediction", "kernel_named", "load_core", "predict_kernel", "shipped_cores"]
