"""Kernels of CPUs as programs of vector instructions: what they are (`program`), how they are written (`assembler`),
what each instruction computes (`semantics`, `x86`, `neon`), and how a program runs on numpy vectors (`interpreter`).

The kernels themselves are in `kernels`. How long a program takes on which core is the subject of `sim.timing.cpu`,
which reads the same program: what is timed is what was proved to be correct.
"""
