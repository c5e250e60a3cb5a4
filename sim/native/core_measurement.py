"""What the measurement of a core gives: cycles, rates and latencies. It is taken in `sim.native.core_benchmarks`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CacheMeasurement", "CoreMeasurement", "InstructionMeasurement", "PairMeasurement"]


@dataclass(frozen=True)
class InstructionMeasurement:
    """An instruction on vectors of a width.

    Parameters
    ----------
    name : str
    size_bytes : int
        16, 32 or 64.
    reciprocal_throughput_cycles : float
        Of one of many that do not wait for each other.
    latency_cycles : float
        From a register that it reads to the one that it writes.
    """

    name: str
    size_bytes: int
    reciprocal_throughput_cycles: float
    latency_cycles: float


@dataclass(frozen=True)
class PairMeasurement:
    """Two instructions on 32 bytes, in turn.

    Parameters
    ----------
    names : tuple of str
    reciprocal_throughput_cycles : float
        Of one of each together.
    """

    names: tuple[str, str]
    reciprocal_throughput_cycles: float


@dataclass(frozen=True)
class CacheMeasurement:
    """A level of the memory.

    Parameters
    ----------
    name : str
        As in the core's file; "DRAM" for what lies behind the caches.
    size_bytes : int
        Of a cache, as the system says, or else the core's file; for DRAM, of the buffer that was read.
    gb_per_second : float
        By one core.
    total_gb_per_second : float
        By all cores at once, a buffer for each.
    latency_ns : float
        Of a load whose address the load before has read.
    """

    name: str
    size_bytes: int
    gb_per_second: float
    total_gb_per_second: float
    latency_ns: float


@dataclass(frozen=True)
class CoreMeasurement:
    """A core.

    Parameters
    ----------
    clock_ghz, all_cores_clock_ghz : float
    cores : int
        On which this process may run.
    instructions : tuple of InstructionMeasurement
    pairs : tuple of PairMeasurement
    not_measured : tuple of str
        Instructions of the core's file that this processor lacks, or that no benchmark is written for.
    load_cycles, split_load_cycles : float
        Reciprocal throughput of loads of 32 bytes within cache lines, and across them.
    levels : tuple of CacheMeasurement
        The caches of the core's file, and DRAM.
    """

    clock_ghz: float
    all_cores_clock_ghz: float
    cores: int
    instructions: tuple[InstructionMeasurement, ...]
    pairs: tuple[PairMeasurement, ...]
    not_measured: tuple[str, ...]
    load_cycles: float
    split_load_cycles: float
    levels: tuple[CacheMeasurement, ...]
