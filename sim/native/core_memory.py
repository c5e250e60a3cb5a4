"""Caches and DRAM of the computer at hand, by micro-benchmarks in C: read from end to end by one core and by all, and
by a chase from line to line at random.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from isa import InputError
from sim.native.build import library_of
from sim.native.core_measurement import CacheMeasurement
from sim.timing.cpu.core import Core

__all__ = ["at_once", "benchmark_library", "measure_levels", "memory", "pinned_to"]

_LINE_BYTES = 64
_READ_STEP_BYTES = 512
_LARGEST_BUFFER_BYTES = 128 << 20
_LARGEST_MEMORY_BYTES = 1 << 30
_LARGE_PAGE_BYTES = 2 << 20
_CHASE_BLOCK_BYTES = 1 << 20
_CHASE_TURNS = 500
_LOADS_A_TURN = 16
_SHORTEST_PASSES_BYTES = 1 << 20
_WINDOWS = 8
_MOST_LEVELS = 8


def benchmark_library() -> ctypes.CDLL:
    """The functions of `core_benchmarks.c`."""
    library = library_of("core_benchmarks")
    number, integer, pointer = ctypes.c_double, ctypes.c_int64, ctypes.c_void_p
    for name, arguments in (
        ("now_ns", ()),
        ("least_ns", (pointer, integer, integer)),
        ("least_ns_between", (pointer, integer, number, number)),
        ("least_ns_of_loads", (pointer, integer, integer)),
        ("bytes_per_ns", (pointer, integer, integer, number, number)),
        ("chase_ns", (pointer, integer, integer)),
    ):
        function = getattr(library, f"bitloom_{name}")
        function.argtypes, function.restype = arguments, number
    return library


def measure_levels(base: Core, samples: int, window_ms: float, cpus: list[int]) -> Iterator[CacheMeasurement]:
    """Rates and latencies of the caches that a core's file has, and of DRAM.

    Parameters
    ----------
    base : Core
    samples : int
        Of a latency; the fastest counts.
    window_ms : float
        For so long is read, some times; the best counts, as other work holds cores and caches now and then.
    cpus : list of int
        Cores that read at once.

    Raises
    ------
    InputError
        If the base has more levels than any processor.
    """
    if len(base.caches) > _MOST_LEVELS:
        raise InputError(f"core {base.name}", "caches", f"{len(base.caches)} levels", f"at most {_MOST_LEVELS}")
    for name, size, buffer in _levels(base):
        share = _whole_steps(min(buffer, _LARGEST_MEMORY_BYTES // len(cpus)))
        with memory(max(buffer, len(cpus) * share)) as (_, address):
            one = max(_rates(address, buffer, window_ms, cpus[-1:])[0] for _ in range(_WINDOWS))
            total = max(sum(_rates(address, share, window_ms, cpus)) for _ in range(_WINDOWS))
        yield CacheMeasurement(name, size, one, max(one, total), _chase_ns(buffer, samples, cpus[-1]))


def _levels(base: Core) -> Iterator[tuple[str, int, int]]:
    """Name, size, and the size of a buffer that fits this level but not the one above."""
    above = 0
    for number, cache in enumerate(base.caches, start=1):
        size = _size_of_cache(number) or cache.size_bytes
        # No larger than it needs to be: others share the last caches.
        buffer = min(4 * above, size // 2) if above else size // 2
        yield cache.name, size, _whole_steps(min(buffer, _LARGEST_BUFFER_BYTES))
        above = size
    buffer = _whole_steps(min(4 * above, _LARGEST_BUFFER_BYTES))
    yield "DRAM", buffer, buffer


def _size_of_cache(level: int) -> int:
    """What the system says of a level of cache; 0 if nothing."""
    name = f"SC_LEVEL{level}_{'D' if level == 1 else ''}CACHE_SIZE"
    return max(0, os.sysconf(name)) if name in os.sysconf_names else 0


def _whole_steps(size: int) -> int:
    return max(1, size // _READ_STEP_BYTES) * _READ_STEP_BYTES


def _rates(address: int, size_bytes: int, window_ms: float, cpus: list[int]) -> list[float]:
    """Gigabytes a second that each of some cores reads, from a buffer of its own."""
    library = benchmark_library()
    passes = max(1, _SHORTEST_PASSES_BYTES // size_bytes)

    def read(place: int, start_ns: float, end_ns: float) -> float:
        buffer = address + place * size_bytes
        rate: float = library.bitloom_bytes_per_ns(buffer, size_bytes, passes, start_ns, end_ns)
        return rate

    return at_once(cpus, window_ms, read)


def _chase_ns(size_bytes: int, samples: int, cpu: int) -> float:
    """Of a load whose address the load before has read."""
    with memory(size_bytes) as (numbers, address), pinned_to(cpu):
        lines = _chase_order(size_bytes)
        numbers[lines * (_LINE_BYTES // numbers.itemsize)] = address + np.roll(lines, -1) * _LINE_BYTES
        # The chase goes on where the sample before has stopped: the buffer is gone through more than once.
        samples = max(samples, 3 * len(lines) // (_LOADS_A_TURN * _CHASE_TURNS))
        first = address + int(lines[0]) * _LINE_BYTES
        return float(benchmark_library().bitloom_chase_ns(first, _CHASE_TURNS, samples))


def _chase_order(size_bytes: int) -> NDArray[np.int64]:
    """Numbers of lines of a buffer, block for block, and at random in each, so that addresses stay translated.

    Only every second line: some processors fetch its neighbour with it.
    """
    lines = np.arange(0, size_bytes // _LINE_BYTES, 2)
    return lines[np.lexsort((np.random.default_rng(0).random(len(lines)), lines * _LINE_BYTES // _CHASE_BLOCK_BYTES))]


def at_once(cpus: list[int], window_ms: float, action: Callable[[int, float, float], float]) -> list[float]:
    """Results of an action on each core, given its place among them and the same two moments in nanoseconds."""
    start_ns = benchmark_library().bitloom_now_ns() + 5e6
    end_ns = start_ns + window_ms * 1e6

    def on_core(place: int) -> float:
        os.sched_setaffinity(0, {cpus[place]})  # of this thread alone
        return action(place, start_ns, end_ns)

    with ThreadPoolExecutor(len(cpus)) as pool:
        return list(pool.map(on_core, range(len(cpus))))


@contextmanager
def pinned_to(cpu: int) -> Iterator[None]:
    """This thread stays on a core meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def memory(size_bytes: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Memory on large pages where the system has them, as numbers, and its address."""
    area = mmap.mmap(-1, size_bytes + _LARGE_PAGE_BYTES)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        area.madvise(mmap.MADV_HUGEPAGE)
    everything = np.frombuffer(area, np.int64)
    skipped = -everything.ctypes.data % _LARGE_PAGE_BYTES // everything.itemsize
    numbers = everything[skipped : skipped + size_bytes // everything.itemsize]
    numbers[:] = 1
    yield numbers, numbers.ctypes.data
