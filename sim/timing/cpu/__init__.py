"""Time of vector programs on CPU cores.

    VectorProgram + Core ─┬─► schedule: cycles out of the first cache ─┐
                          └─► traffic: bytes from each level ──────────┴─► predict: microseconds, and what bounds them

Programs are those of `sim.simd`; cores are files in `sim/machines/cpu/`.
"""
