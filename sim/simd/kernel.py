"""A CPU kernel: programs for a product of some size, how operands lie in its memory, and what it leaves there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sim.simd.interpreter import run_vector_program
from sim.simd.program import VectorProgram

__all__ = ["CpuKernel", "Problem", "Step", "execute"]

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Problem:
    """A product of activations [batch_tokens, k] and weights [n_out, k]."""

    k: int
    n_out: int
    batch_tokens: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.k * self.n_out * self.batch_tokens


@dataclass(frozen=True)
class Step:
    """A program that a kernel runs.

    Parameters
    ----------
    kind : {"quantize", "tables", "product"}
        What it is for: activations to integers, tables of sums of them, or the product itself.
    program : VectorProgram
        Threads share out the iterations of its outermost loops.
    """

    kind: Literal["quantize", "tables", "product"]
    program: VectorProgram


@dataclass(frozen=True)
class CpuKernel:
    """A kernel.

    Parameters
    ----------
    name : str
    features : frozenset of str
        What a core must have: "avx2", "avx512", "vnni", "neon", "dotprod", "i8mm" and the like.
    source : str
        Where the layout and the loop are published.
    steps : function
        The programs for a problem, in order. `ValueError` says which problems it does not take.
    operands : function
        Of a problem, weight codes int8 [n_out, k] and activations int8 [batch_tokens, k] (float32 for kernels that
        quantize them): the contents of its buffers.
    result : function
        Of a problem and the buffers afterwards: [batch_tokens, n_out], int32 sums or float32.
    weight_buffer : str
        The buffer that weights are in.
    loss : str
        What its result loses against the product of its codes and the activations that it is given; nothing if empty.
    weight_format : str
        Number format of the codes that it is made for.
    """

    name: str
    features: frozenset[str]
    source: str
    steps: Callable[[Problem], tuple[Step, ...]]
    operands: Callable[[Problem, NDArray[np.int8], NDArray[Any]], Mapping[str, Bytes]]
    result: Callable[[Problem, Mapping[str, Bytes]], NDArray[Any]]
    weight_buffer: str = "weights"
    loss: str = ""
    weight_format: str = "ternary"


def execute(kernel: CpuKernel, problem: Problem, codes: NDArray[np.int8], activations: NDArray[Any]) -> NDArray[Any]:
    """The result of a kernel by running its programs, instruction by instruction.

    Parameters
    ----------
    kernel : CpuKernel
    problem : Problem
    codes : int8 [n_out, k]
    activations : int8 or float32 [batch_tokens, k]

    Raises
    ------
    ValueError
        If the kernel does not take this problem.
    """
    memory: dict[str, Bytes] = dict(kernel.operands(problem, codes, activations))
    for step in kernel.steps(problem):
        sizes = step.program.buffer_bytes
        memory |= run_vector_program(step.program, {name: memory[name] for name in sizes if name in memory})
    return kernel.result(problem, memory)
