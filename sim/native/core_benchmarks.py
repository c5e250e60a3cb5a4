"""What the x86-64 core at hand does, by micro-benchmarks in C: clock, instructions and loads. Caches and DRAM are in
`sim.native.core_memory`; what a core's file makes of it all is in `sim.native.core_update`.

Instructions are measured independent of each other, and each waiting for the one before. Cycles are nanoseconds times
the clock, which a chain of additions gives. Pipes are not measured, as no counter tells which of them an instruction
took; but two instructions in turn tell whether theirs are the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Container
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from isa import InputError
from sim.native.core_measurement import CacheMeasurement, CoreMeasurement, InstructionMeasurement, PairMeasurement
from sim.native.core_memory import at_once, benchmark_library, measure_levels, memory, pinned_to
from sim.native.cpu import allowed_cpus, cpu_features, require_features
from sim.timing.cpu.core import Core

__all__ = ["Effort", "benchmark_count", "measure_core"]

_A_TURN = 48
_TURNS = 1000
_LINE_BYTES = 64

_OF_EACH_KIND = ("vpaddb", "vpmaddubsw", "vpshufb", "vpunpcklbw", "vaddps", "vmulps", "vpsrlw")

_FEATURES = {32: ("avx2",), 64: ("avx512f", "avx512bw", "avx512vl", "avx512dq")}
_MORE_FEATURES = {
    "vpdpbusd": ("avx512_vnni", "avx512vl"),
    "vpdpwssd": ("avx512_vnni", "avx512vl"),
    "vpermb": ("avx512vbmi", "avx512vl"),
    "vpermi2b": ("avx512vbmi", "avx512vl"),
    "vpermt2b": ("avx512vbmi", "avx512vl"),
    "vpermt2w": ("avx512bw", "avx512vl"),
    "vpermt2d": ("avx512f", "avx512vl"),
    "vpermw": ("avx512bw", "avx512vl"),
    "vpmultishiftqb": ("avx512vbmi", "avx512vl"),
    "vpternlogd": ("avx512f", "avx512vl"),
    "vextracti32x4": ("avx512f", "avx512vl"),
    "vrndscaleps": ("avx512f", "avx512vl"),
    "vdpbf16ps": ("avx512_bf16", "avx512vl"),
    "vcvtneps2bf16": ("avx512_bf16", "avx512vl"),
    "vcvtph2ps": ("f16c",),
    "vcvtps2ph": ("f16c",),
    "vfmadd231ps": ("fma",),
    "vfmadd213ps": ("fma",),
    "vfmadd132ps": ("fma",),
    "vfmsub231ps": ("fma",),
    "vfnmadd231ps": ("fma",),
}


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Parameters
    ----------
    samples : int
        Of each figure; the fastest counts.
    window_ms : float
        For so long cores read at once, some times; the best counts, as other work holds cores now and then.
    """

    samples: int
    window_ms: float

    @classmethod
    def quick(cls) -> Effort:
        """Under 15 seconds in all."""
        return cls(samples=100, window_ms=30)

    @classmethod
    def thorough(cls) -> Effort:
        """Under a minute in all."""
        return cls(samples=1000, window_ms=150)


def benchmark_count(base: Core) -> int:
    """Steps that `measure_core` reports."""
    return len(base.instructions) + len(base.caches) + 1


def measure_core(base: Core, effort: Effort, advance: Callable[[int], None] = lambda _: None) -> CoreMeasurement:
    """Measure the core at hand.

    Parameters
    ----------
    base : Core
        Says which instructions and levels of cache to look for.
    effort : Effort
    advance : function
        Called with 1 after each of `benchmark_count` steps.

    Raises
    ------
    InputError
        If this is no x86-64 processor with AVX2, the base is another kind of core, or there is no C compiler.
    """
    require_features(_FEATURES[32], "the measurement of a core")
    if "avx2" not in base.features:
        raise InputError(f"core {base.name}", "features", list(base.features), "avx2 among them, as on this processor")
    cpus = allowed_cpus()
    bench = _Bench(effort)
    with pinned_to(cpus[-1]):
        clock_ghz = bench.clock_ghz()
        instructions, missing = list[InstructionMeasurement](), list[str]()
        for name in base.instructions:
            found = bench.instruction(name, clock_ghz)
            instructions += found
            missing += [] if found else [name]
            advance(1)
        pairs = bench.pairs(base.instructions, clock_ghz)
        load, split = (bench.load_ns(offset) * clock_ghz for offset in (0, _LINE_BYTES - 16))
    levels = list[CacheMeasurement]()
    for level in measure_levels(base, effort.samples, effort.window_ms, cpus):
        levels.append(level)
        advance(1)
    return CoreMeasurement(
        clock_ghz=clock_ghz,
        all_cores_clock_ghz=bench.all_cores_clock_ghz(cpus),
        cores=len(cpus),
        instructions=tuple(instructions),
        pairs=tuple(pairs),
        not_measured=tuple(missing),
        load_cycles=load,
        split_load_cycles=split,
        levels=tuple(levels),
    )


class _Bench:
    """The functions of `core_benchmarks.c`."""

    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._library = benchmark_library()

    def instruction(self, name: str, clock_ghz: float) -> list[InstructionMeasurement]:
        """An instruction on vectors of all widths for which there is a benchmark that runs here."""
        found = list[InstructionMeasurement]()
        for size in (8, 16, 32, 64):
            if not set(_FEATURES.get(size, ()) + _MORE_FEATURES.get(name, ())) <= cpu_features():
                continue
            kinds = [self._function(f"{kind}_{name}_{size}") for kind in ("throughput", "latency")]
            cycles = [self._least_ns(function) * clock_ghz for function in kinds if function is not None]
            if cycles:
                found.append(InstructionMeasurement(name, size, *cycles))
        return found

    def pairs(self, names: Container[str], clock_ghz: float) -> list[PairMeasurement]:
        """Two by two, instructions of the kinds for which cores have pipes."""
        found = list[PairMeasurement]()
        for pair in permutations([name for name in _OF_EACH_KIND if name in names], 2):
            function = self._function(f"pair_{pair[0]}_{pair[1]}_32")
            if function is not None:
                found.append(PairMeasurement(pair, 2 * self._least_ns(function) * clock_ghz))
        return found

    def clock_ghz(self) -> float:
        """Additions, each waiting for the one before, a nanosecond."""
        chain = self._function("latency_integer_8")
        return 1 / min(self._least_ns(chain) for _ in range(5))

    def all_cores_clock_ghz(self, cpus: list[int]) -> float:
        """The same while all cores do it: the mean of theirs."""
        chain = self._function("latency_integer_8")

        def least(_: int, start: float, end: float) -> float:
            time: float = self._library.bitloom_least_ns_between(chain, _TURNS, start, end)
            return time

        times = at_once(cpus, self._effort.window_ms, least)
        return sum(_TURNS * _A_TURN / time for time in times) / len(times)

    def load_ns(self, offset_bytes: int) -> float:
        """Of a load of 32 bytes so far behind the beginning of a cache line."""
        with memory(4096) as (_, address):
            time = self._library.bitloom_least_ns_of_loads(address + offset_bytes, _TURNS, self._effort.samples)
        return float(time) / (_TURNS * _A_TURN)

    def _least_ns(self, function: Any) -> float:
        return float(self._library.bitloom_least_ns(function, _TURNS, self._effort.samples)) / (_TURNS * _A_TURN)

    def _function(self, name: str) -> ctypes.c_void_p | None:
        found = getattr(self._library, name, None) if name.isidentifier() else None
        return None if found is None else ctypes.cast(found, ctypes.c_void_p)
