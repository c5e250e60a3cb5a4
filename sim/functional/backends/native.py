"""The kernels in C as backends: what `sim.native` measures also multiplies in golden inference, as fast as it can.

`native` takes the fastest exact kernel for ternary weights that this processor has; `native:NAME` is one of them:

    native:i2_s    AVX2            2-bit codes, one token at a time or four
    native:tl2     AVX2            tables of three weights
    native:tq2_0   AVX2, F16C      blocks of 256
    native:vnni    AVX-512 VNNI    dot products of any four neighbouring codes

What processor and compiler lack is said by an `InputError` when weights are prepared. Importing this module neither
compiles nor imports the kernels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isa import Format
from sim.functional.backends.base import Backend, Int8, Product, integer_weights
from sim.functional.backends.i2_s import ternary_weights
from sim.functional.backends.tables import by_token_blocks

if TYPE_CHECKING:
    from sim.native import Arguments, NativeKernel

__all__ = ["NATIVE_BACKENDS"]

_FIELD_VALUES = 4
# Multiply-adds of a core, from which on another one is worth waking up: some 70 µs for a thread of Python.
_WORK_OF_A_CORE = 1 << 24


def _two_bit_weights(weight_format: Format) -> bool:
    """Whether all codes lie within four neighbours."""
    return integer_weights(weight_format) and weight_format.codes[-1] - weight_format.codes[0] < _FIELD_VALUES


@cache
def _helpers() -> ThreadPoolExecutor:
    """Threads for all cores but one; C runs without Python's lock."""
    from sim.native.cpu import allowed_cpus

    return ThreadPoolExecutor(max(1, len(allowed_cpus()) - 1), thread_name_prefix="native-kernel")


if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads.
    os.register_at_fork(after_in_child=_helpers.cache_clear)


def _run(kernel: NativeKernel, arguments: Arguments) -> None:
    """Compute all rows, on as many cores as the work is worth."""
    from sim.native.cpu import allowed_cpus

    weights, step = arguments.weights, arguments.weights.rows_a_step
    steps = weights.rows // step
    work = weights.rows * weights.columns * arguments.tokens
    cores = min(steps, len(allowed_cpus()), 1 + work // _WORK_OF_A_CORE)
    ends = [step * (steps * core // cores) for core in range(cores + 1)]
    parts = [range(start, stop) for start, stop in pairwise(ends)]
    others = [_helpers().submit(kernel.run, arguments, part) for part in parts[1:]]
    kernel.run(arguments, parts[0])
    for other in others:
        other.result()


def _prepare(of_one_token: str, of_several: str, weight: Int8, _: Format) -> Product:
    from sim.native import kernel_named

    one, several = kernel_named(of_one_token), kernel_named(of_several)
    one.require()
    packed = one.pack(weight) if weight.size else None

    def product(activations: Int8) -> NDArray[np.int32]:
        if packed is None or not len(activations):
            return np.zeros((len(activations), len(weight)), np.int32)
        kernel = one if len(activations) == 1 else several
        arguments = kernel.arguments(packed, activations)
        kernel.prepare(arguments)
        _run(kernel, arguments)
        return kernel.outputs(arguments).astype(np.int32, copy=False)

    return by_token_blocks(product)


def _fastest(weight: Int8, weight_format: Format) -> Product:
    from sim.native import kernel_named
    from sim.native.cpu import cpu_features

    vnni = cpu_features().issuperset(kernel_named("VNNI 2-bit").features)
    algorithm = _VNNI if vnni else _I2_S
    return algorithm(weight, weight_format)


_I2_S = partial(_prepare, "I2_S[1x1]", "I2_S[Nx1]")
_VNNI = partial(_prepare, "VNNI 2-bit", "VNNI 2-bit")


def _backend(
    name: str,
    summary: str,
    algorithm: Callable[[Int8, Format], Product],
    accepts: Callable[[Format], bool] = ternary_weights,
) -> Backend:
    return Backend(name, summary, algorithm, source="sim/native", accepts=accepts)


NATIVE_BACKENDS: tuple[Backend, ...] = (
    _backend("native", "the fastest kernel in C that this processor has for ternary weights", _fastest),
    _backend("native:i2_s", "I2_S in C for AVX2", _I2_S),
    _backend("native:tl2", "TL2 in C for AVX2", partial(_prepare, "TL2", "TL2")),
    _backend("native:tq2_0", "TQ2_0 in C for AVX2", partial(_prepare, "tq2_0", "tq2_0")),
    _backend("native:vnni", "2-bit weights in C for AVX-512 VNNI", _VNNI, _two_bit_weights),
)
