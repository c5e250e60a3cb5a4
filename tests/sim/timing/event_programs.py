"""Programs and memories for tests of the event model: tiles in nested loops, and times that depend on addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from varied_machines import machine_of

from isa.instructions import End, Fence, Halt, Instruction, Lmma, Load, Loop, Scale, SetPointer, Step, Store, Sync
from isa.instructions.types import ENGINES
from isa.program import Program, Unit
from sim.timing.dram import BankModel, MemoryModel, Transfer
from sim.timing.event import ProgramSource
from sim.timing.machine import Machine
from sim.timing.tasks import Costs

UNIT = Unit("mac", 2, 64, 4, 1 << 16, 1 << 16, 0, 1 << 16, 1 << 16)
WEIGHTS, INPUTS, RESULTS, WEIGHT_TILE, INPUT_TILE, SUMS = range(6)


@dataclass(frozen=True)
class PatternMemory:
    """A memory in which the time depends on where in 256 bytes a transfer begins."""

    latency_cycles: int
    pattern: tuple[int, ...]
    span_bytes: int = 256

    def service_cycles(self, transfer: Transfer) -> int:
        place = transfer.address % self.span_bytes * len(self.pattern) // self.span_bytes
        return transfer.size_bytes // 16 + self.pattern[place]


def program_of(*instructions: Instruction) -> Program:
    """The instructions, and `halt`."""
    return Program((*instructions, Halt()), (), UNIT)


def source_of(
    program: Program, memory: MemoryModel, machine: Machine | None = None, name: str = "test"
) -> ProgramSource:
    machine = machine or machine_of()
    return ProgramSource(name, program, Costs(machine, machine.compute, memory))


def sync(unit: Any, wait: Sequence[int] = (), signal: Sequence[int] = ()) -> Sync:
    return Sync(unit=unit, wait=frozenset(wait), signal=frozenset(signal))


def load(size_bytes: int, wait: Sequence[int] = (), signal: Sequence[int] = (), source: int = WEIGHTS) -> Load:
    target = WEIGHT_TILE if source == WEIGHTS else INPUT_TILE
    space = "weight" if source == WEIGHTS else "activation"
    tokens = {"wait": frozenset(wait), "signal": frozenset(signal)}
    return Load(space=space, source=source, target=target, rows=1, row_bytes=size_bytes, pitch_bytes=0, **tokens)


def lmma(depth: int, wait: Sequence[int] = (), signal: Sequence[int] = (), rows: int = 2) -> Lmma:
    return Lmma(
        m=2,
        n=64,
        k=4,
        activation="int8",
        weight="int8",
        accumulator="int32",
        inputs="activation",
        order="blocks",
        mode="accumulate",
        source=INPUT_TILE,
        weights=WEIGHT_TILE,
        target=SUMS,
        rows=rows,
        columns=64,
        depth=depth,
        pitch_bytes=depth,
        wait=frozenset(wait),
        signal=frozenset(signal),
    )


def scale(columns: int, wait: Sequence[int] = (), signal: Sequence[int] = ()) -> Scale:
    return Scale(
        granularity="row",
        rule="multiply",
        columns_have="each",
        scale="fp32",
        source=SUMS,
        target=SUMS,
        column_scales=6,
        row_scales=6,
        rows=2,
        columns=columns,
        wait=frozenset(wait),
        signal=frozenset(signal),
    )


def store(columns: int, wait: Sequence[int] = (), signal: Sequence[int] = (), mode: str = "overwrite") -> Store:
    return Store(
        space="memory",
        mode=mode,
        origin="accumulator",
        element="fp32",
        result="fp32",
        source=SUMS,
        target=RESULTS,
        rows=1,
        columns=columns,
        pitch_bytes=0,
        wait=frozenset(wait),
        signal=frozenset(signal),
    )


def step(pointer: int, stride_bytes: int) -> Step:
    return Step(target=pointer, stride_bytes=stride_bytes)


@dataclass(frozen=True)
class Tiling:
    """A loop nest over tiles: the outer loops, the loop over the depth inside, and what a tile needs."""

    outer: tuple[int, ...]
    inner: int
    halves: int
    weight_bytes: int
    input_bytes: int
    depth: int
    columns: int
    strides: tuple[int, int, int]
    mode: str
    fenced: bool

    def program(self) -> Program:
        """Load, multiply, scale and store, double-buffered with tokens: 0 free tiles, 1 and 2 filled ones, 3 free
        sums, 4 summed ones, 5 scaled ones."""
        begin = [
            *(SetPointer(target=pointer, base=pointer << 20, ring_bytes=0) for pointer in (WEIGHTS, INPUTS, RESULTS)),
            SetPointer(target=WEIGHT_TILE, base=0, ring_bytes=self.halves * self.weight_bytes),
            SetPointer(target=INPUT_TILE, base=0, ring_bytes=self.halves * self.input_bytes),
            SetPointer(target=SUMS, base=0, ring_bytes=1024),
            *([sync("array", signal=(0,))] * self.halves),
            sync("store", signal=(3,)),
        ]
        inner = [
            Loop(count=self.inner),
            load(self.weight_bytes, (0,), (1,)),
            load(self.input_bytes, (), (2,), INPUTS),
            lmma(self.depth, (1, 2), (0,)),
            step(WEIGHTS, self.strides[0]),
            step(WEIGHT_TILE, self.weight_bytes),
            step(INPUTS, self.strides[1]),
            step(INPUT_TILE, self.input_bytes),
            End(),
        ]
        tile = [
            sync("array", (3,)),
            *inner,
            sync("array", (), (4,)),
            scale(self.columns, (4,), (5,)),
            store(self.columns, (5,), (3,), self.mode),
            step(RESULTS, self.strides[2]),
            step(SUMS, 512),
        ]
        fence = [Fence(), *([sync("array", signal=(0,))] * self.halves), sync("store", signal=(3,))]
        for level, count in enumerate(reversed(self.outer)):
            tile = [Loop(count=count), *tile, *(fence if self.fenced and level == 0 else ()), End()]
        return program_of(*begin, *tile)


tilings = st.builds(
    Tiling,
    outer=st.lists(st.integers(1, 6), min_size=0, max_size=2).map(tuple),
    inner=st.integers(1, 30),
    halves=st.integers(1, 3),
    weight_bytes=st.sampled_from([16, 400, 4096, 20_000]),
    input_bytes=st.sampled_from([16, 64, 1000]),
    depth=st.sampled_from([1, 64, 900]),
    columns=st.sampled_from([1, 64, 300]),
    strides=st.tuples(*[st.sampled_from([0, 0, 64, 96, 256, 256, 4096, -128])] * 3),
    mode=st.sampled_from(["overwrite", "accumulate"]),
    fenced=st.booleans(),
)

memories = st.one_of(
    st.builds(
        PatternMemory,
        latency_cycles=st.integers(0, 120),
        pattern=st.lists(st.integers(0, 40), min_size=1, max_size=8).map(tuple),
    ),
    st.sampled_from([0.5, 1.0]).map(lambda clock_ghz: BankModel(machine_of().dram, clock_ghz)),
)

machines = st.builds(
    lambda depth, ports, banks: machine_of(
        **{"queue_depth": depth, "buffers.port_bytes": ports, "buffers.banks": banks}
    ),
    depth=st.sampled_from([1, 2, 8]),
    ports=st.sampled_from([None, 4, 64]),
    banks=st.sampled_from([1, 2, 4]),
)

FLAT = PatternMemory(50, (7,))
TILES = Tiling((1,), 1_000_000, 2, 4096, 64, 256, 64, (4096, 64, 256), "overwrite", fenced=False)

_signals = st.frozensets(st.integers(0, 2), max_size=2).map(tuple)
_waits = st.sampled_from([(), (), (), (0,), (1,), (0, 2)])
_tasks = st.one_of(
    st.builds(sync, st.sampled_from(ENGINES), _waits, _signals),
    st.builds(load, st.sampled_from([16, 500, 5000]), _waits, _signals, st.sampled_from([WEIGHTS, INPUTS])),
    st.builds(lmma, st.sampled_from([4, 100, 900]), _waits, _signals),
    st.builds(scale, st.sampled_from([8, 500]), _waits, _signals),
    st.builds(store, st.sampled_from([8, 500]), _waits, _signals),
    st.builds(step, st.integers(WEIGHTS, SUMS), st.sampled_from([32, 64, 256])),
)


@st.composite
def tangles(draw: st.DrawFn) -> Program:
    """Loops over tasks whose tokens make no sense, with some to begin with: queues fill up and run empty, counters grow
    or run out, engines drift apart, until it all repeats, or waits for ever."""
    begin = [sync("scale", (), (0, 1, 2))] * draw(st.integers(0, 60))
    inner = draw(st.lists(_tasks, min_size=1, max_size=6))
    loop = [Loop(count=draw(st.integers(1, 60))), *inner, End()]
    outer = draw(st.lists(_tasks, max_size=3))
    nest = [Loop(count=draw(st.integers(1, 4))), *outer, *loop, End()]
    rings = [SetPointer(target=tile, base=0, ring_bytes=512) for tile in (WEIGHT_TILE, INPUT_TILE, SUMS)]
    return program_of(*rings, *begin, *nest, *draw(st.lists(_tasks, max_size=4)))
