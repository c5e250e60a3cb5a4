"""Cycles of a vector program on a core out of order, with all data in the first cache.

Every instruction takes the earliest free place of a pipe that can execute it once its operands are there; older ones
choose first. It is dispatched in order, so many a cycle, and only while the reorder buffer has room. Loads that cross a
cache line take their pipe longer; what is read back from where it was just written waits for that. Branches are
foreseen, and no queue but the reorder buffer fills up.

Long loops are simulated for as many iterations as they need to become steady, and continued at that pace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

from sim.simd.program import Instruction, Loop, Register, Variable, VectorProgram
from sim.timing.cpu.core import Core

__all__ = ["Schedule", "length", "schedule"]

Int64 = NDArray[np.int64]

_LINE_BYTES = 64
_LONGEST = 16_000
"""Instructions that are simulated one by one; longer programs are put together of their loops."""
_SOURCES = 4
_FREE = ("zero", "lower_half")
"""What takes no pipe unless a core's file says so: clearing and renaming are done where registers are renamed."""
_ALL: Mapping[Variable, int] = {}


@dataclass(frozen=True)
class Schedule:
    """What a program takes.

    Parameters
    ----------
    cycles : float
    instructions : float
        With those of loops.
    busy : mapping of str to float
        Cycles in which each pipe is busy; "dispatch", those that dispatch alone would take.
    """

    cycles: float
    instructions: float
    busy: dict[str, float]

    @property
    def bound_by(self) -> str:
        """The pipe, or dispatch, that is busy longest; latency, if none is for nine tenths of the time."""
        name = max(self.busy, key=lambda each: self.busy[each])
        return name if self.busy[name] >= 0.9 * self.cycles else "latency"

    def times(self, count: float) -> Schedule:
        """So many of them, one after the other."""
        busy = {name: count * cycles for name, cycles in self.busy.items()}
        return Schedule(count * self.cycles, count * self.instructions, busy)

    def then(self, other: Schedule) -> Schedule:
        """This one and the other after it."""
        busy = {name: cycles + other.busy[name] for name, cycles in self.busy.items()}
        return Schedule(self.cycles + other.cycles, self.instructions + other.instructions, busy)


def schedule(core: Core, program: VectorProgram) -> Schedule:
    """Time of a program.

    Parameters
    ----------
    core : Core
    program : VectorProgram

    Raises
    ------
    ValueError
        If the core's file does not have one of its instructions.
    """
    found = _Scheduler(core, program).of(program.body)
    pipes = core.vector_pipes
    filled = sum(found.busy[pipe] for pipe in pipes) / (len(pipes) * core.mixed_share) if pipes else 0.0
    return replace(found, cycles=max(found.cycles, filled), busy=found.busy | {"vector pipes": filled})


class _Scheduler:
    """Static tables of a program on a core, and the simulation of parts of it."""

    def __init__(self, core: Core, program: VectorProgram) -> None:
        self._core = core
        self._items = [item for item, _ in program.instructions()]
        self._numbers = {id(item): number for number, item in enumerate(self._items)}
        self._tables = _tables(core, program, self._items)
        self._known_strides: dict[Variable, Int64] = {}

    def of(self, body: Sequence[Instruction | Loop]) -> Schedule:
        """Of instructions and loops in a row."""
        if length(body) <= _LONGEST:
            return self._simulated(body)
        total, straight = self._nothing(), list[Instruction | Loop]()
        for item in body:
            if isinstance(item, Loop) and length([item]) > _LONGEST // 8:
                total = total.then(self._simulated(straight)).then(self._loop(item))
                straight = []
            else:
                straight.append(item)
        return total.then(self._simulated(straight))

    def _loop(self, loop: Loop) -> Schedule:
        count, each = loop.variable.count, length(loop.body) + loop.overhead
        if each > _LONGEST // 4:
            # Against such a body the few instructions of the loop itself take no time.
            around = replace(self._nothing(), instructions=loop.overhead)
            return self.of(loop.body).then(around).times(count)
        steady = max(2, _LONGEST // (2 * each))
        if steady >= count:
            return self._simulated([loop])
        short, long = (self._simulated([loop], {loop.variable: turns}) for turns in (steady // 2, steady))
        turns = steady - steady // 2
        busy = {name: (long.busy[name] - short.busy[name]) / turns for name in long.busy}
        pace = Schedule((long.cycles - short.cycles) / turns, each, busy)
        return long.then(pace.times(count - steady))

    def _nothing(self) -> Schedule:
        return Schedule(0, 0, dict.fromkeys((*self._core.pipes, "dispatch"), 0.0))

    def _simulated(self, body: Sequence[Instruction | Loop], counts: Mapping[Variable, int] = _ALL) -> Schedule:
        """Every instruction of a body; of some loops only so many iterations."""
        if not body:
            return self._nothing()
        tables = self._tables
        order, offsets = self._expanded(body, counts)
        sizes, place = tables.access_bytes[order], offsets + tables.alignment_bytes[order]
        splits = (sizes > 0) & (place % _LINE_BYTES + sizes > _LINE_BYTES)
        cycles, busy = _simulate(
            order,
            splits,
            tables.sources,
            tables.targets,
            tables.places,
            tables.work,
            tables.pipes,
            self._core.dispatch_width,
            self._core.reorder_buffer,
            self._core.loads.line_split_cycles,
            len(self._core.pipes),
        )
        dispatched = float(tables.work[order, _SLOTS].sum()) / self._core.dispatch_width
        named = dict(zip(self._core.pipes, busy.tolist(), strict=True))
        return Schedule(float(cycles), len(order), named | {"dispatch": dispatched})

    def _expanded(self, body: Sequence[Instruction | Loop], counts: Mapping[Variable, int]) -> tuple[Int64, Int64]:
        """Numbers of the instructions as they are executed, and the offsets of their addresses."""
        orders, offsets = list[Int64](), list[Int64]()
        for item in body:
            if isinstance(item, Instruction):
                orders.append(np.array([self._numbers[id(item)]]))
                offsets.append(np.array([item.address.offset.constant if item.address else 0]))
                continue
            count = counts.get(item.variable, item.variable.count)
            order, offset = self._expanded(item.body, counts)
            order = np.append(order, np.full(item.overhead, self._tables.integer))
            offset = np.append(offset, np.zeros(item.overhead, np.int64))
            strides = self._strides(item.variable)[order]
            orders.append(np.tile(order, count))
            offsets.append((offset[None] + np.arange(count)[:, None] * strides[None]).reshape(-1))
        return np.concatenate(orders), np.concatenate(offsets)

    def _strides(self, variable: Variable) -> Int64:
        """Of every instruction's address, for an iteration of a loop."""
        if variable not in self._known_strides:
            found = [dict(item.address.offset.strides).get(variable, 0) if item.address else 0 for item in self._items]
            self._known_strides[variable] = np.array([*found, 0], np.int64)
        return self._known_strides[variable]


def length(body: Sequence[Instruction | Loop]) -> int:
    """Instructions that are executed."""
    return sum(
        item.variable.count * (length(item.body) + item.overhead) if isinstance(item, Loop) else 1 for item in body
    )


# Columns of `_Tables.work`.
_CYCLES, _PIECES, _LATENCY, _SLOTS, _LOADS, _STORES, _LOAD_LATENCY, _LATE = range(8)


@dataclass(frozen=True)
class _Tables:
    """What instructions of a program take, by their number; the last is that of loops.

    Parameters
    ----------
    sources : int64 [instructions, 4], registers, 0 for none
    targets : int64 [instructions]
    places : int64 [instructions]
        Where an access goes, as a register of its own, if it is always the same place and something is written there; 0
        otherwise.
    work : int64 [instructions, columns]
    pipes : bool [instructions + 2 kinds, pipes]
        Those that can execute each; behind them those of loads and of stores.
    access_bytes, alignment_bytes : int64 [instructions]
    integer : int
        Number of the last.
    """

    sources: Int64
    targets: Int64
    places: Int64
    work: Int64
    pipes: NDArray[np.bool_]
    access_bytes: Int64
    alignment_bytes: Int64
    integer: int


def _tables(core: Core, program: VectorProgram, items: Sequence[Instruction]) -> _Tables:
    registers: dict[Register | tuple[str, int], int] = {}
    written = {_fixed_place(item) for item in items if item.target is None} - {None}
    count = len(items) + 1
    sources, targets, places = (
        np.zeros((count, _SOURCES), np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
    )
    work, pipes = np.zeros((count, 8), np.int64), np.zeros((count + 2, len(core.pipes)), np.bool_)
    access, alignment = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for number, item in enumerate(items):
        for place, register in enumerate(item.sources):
            sources[number, place] = registers.setdefault(register, len(registers) + 1)
        if item.target is not None:
            targets[number] = registers.setdefault(item.target, len(registers) + 1)
        if item.address is not None:
            access[number] = item.address.size_bytes
            alignment[number] = program.alignment_bytes.get(item.address.buffer, 0)
            fixed = _fixed_place(item)
            if fixed is not None and fixed in written:
                places[number] = registers.setdefault(fixed, len(registers) + 1)
        work[number], allowed = _work(core, item)
        pipes[number] = [name in allowed for name in core.pipes]
    integer = core.instructions["integer"]
    work[-1] = integer.cycles, integer.pieces, integer.latency_cycles, integer.slots, 0, 0, 0, 0
    pipes[count - 1] = [name in integer.pipes for name in core.pipes]
    pipes[count] = [name in core.loads.pipes for name in core.pipes]
    pipes[count + 1] = [name in core.loads.store_pipes for name in core.pipes]
    return _Tables(sources, targets, places, work, pipes, access, alignment, count - 1)


def _fixed_place(item: Instruction) -> tuple[str, int] | None:
    """Where an instruction reads or writes, if that is the same place in every iteration."""
    if item.address is None or any(stride for _, stride in item.address.offset.strides):
        return None
    return item.address.buffer, item.address.offset.constant


def _work(core: Core, item: Instruction) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """A row of `_Tables.work`, and the pipes; those of a plain load or store are elsewhere."""
    loads = stores = 0
    if item.address is not None:
        pieces = -(-item.address.size_bytes // core.loads.bytes)
        loads, stores = (0, pieces) if item.target is None else (pieces, 0)
    latency = core.loads.latency_cycles if loads else 0
    if item.name in ("load", "store") or (item.name not in core.instructions and item.name in _FREE):
        return (0, 0, 0, 1, loads, stores, latency, 0), ()
    found = core.instructions.get(item.name)
    if found is None:
        raise ValueError(f"core {core.name} does not say how long {item.name} takes")
    wide = item.size_bytes > core.vector_bytes
    timing = found.wide if wide and found.wide is not None else found
    cycles = timing.cycles
    if wide and found.wide is None:
        cycles *= -(-item.size_bytes // core.vector_bytes)
    known = timing.accumulator_latency_cycles
    late = 0 if known is None else timing.latency_cycles - known
    return (cycles, timing.pieces, timing.latency_cycles, timing.slots, loads, stores, latency, late), timing.pipes


@numba.njit(cache=True)
def _earliest(calendar: Int64, allowed: NDArray[np.bool_], ready: int, cycles: int, load: Int64) -> tuple[int, int]:
    """The pipe that is free for so long first, from a cycle on, and when; of equals the one with the least work."""
    best, found = -1, 1 << 60
    for pipe in range(len(allowed)):
        if not allowed[pipe]:
            continue
        start, free = ready, 0
        while free < cycles and start <= found:
            if calendar[pipe, (start + free) % calendar.shape[1]] == start + free:
                start, free = start + free + 1, 0
            else:
                free += 1
        if free == cycles and (start < found or (start == found and load[pipe] < load[best])):
            best, found = pipe, start
    return best, found


@numba.njit(cache=True)
def _simulate(
    order: Int64,
    splits: NDArray[np.bool_],
    sources: Int64,
    targets: Int64,
    places: Int64,
    work: Int64,
    pipes: NDArray[np.bool_],
    width: int,
    reorder_buffer: int,
    split_cycles: int,
    pipe_count: int,
) -> tuple[int, Int64]:
    """Cycles, and those in which each pipe is busy."""
    calendar = np.full((pipe_count, 1 << 14), -1, np.int64)
    busy = np.zeros(pipe_count, np.int64)
    ready = np.zeros(max(targets.max(), sources.max(), places.max()) + 1, np.int64)
    retired = np.zeros(len(order), np.int64)
    dispatch, room, end = 0, width, 0
    kinds = len(work)
    for place in range(len(order)):
        number = order[place]
        if place >= reorder_buffer and retired[place - reorder_buffer] > dispatch:
            dispatch, room = retired[place - reorder_buffer], width
        if room < work[number, _SLOTS]:
            dispatch, room = dispatch + 1, width
        room -= work[number, _SLOTS]
        start = dispatch + 1
        start = max(start, ready[sources[number, 0]] - work[number, _LATE])
        for source in sources[number, 1:]:
            start = max(start, ready[source])
        done = dispatch + 1
        written = max(dispatch + 1, ready[places[number]])
        for _ in range(work[number, _LOADS]):
            cycles = 1 + (split_cycles if splits[place] else 0)
            pipe, at = _earliest(calendar, pipes[kinds], written, cycles, busy)
            for cycle in range(at, at + cycles):
                calendar[pipe, cycle % calendar.shape[1]] = cycle
            busy[pipe] += cycles
            done = max(done, at + cycles - 1 + work[number, _LOAD_LATENCY])
        start = max(start, done) if work[number, _LOADS] else start
        finished = start
        for _ in range(work[number, _PIECES]):
            pipe, at = _earliest(calendar, pipes[number], start, work[number, _CYCLES], busy)
            for cycle in range(at, at + work[number, _CYCLES]):
                calendar[pipe, cycle % calendar.shape[1]] = cycle
            busy[pipe] += work[number, _CYCLES]
            finished = max(finished, at + work[number, _LATENCY])
        for _ in range(work[number, _STORES]):
            pipe, at = _earliest(calendar, pipes[kinds + 1], start, 1, busy)
            calendar[pipe, at % calendar.shape[1]] = at
            busy[pipe] += 1
            finished = max(finished, at + 1)
        if targets[number]:
            ready[targets[number]] = finished
        if work[number, _STORES] and places[number]:
            ready[places[number]] = finished
        end = max(end, finished)
        retired[place] = end
    return end, busy
