"""From a measurement of the core at hand to the file of a core: what was measured takes the place of the base's values.

Pipes stay those of the base. Where they cannot be right, as instructions take longer or shorter than they would on such
pipes, `disagreements` says so; nothing is fitted to what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log10
from typing import Any

from sim.native.core_measurement import CoreMeasurement, InstructionMeasurement
from sim.native.cpu import cpu_features
from sim.timing.cpu.core import Core, Timing, core_of

__all__ = ["Disagreement", "disagreements", "measured_core"]

_LONGEST_SOURCE = 400
_SMALLEST_SHARE = 0.1
_SMALLEST_CYCLES = 0.03

# A core has a feature if the processor has all flags of one of these sets.
_FLAGS: Mapping[str, tuple[frozenset[str], ...]] = {
    "avx2": (frozenset({"avx2"}),),
    "f16c": (frozenset({"f16c"}),),
    "fma": (frozenset({"fma"}),),
    "avx512": (frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq"}),),
    "vnni": (frozenset({"avx512_vnni"}), frozenset({"avx_vnni"})),
    "vbmi": (frozenset({"avx512vbmi"}),),
    "bf16": (frozenset({"avx512_bf16"}),),
}


@dataclass(frozen=True)
class Disagreement:
    """Pipes of the base that measured cycles contradict.

    Parameters
    ----------
    what : str
        An instruction and the width of its vectors, or two instructions in turn.
    expected_cycles : float
        Of one (of one of each), on the pipes of the base.
    measured_cycles : float
    """

    what: str
    expected_cycles: float
    measured_cycles: float


def measured_core(base: Core, measurement: CoreMeasurement, date: str) -> Core:
    """The base with what was measured.

    Parameters
    ----------
    base : Core
    measurement : CoreMeasurement
        Taken with the same base.
    date : str
        For the sources.
    """
    document: dict[str, Any] = base.model_dump()
    *caches, memory = measurement.levels
    document |= {
        "name": base.name.removesuffix("-measured") + "-measured",
        "clock_ghz": _rounded(measurement.clock_ghz),
        "all_cores_clock_ghz": _rounded(measurement.all_cores_clock_ghz),
        "cores": measurement.cores,
        "threads_per_core": 1,
        "features": tuple(dict.fromkeys((*filter(_is_here, base.features), *filter(_is_here, _FLAGS)))),
        "source": _source("clocks", base.source, date),
    }
    longer = (measurement.split_load_cycles - measurement.load_cycles) * len(base.loads.pipes)
    document["loads"] |= {
        "line_split_cycles": max(0, round(longer)),
        "source": _source("line_split_cycles", base.loads.source, date),
    }
    for cache, level in zip(document["caches"], caches, strict=True):
        cache |= {
            "size_bytes": level.size_bytes,
            "gb_per_second": _rounded(level.gb_per_second),
            "total_gb_per_second": cache["total_gb_per_second"] and _rounded(level.total_gb_per_second),
            "latency_ns": _rounded(level.latency_ns),
            "source": _source("bandwidth, latency", cache["source"], date),
        }
    document["dram"] |= {
        "gb_per_second": _rounded(memory.gb_per_second),
        "total_gb_per_second": _rounded(memory.total_gb_per_second),
        "latency_ns": _rounded(memory.latency_ns),
        "source": _source("bandwidth, latency", base.dram.source, date),
    }
    for name, timing in base.instructions.items():
        found = [each for each in measurement.instructions if each.name == name]
        document["instructions"][name] = _updated(base, timing, found, date).model_dump()
    return core_of(document, "measurement")


def disagreements(base: Core, measurement: CoreMeasurement) -> tuple[Disagreement, ...]:
    """Where measured throughput differs by a tenth or more from what the base's pipes allow."""
    return tuple(item for item in _compared(base, measurement) if _differ(item.expected_cycles, item.measured_cycles))


def _compared(base: Core, measurement: CoreMeasurement) -> Iterator[Disagreement]:
    for each in measurement.instructions:
        timing = _on_width(base, base.instructions[each.name], each.size_bytes)
        expected = max(_work(timing) / len(timing.pipes), timing.slots / base.dispatch_width)
        yield Disagreement(f"{each.name}, {each.size_bytes} bytes", expected, each.reciprocal_throughput_cycles)
    for pair in measurement.pairs:
        first, second = (base.instructions[name] for name in pair.names)
        together = set(first.pipes) | set(second.pipes)
        expected = max(
            (first.slots + second.slots) / base.dispatch_width,
            (_work(first) + _work(second)) / len(together),
            *(_work(timing) / len(timing.pipes) for timing in (first, second)),
        )
        yield Disagreement(" and ".join(pair.names), expected, pair.reciprocal_throughput_cycles)


def _work(timing: Timing) -> int:
    """Cycles of pipes."""
    return timing.cycles * timing.pieces


def _differ(expected: float, measured: float) -> bool:
    return abs(measured - expected) > max(_SMALLEST_CYCLES, _SMALLEST_SHARE * expected)


def _on_width(base: Core, timing: Timing, size_bytes: int) -> Timing:
    """How long an instruction takes on vectors of some width."""
    if size_bytes <= base.vector_bytes:
        return timing
    if timing.wide is not None:
        return timing.wide
    return timing.model_copy(update={"cycles": timing.cycles * -(-size_bytes // base.vector_bytes)})


def _updated(base: Core, timing: Timing, found: list[InstructionMeasurement], date: str) -> Timing:
    """A timing with measured latencies."""
    changes: dict[str, Any] = {}
    for each in sorted(found, key=lambda item: item.size_bytes):
        latency = round(each.latency_cycles)
        if each.size_bytes <= base.vector_bytes:
            changes |= {"latency_cycles": latency, "source": _source("latency", timing.source, date)}
        elif timing.wide is not None or latency != changes.get("latency_cycles", timing.latency_cycles):
            wide = _on_width(base, timing, each.size_bytes)
            source = _source("latency", wide.source, date)
            changes["wide"] = wide.model_copy(update={"latency_cycles": latency, "source": source})
    return timing.model_copy(update=changes)


def _is_here(feature: str) -> bool:
    """Whether the processor has a feature; those of which its flags do not tell are believed."""
    return any(flags <= cpu_features() for flags in _FLAGS[feature]) if feature in _FLAGS else True


def _source(what: str, before: str, date: str) -> str:
    rest = before.rpartition("; the rest: ")[2]
    text = f"{what} measured {date}; the rest: {rest}"
    return text if len(text) <= _LONGEST_SOURCE else text[: _LONGEST_SOURCE - 1] + "…"


def _rounded(value: float) -> float:
    """To three digits; a clock to four."""
    return round(value, max(0, 3 - int(log10(value)))) if value >= 1 else round(value, 3)
