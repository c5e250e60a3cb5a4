"""What is no matrix product: it streams through the vector unit in equal chunks, in and out of the activation
scratchpad. It has no instructions; its chunks are tasks of the same engines, and have a closed form of their own.

    load engine ──[place][place]──► vector unit ──[place][place]──► store engine
         └──────────────── memory channel ───────────────┘

The closed form takes the latest of chains that the event model obeys too: the first chunk's load and all computation;
all loads and the last computation; places that are filled, used and only then filled again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa import InputError
from sim.timing.dram import Transfer
from sim.timing.machine import Machine
from sim.timing.memory import Memory
from sim.timing.nest import Int64, Tile
from sim.timing.tasks import Task

__all__ = ["PLACES", "Stream", "StreamTiming", "map_stream", "stream_tasks", "time_stream"]

PLACES = 2
"""Chunks of an input, and of an output, that the activation scratchpad holds."""

# Into how many chunks a stream is cut, how small a chunk may be for that, and how many are refused.
_CHUNKS, _LEAST_CHUNK_BYTES, _MOST_CHUNKS = 16, 4096, 1 << 21
_INPUT_FULL, _INPUT_FREE, _OUTPUT_FULL, _OUTPUT_FREE = (frozenset({counter}) for counter in range(4))


@dataclass(frozen=True, eq=False)
class Stream:
    """Per chunk, in the order of execution, bytes to load, cycles to compute and bytes to store, int64."""

    load_bytes: Int64
    compute_cycles: Int64
    store_bytes: Int64


@dataclass(frozen=True)
class StreamTiming:
    """Time of a stream in cycles: before the unit has anything to do, in which it works, in which it waits, after its
    last result; and what the memory channel carries."""

    fill_cycles: int
    compute_cycles: int
    stall_cycles: int
    drain_cycles: int
    memory_cycles: int


def map_stream(machine: Machine, load_bytes: int, compute_cycles: int, store_bytes: int) -> Stream:
    """Equal chunks, each of at most half the activation scratchpad; `_CHUNKS` of them unless that makes them tiny, so
    that filling and draining the stream takes little. `InputError` if they would be too many to simulate."""
    longest = max(load_bytes, store_bytes)
    chunk = min(machine.buffers.activation_bytes // PLACES, max(_LEAST_CHUNK_BYTES, -(-longest // _CHUNKS)))
    count = max(1, -(-longest // chunk))
    if count > _MOST_CHUNKS:
        expected = f"scratchpads and work of at most {_MOST_CHUNKS:,} tiles an operation"
        raise InputError(f"machine {machine.name}", "buffers", f"{count:,} tiles in one operation", expected)
    return Stream(_parts(load_bytes, count), _parts(compute_cycles, count), _parts(store_bytes, count))


def _parts(total: int, parts: int) -> Int64:
    """Integers that differ by at most one and sum to the total."""
    quotient, remainder = divmod(total, parts)
    return quotient + (np.arange(parts, dtype=np.int64) < remainder)


def stream_tasks(machine: Machine, stream: Stream) -> list[Task]:
    """The tasks of a stream: two places are free at first, then each chunk is loaded, computed and stored."""
    latency, pipeline = round(machine.memory_timings.latency_cycles), machine.vector.pipeline_cycles
    tasks = [Task("array", "sync", 1, signal=_INPUT_FREE), Task("store", "sync", 1, signal=_OUTPUT_FREE)] * PLACES
    read, written = 0, int(stream.load_bytes.sum())
    chunks = zip(stream.load_bytes.tolist(), stream.compute_cycles.tolist(), stream.store_bytes.tolist(), strict=True)
    for load, cycles, store in chunks:
        wait, signal = frozenset[int](), frozenset[int]()
        if load:
            transfer = Transfer(read, 1, load, 0)
            tasks.append(
                Task("load", "load", 1, transfer, latency_cycles=latency, wait=_INPUT_FREE, signal=_INPUT_FULL)
            )
            wait, signal = _INPUT_FULL, _INPUT_FREE
        if store:
            wait, signal = wait | _OUTPUT_FREE, signal | _OUTPUT_FULL
        tasks.append(Task("array", "vector", max(1, cycles), latency_cycles=pipeline, wait=wait, signal=signal))
        if store:
            transfer = Transfer(written, 1, store, 0)
            tasks.append(Task("store", "store", 1, transfer, wait=_OUTPUT_FULL, signal=_OUTPUT_FREE))
        read, written = read + load, written + store
    return tasks


def time_stream(machine: Machine, stream: Stream) -> StreamTiming:
    """Time of a stream, without simulating it."""
    memory = Memory.of(machine.memory_timings)
    loads, stores = (_transfer_cycles(memory, sizes) for sizes in (stream.load_bytes, stream.store_bytes))
    cycles, pipeline = np.maximum(stream.compute_cycles, 1), machine.vector.pipeline_cycles
    compute, last_compute, latency = int(cycles.sum()), int(cycles[-1]), int(memory.latency_cycles)
    start = 2 * PLACES + 1
    all_loads, all_stores = int(loads.sum()), int(stores.sum())
    fill = start + int(loads[0]) + (latency if loads[0] else 0)
    loaded = start + all_loads + (latency if all_loads else 0) + last_compute
    computed = max(fill + compute, loaded, start + _turnaround(loads, cycles, latency))
    end = max(computed + pipeline + int(stores[-1]), start + all_loads + all_stores)
    return StreamTiming(fill, compute, computed - fill - compute, end - computed, all_loads + all_stores)


def _transfer_cycles(memory: Memory, sizes: Int64) -> NDArray[np.int64]:
    distinct, place = np.unique(sizes, return_inverse=True)
    one, none = np.ones_like(distinct), np.zeros_like(distinct)
    return np.ceil(memory.service_cycles(Tile(one, distinct, none))).astype(np.int64)[place]


def _turnaround(loads: Int64, cycles: Int64, latency: int) -> int:
    """Earliest end of the last computation if the places of the scratchpad alone set the pace."""
    each = loads + latency * (loads > 0) + cycles
    last = (len(loads) - 1) % PLACES
    ends = [
        int(loads[:first].sum() + each[first::PLACES].sum()) + (0 if first == last else int(cycles[-1]))
        for first in range(min(PLACES, len(loads)))
    ]
    return max(ends)
