"""Kernels as programs, a family in each file; `KERNELS` has them by name."""
