"""Event simulation of a sequence of tiles by SimPy: a loader, the array and a storer that share scratchpad halves and
DRAM.

Think of a workshop with two benches for parts and two for finished goods. A carrier brings parts to a free bench; the
worker takes the next bench that is filled, works, and puts the result on a free bench at the other side, from where a
second carrier takes it away. Both carriers use the same narrow door, one at a time, and take turns when both have
something to carry: that is the memory channel.

    loader ──[half][half]──► array ──[half][half]──► storer
       └───────────── memory channel ─────────────────┘
"""

from __future__ import annotations

from collections.abc import Generator

import simpy

from sim.timing.analytic import transfer_cycles
from sim.timing.machine import Machine
from sim.timing.tiles import HALVES, Tiles, TileTiming

__all__ = ["simulate_tiles"]

BURST_CYCLES = 256
"""Longest time that one transfer holds the memory channel while another waits for it."""

_MOST_BURSTS = 64

Process = Generator[simpy.Event, object, None]


def simulate_tiles(machine: Machine, tiles: Tiles, pipeline_cycles: int) -> TileTiming:
    """Time of the tiles, by simulating every load, computation and store."""
    return _Pipeline(machine, tiles).run(pipeline_cycles)


class _Pipeline:
    """One operation in flight."""

    def __init__(self, machine: Machine, tiles: Tiles) -> None:
        self._loads = transfer_cycles(machine, tiles.load_bytes).tolist()
        self._compute = tiles.compute_cycles.tolist()
        self._stores = transfer_cycles(machine, tiles.store_bytes).tolist()
        # A long transfer takes longer turns, so that its bursts stay countable.
        longest = max(*self._loads, *self._stores, 0)
        self._burst_cycles = max(BURST_CYCLES, longest // _MOST_BURSTS)
        self._begins_output = _output_beginnings(self._stores)
        self._latency = machine.dram_latency_cycles
        self._env = simpy.Environment()
        self._channel = simpy.Resource(self._env, capacity=1)
        self._free_inputs = simpy.Container(self._env, capacity=HALVES, init=HALVES)
        self._free_outputs = simpy.Container(self._env, capacity=HALVES, init=HALVES)
        self._filled: simpy.Store = simpy.Store(self._env)
        self._finished: simpy.Store = simpy.Store(self._env)
        self._first_start = self._last_end = 0

    def run(self, pipeline_cycles: int) -> TileTiming:
        self._env.process(self._load())
        worker, storer = self._env.process(self._work()), self._env.process(self._store())
        self._env.run(until=worker & storer)
        busy = sum(self._compute)
        return TileTiming(
            fill_cycles=self._first_start,
            compute_cycles=busy,
            stall_cycles=self._last_end - self._first_start - busy,
            drain_cycles=int(self._env.now) - self._last_end + pipeline_cycles,
        )

    def _load(self) -> Process:
        """Bring every tile in order; the bytes arrive a latency after the channel has sent them."""
        for transfer in self._loads:
            yield self._free_inputs.get(1)
            arrival = self._env.now
            if transfer:
                yield from self._transfer(transfer)
                arrival = self._env.now + self._latency
            yield self._filled.put(arrival)

    def _work(self) -> Process:
        """Compute every tile in order, once it has arrived and, if it begins an output, a half is free for that."""
        for index, (cycles, store) in enumerate(zip(self._compute, self._stores, strict=True)):
            arrival = yield self._filled.get()
            assert isinstance(arrival, int | float)  # noqa: S101  (SimPy's events carry untyped values)
            if arrival > self._env.now:
                yield self._env.timeout(arrival - self._env.now)
            if self._begins_output[index]:
                yield self._free_outputs.get(1)
            if index == 0:
                self._first_start = int(self._env.now)
            if cycles:
                yield self._env.timeout(cycles)
            self._last_end = int(self._env.now)
            yield self._free_inputs.put(1)
            if store:
                yield self._finished.put(store)

    def _store(self) -> Process:
        """Take every finished output away."""
        for _ in range(sum(1 for store in self._stores if store)):
            transfer = yield self._finished.get()
            assert isinstance(transfer, int)  # noqa: S101  (SimPy's events carry untyped values)
            yield from self._transfer(transfer)
            yield self._free_outputs.put(1)

    def _transfer(self, cycles: int) -> Process:
        """Hold the memory channel, burst by burst, so that loads and stores that are both pending take turns."""
        while cycles > 0:
            with self._channel.request() as turn:
                yield turn
                yield self._env.timeout(min(cycles, self._burst_cycles))
            cycles -= self._burst_cycles


def _output_beginnings(stores: list[int]) -> list[bool]:
    """Whether each tile is the first that sums into an output which is stored later."""
    last = max((index for index, store in enumerate(stores) if store), default=-1)
    return [index <= last and (index == 0 or stores[index - 1] > 0) for index in range(len(stores))]
