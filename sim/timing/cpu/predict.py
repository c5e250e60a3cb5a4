"""How long a kernel takes on a processor: its schedule, the bytes that it moves, and threads that share the memory.

The composition is that of the execution-cache-memory model (Stengel et al., ICS 2015) with one free share for each
level of cache: so much of the time in which the level above reads from it is not hidden behind computation. Transfers
from DRAM run ahead of the program and are a limit of their own, unless the prefetchers lose its streams: then the lines
that they do not foresee come as many at a time as the reorder buffer reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, TypeVar

from isa import InputError
from sim.simd.kernel import CpuKernel, Problem, Step
from sim.simd.kernels import KERNELS
from sim.simd.program import Instruction, Loop, Offset, Variable, VectorProgram
from sim.timing.cpu.core import Core, load_core, shipped_cores
from sim.timing.cpu.schedule import Schedule, length, schedule
from sim.timing.cpu.traffic import Traffic, streams_of

__all__ = ["Prediction", "WeightsFrom", "kernel_named", "predict_kernel"]

WeightsFrom = Literal["hot", "stream"]
Value = TypeVar("Value")

_LINE_BYTES = 64
_PAGE_BYTES = 4096
_MOST = 1 << 16, 1 << 18, 1 << 24
_SAFETY = 2
"""Of a cache half is counted on for what is to be used again, as Stengel et al. do; the rest goes to what passes by."""


@dataclass(frozen=True)
class Prediction:
    """Time of a kernel.

    Parameters
    ----------
    time_us : float
    bound_by : str
        What takes most of the time: a pipe of the core, "dispatch", "latency", a level of cache, or "DRAM".
    breakdown : mapping of str to float
        Microseconds: of each step ("quantize", "tables", "product"), which add up to the time, and of what a step waits
        for ("core", "L2", "L3", ..., "DRAM"), which overlap.
    """

    time_us: float
    bound_by: str
    breakdown: Mapping[str, float]


def kernel_named(name: str) -> CpuKernel:
    """The kernel of that name; `InputError` that lists the known ones otherwise."""
    try:
        return KERNELS[name]
    except KeyError:
        raise InputError("--kernel", "kernel", name, "one of " + ", ".join(KERNELS)) from None


def predict_kernel(
    cpu: str | Core,
    kernel: str | CpuKernel,
    k: int,
    n_out: int,
    batch_tokens: int = 1,
    threads: int = 1,
    weights_from: WeightsFrom = "hot",
) -> Prediction:
    """Time of a product of activations [batch_tokens, k] and weights [n_out, k].

    Parameters
    ----------
    cpu : str or Core
        A shipped core, a file, or a core.
    kernel : str or CpuKernel
    k, n_out, batch_tokens, threads : int
    weights_from : {"hot", "stream"}
        Whether the same product has just been computed, so that what fits caches is there, or weights come from DRAM.

    Raises
    ------
    InputError
        If there is no such core or kernel, the core lacks a feature or an instruction of the kernel, or the kernel does
        not take these sizes.
    """
    core = cpu if isinstance(cpu, Core) else _shipped_core(cpu) if cpu in shipped_cores() else load_core(cpu)
    found = kernel if isinstance(kernel, CpuKernel) else kernel_named(kernel)
    if missing := found.features - set(core.features):
        raise InputError(f"core {core.name}", "features", list(core.features), f"{sorted(missing)}, for {found.name}")
    if not 1 <= threads <= core.cores * core.threads_per_core:
        raise InputError(f"core {core.name}", "threads", threads, f"1 to {core.cores * core.threads_per_core}")
    sizes = batch_tokens, k, n_out
    if not all(1 <= size <= most for size, most in zip(sizes, _MOST, strict=True)):
        limits = " x ".join(map(str, _MOST))
        raise InputError("command line", "shape", " x ".join(map(str, sizes)), f"positive sizes, at most {limits}")
    return _prediction(core, found, Problem(k, n_out, batch_tokens), threads, weights_from)


_shipped_core = lru_cache(load_core)


def _prediction(core: Core, kernel: CpuKernel, problem: Problem, threads: int, weights_from: WeightsFrom) -> Prediction:
    try:
        scheduled = _scheduled(_Same(core), _Same(kernel), problem)
    except ValueError as error:
        raise InputError(f"kernel {kernel.name}", "problem", f"{problem} on {core.name}", str(error)) from None
    steps = tuple(step for step, _ in scheduled)
    resident = _resident_bytes(steps)
    breakdown: dict[str, float] = {}
    bounds: dict[str, float] = {}
    for step, whole in scheduled:
        program = _part(_Same(step.program), threads)
        taken = whole.times(length(program.body) / length(step.program.body))
        limits = _limits(core, kernel, program, taken, threads, resident, weights_from)
        time_us = max(limits.values()) + core.dram.exposed_share * min(limits.values())
        breakdown[step.kind] = breakdown.get(step.kind, 0.0) + time_us
        bound = max(limits, key=lambda name, limits=limits: limits[name])  # type: ignore[misc]
        name = taken.bound_by if bound == "core and caches" else bound
        bounds[name] = bounds.get(name, 0.0) + time_us
        for waited, limit in limits.items():
            breakdown[waited] = breakdown.get(waited, 0.0) + limit
    time_us = sum(breakdown[kind] for kind in dict.fromkeys(step.kind for step in steps))
    return Prediction(time_us, max(bounds, key=lambda name: bounds[name]), breakdown)


def _limits(
    core: Core,
    kernel: CpuKernel,
    program: VectorProgram,
    taken: Schedule,
    threads: int,
    resident: int,
    weights_from: WeightsFrom,
) -> dict[str, float]:
    """Microseconds of what cannot be faster, each by itself: the core with its caches, and DRAM."""
    busy = taken.cycles / core.clock_of(threads) * 1e-3
    moved = [sum(_moved(kernel, program, core, level, resident, weights_from)) for level in range(len(core.caches))]
    for cache, size in zip(core.caches[1:], moved, strict=False):
        busy += cache.exposed_share * size / _shared(cache.gb_per_second, cache.total_gb_per_second, threads) * 1e-3
    weights, others = _moved(kernel, program, core, len(core.caches) - 1, resident, weights_from)
    pace = _shared(core.dram.gb_per_second, core.dram.total_gb_per_second, threads)
    unforeseen = weights * _unforeseen_share(core, kernel, program)
    dram = (weights - unforeseen + others) / pace
    if unforeseen:
        dram += unforeseen * max(1 / pace, _missed_ns_per_byte(core, program, taken, kernel))
    return {"core and caches": busy, "DRAM": dram * 1e-3}


def _moved(
    kernel: CpuKernel, program: VectorProgram, core: Core, level: int, resident: int, weights_from: WeightsFrom
) -> tuple[float, float]:
    """Bytes of weights, and of all else, that one thread brings into a level of cache from beyond."""
    size = core.caches[level].size_bytes
    traffic = _traffic(_Same(program)).traffic_bytes(size // _SAFETY)
    weights = float(traffic.pop(kernel.weight_buffer, 0))
    others = float(sum(traffic.values()))
    missing = _missing_share(resident, size)
    return weights if weights_from == "stream" else missing * weights, missing * others


def _missing_share(resident: int, size: int) -> float:
    """Of bytes that are gone through again and again, those that a cache of some size no longer has.

    Caches do not throw out the oldest line alone: beyond their size they lose their contents gradually, until nothing
    is left at twice the size.
    """
    return min(1.0, max(0.0, resident / size - 1))


def _resident_bytes(steps: tuple[Step, ...]) -> int:
    """Bytes of all buffers of a kernel."""
    sizes: dict[str, int] = {}
    for step in steps:
        for name, size in _traffic(_Same(step.program)).touched_bytes().items():
            sizes[name] = max(size, sizes.get(name, 0))
    return sum(sizes.values())


def _shared(one: float, total: float | None, threads: int) -> float:
    """Rate of one of some threads."""
    return one if total is None else min(one, total / threads)


def _unforeseen_share(core: Core, kernel: CpuKernel, program: VectorProgram) -> float:
    """Of the lines of weights, those that no prefetcher asks for."""
    if kernel.weight_buffer not in program.buffer_bytes:
        return 0.0
    streams, gap = streams_of(program, kernel.weight_buffer)
    side_by_side = min(float(streams), 1 + _PAGE_BYTES / gap) if gap else 1.0
    return max(0.0, 1 - core.dram.streams_of_a_page / side_by_side)


def _missed_ns_per_byte(core: Core, program: VectorProgram, taken: Schedule, kernel: CpuKernel) -> float:
    """Time of a byte that nobody has asked for before: the reorder buffer reaches some lines ahead."""
    weights = _traffic(_Same(program)).touched_bytes()[kernel.weight_buffer]
    reached = core.reorder_buffer * weights / taken.instructions
    return core.dram.latency_ns / max(_LINE_BYTES, reached)


class _Same(Generic[Value]):
    """A value that is equal to itself alone, so that what belongs to it can be remembered."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@lru_cache(maxsize=2048)
def _scheduled(core: _Same[Core], kernel: _Same[CpuKernel], problem: Problem) -> list[tuple[Step, Schedule]]:
    """The steps of a kernel, with the schedule of each on one thread."""
    return [(step, schedule(core.value, step.program)) for step in kernel.value.steps(problem)]


@lru_cache(maxsize=2048)
def _traffic(program: _Same[VectorProgram]) -> Traffic:
    return Traffic(program.value)


@lru_cache(maxsize=2048)
def _part(whole: _Same[VectorProgram], threads: int) -> VectorProgram:
    """Of outermost loops, so many iterations as the slowest thread has."""
    program = whole.value
    if threads == 1:
        return program
    body = tuple(_shortened(item, threads) if isinstance(item, Loop) else item for item in program.body)
    return VectorProgram(program.name, body, program.buffer_bytes, program.alignment_bytes)


def _shortened(loop: Loop, threads: int) -> Loop:
    variable = Variable(loop.variable.name, -(-loop.variable.count // threads))
    return Loop(variable, tuple(_renamed(item, loop.variable, variable) for item in loop.body), loop.overhead)


def _renamed(item: Instruction | Loop, old: Variable, new: Variable) -> Instruction | Loop:
    if isinstance(item, Loop):
        return Loop(item.variable, tuple(_renamed(inner, old, new) for inner in item.body), item.overhead)
    if item.address is None:
        return item
    offset = item.address.offset
    strides = tuple((new if variable is old else variable, stride) for variable, stride in offset.strides)
    address = type(item.address)(item.address.buffer, Offset(offset.constant, strides), item.address.size_bytes)
    return Instruction(item.name, item.size_bytes, item.target, item.sources, address, item.immediate)
