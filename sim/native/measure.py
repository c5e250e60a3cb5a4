"""How long a native kernel takes here: pinned to cores, from cache (`hot`) or from memory (`stream`).

    hot      the same weights again and again, in whatever cache holds them: the least of many, for noise only adds
    stream   copies of the weights in turn, several times the last cache: the 10th percentile, for memory varies

Times are taken in C (`measure.c`). They leave out what is made of the activations before, which has a time of its own.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isa import InputError
from sim.native.build import library_of
from sim.native.cpu import allowed_cpus, last_level_cache_bytes
from sim.native.kernels import MOST_INPUTS, NativeKernel
from sim.native.layouts import PackedWeights, aligned
from sim.native.product import Arguments, ProductStructure

__all__ = ["WEIGHTS_FROM", "Measurement", "WeightsFrom", "measure_kernel"]

WeightsFrom = Literal["hot", "stream"]
WEIGHTS_FROM: tuple[WeightsFrom, ...] = ("hot", "stream")

_MOST_WEIGHTS = 1 << 26
_MOST_OUTPUTS = 1 << 20
_MOST_TOKENS = 1 << 12
_MOST_PRODUCTS = 1 << 35
_MOST_REPEATS = 1 << 17
_MOST_STREAM_BYTES = 512 << 20
_FEWEST_STREAM_BYTES = 1 << 14  # of one copy: fewer would be millions of them
_CACHES_STREAMED = 4
# A sample takes at least so long, so that reading the clock, some tens of nanoseconds, does not matter.
_SHORTEST_SAMPLE_US = 20.0
# Samples in one call of C: as long as an interrupt may wait. All samples: what a long product is worth.
_LONGEST_CALL_US = 200_000.0
_LONGEST_US = 300_000.0
# What an idle core takes to reach its clock, and more.
_WARM_UP_US = 30_000.0
_FEWEST_SAMPLES = 10


@dataclass(frozen=True)
class Measurement:
    """Times of one product by one kernel, in microseconds.

    Parameters
    ----------
    kernel : str
    k, n_out, batch_tokens, threads : int
    weights_from : {"hot", "stream"}
    minimum_us, percentile_10_us, median_us : float
        Of the samples.
    preparation_us : float
        The least that making tables or sums of the activations took, on one core.
    samples : int
    """

    kernel: str
    k: int
    n_out: int
    batch_tokens: int
    threads: int
    weights_from: WeightsFrom
    minimum_us: float
    percentile_10_us: float
    median_us: float
    preparation_us: float
    samples: int

    @property
    def time_us(self) -> float:
        """What published measurements of the kind give: the minimum from cache, the 10th percentile from memory."""
        return self.minimum_us if self.weights_from == "hot" else self.percentile_10_us


def measure_kernel(
    kernel: NativeKernel,
    k: int,
    n_out: int,
    batch_tokens: int = 1,
    threads: int = 1,
    weights_from: WeightsFrom = "hot",
    repeats: int = 500,
) -> Measurement:
    """Time a kernel on random ternary weights and 8-bit activations.

    Parameters
    ----------
    kernel : NativeKernel
    k, n_out : int
        Inputs and outputs.
    batch_tokens : int
    threads : int
        Cores that share the outputs, each with a thread that stays on it.
    weights_from : {"hot", "stream"}
    repeats : int
        Samples: from memory at least as many as there are copies of the weights, but no more than 0.3 s have room for.

    Raises
    ------
    InputError
        If the kernel cannot run here, sizes are out of reason, there are fewer cores, or weights are too small or the
        last cache too large for copies that leave it.
    """
    _check("--shape", k, MOST_INPUTS)
    _check("--shape", n_out, min(_MOST_OUTPUTS, _MOST_WEIGHTS // k))
    _check("batch tokens", batch_tokens, min(_MOST_TOKENS, _MOST_PRODUCTS // (k * n_out)))
    _check("--repeats", repeats, _MOST_REPEATS)
    kernel.require()
    cpus = allowed_cpus()
    _check("--threads", threads, len(cpus))
    random = np.random.default_rng(0)
    weights = kernel.pack(random.integers(-1, 2, (n_out, k), np.int8))
    arguments = kernel.arguments(weights, random.integers(-127, 128, (batch_tokens, k), np.int8))
    copies = _copies(weights) if weights_from == "stream" else [weights]
    bench = _Bench(kernel, [replace(arguments, weights=copy) for copy in copies], cpus[-threads:])
    bench.sample(1, 1)
    bench.sample(ceil(_WARM_UP_US / max(float(bench.sample(3, 1).min()), 1.0)), 1)
    shortest_us = max(float(bench.sample(3, 1).min()), 1e-3)
    calls = 1 if weights_from == "stream" else ceil(_SHORTEST_SAMPLE_US / shortest_us)
    sample_us = calls * shortest_us
    samples = min(max(repeats, len(copies)), max(_FEWEST_SAMPLES, int(_LONGEST_US / sample_us)))
    at_once = max(1, int(_LONGEST_CALL_US / sample_us))
    times = np.concatenate([bench.sample(min(at_once, samples - done), calls) for done in range(0, samples, at_once)])
    return Measurement(
        *(kernel.name, k, n_out, batch_tokens, threads, weights_from),
        minimum_us=float(times.min()),
        percentile_10_us=float(np.percentile(times, 10)),
        median_us=float(np.median(times)),
        preparation_us=bench.preparation_us(min(repeats, 100)),
        samples=len(times),
    )


def _check(option: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InputError("command line", option, value, f"1 to {most}")


def _copies(weights: PackedWeights) -> list[PackedWeights]:
    """So many of the same weights that each has left the caches when its turn comes again."""
    cache_bytes = last_level_cache_bytes()
    if 2 * cache_bytes > _MOST_STREAM_BYTES:
        raise InputError("this computer", "last cache", f"{cache_bytes} bytes", f"at most {_MOST_STREAM_BYTES // 2}")
    size = weights.data.size
    if size < _FEWEST_STREAM_BYTES:
        shape = f"{weights.k}x{weights.n_out}, {size} bytes"
        raise InputError("command line", "--shape", shape, f"weights of {_FEWEST_STREAM_BYTES} bytes to stream")
    count = max(2, ceil(min(_CACHES_STREAMED * cache_bytes, _MOST_STREAM_BYTES) / size))
    whole_lines = -(-size // 64) * 64
    memory = aligned((count, whole_lines), np.uint8)
    memory[:, :size] = weights.data
    return [replace(weights, data=row[:size]) for row in memory]


class _Bench:
    """Calls a kernel on products of the same shape in turn, with a thread for each core.

    Parameters
    ----------
    kernel : NativeKernel
    products : list of Arguments
        One for each copy of the weights; they share their other arrays.
    cpus : list of int
    """

    def __init__(self, kernel: NativeKernel, products: list[Arguments], cpus: list[int]) -> None:
        self._kernel, self._products, self._cpus = kernel, products, cpus
        self._structures = (ProductStructure * len(products))(*(product.structure for product in products))
        self._calls = 0
        self._functions = library_of("measure")
        integer, pointer = ctypes.c_int64, ctypes.c_void_p
        self._functions.bitloom_time.argtypes = (pointer, pointer, *[integer] * 8, pointer, pointer)
        self._functions.bitloom_time_preparation.argtypes = (pointer, pointer, integer, pointer)
        kernel.prepare(products[0])

    def sample(self, samples: int, calls: int) -> NDArray[np.float64]:
        """Microseconds of a call, float64 [samples], each the mean of `calls`; goes on with the next copy."""
        threads, times = len(self._cpus), np.empty(samples)
        arrived = ctypes.c_int64(0)
        function = ctypes.cast(self._kernel.run_function, ctypes.c_void_p)
        parts = self._parts()

        def on_core(thread: int) -> int:
            os.sched_setaffinity(0, {self._cpus[thread]})  # of this thread alone
            result: int = self._functions.bitloom_time(
                *(function, self._structures, len(self._products), self._calls),
                *(parts[thread].start, parts[thread].stop, samples, calls, thread, threads),
                *(ctypes.addressof(arrived), times.ctypes.data),
            )
            return result

        if any(self._on_cores(on_core)):
            raise RuntimeError(f"{threads} threads did not meet: other work holds a core")
        self._calls = (self._calls + samples * calls) % len(self._products)
        return times

    def preparation_us(self, samples: int) -> float:
        """The least time that the preparation of the activations takes."""
        times = np.empty(samples)
        function = ctypes.cast(self._kernel.prepare_function, ctypes.c_void_p)

        def on_core(_: int) -> int:
            os.sched_setaffinity(0, {self._cpus[0]})
            self._functions.bitloom_time_preparation(function, self._structures, samples, times.ctypes.data)
            return 0

        self._on_cores(on_core)
        return float(times.min())

    def _on_cores(self, action: Callable[[int], int]) -> list[int]:
        with ThreadPoolExecutor(len(self._cpus)) as pool:
            return list(pool.map(action, range(len(self._cpus))))

    def _parts(self) -> list[range]:
        """Whole steps of rows for each core."""
        weights = self._products[0].weights
        steps, threads = weights.rows // weights.rows_a_step, len(self._cpus)
        ends = [weights.rows_a_step * (steps * part // threads) for part in range(threads + 1)]
        return [range(start, stop) for start, stop in pairwise(ends)]
