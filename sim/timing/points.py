"""A million points at once: the time of matrix products on machines, each point a product, a machine and a
cut of its own.

    Hardware, Products, Scratchpads, TimingArrays ──a few cuts a point──► least bound that fits ──`time_nests`──► Points

Where `sim.lowering.search` weighs thousands of cuts of one product, here a few of the shapes that it mostly chooses are
compared at every point: as many rows, inputs or columns as fit first, in both orders. Points where none of them fits
say so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.timing.analytic import time_nests
from sim.timing.arrays import Cuts, Hardware, Int64, Products
from sim.timing.dram import TimingArrays
from sim.timing.machine import Machine
from sim.timing.memory import Memory
from sim.timing.nest import Nest

__all__ = ["Points", "Scratchpads", "time_points"]

# Points at a time, in every thread.
_CHUNK = 1 << 15
_NEVER = np.inf
# Places of a tile, most rows, most blocks of N columns, whether it has all inputs, whether columns are the outer loop.
_WAYS = (
    (2, 128, 64, 1, 0),
    (2, 128, 4, 1, 1),
    (2, 128, 1, 1, 0),
    (2, 128, 2, 0, 0),
    (2, 128, 1, 0, 0),
    (2, 32, 4, 0, 0),
    (2, 1, 1, 0, 0),
    (1, 128, 4, 0, 0),
    (1, 1, 1, 0, 0),
)


class Scratchpads(NamedTuple):
    """Sizes of scratchpads in bytes, int64 arrays."""

    activation_bytes: Int64
    weight_bytes: Int64
    table_bytes: Int64
    accumulator_bytes: Int64
    scale_bytes: Int64

    @classmethod
    def of(cls, machine: Machine) -> Scratchpads:
        """Those of one machine."""
        buffers = machine.buffers
        sizes = (buffers.activation_bytes, buffers.weight_bytes, buffers.table_bytes)
        return cls(*(np.asarray(size, np.int64) for size in (*sizes, buffers.output_bytes, buffers.scale_bytes)))


@dataclass(frozen=True)
class Points:
    """What comes of every point, arrays [points].

    Parameters
    ----------
    cycles : int64
        0 where no cut fits.
    compute_cycles : int64
        In which the array works.
    channel_cycles : int64
        In which the memory channel carries something, for one core.
    loaded_bytes, stored_bytes : int64
        Over the memory channel, one core.
    utilization : float64
        Products done over products that the array could have done in the time; 0 where no cut fits.
    bound_by : int64
        0 the array, 1 the memory channel, 2 tables, 3 scaling: what works longest.
    cuts : Cuts
        The cut of each point.
    """

    cycles: Int64
    compute_cycles: Int64
    channel_cycles: Int64
    loaded_bytes: Int64
    stored_bytes: Int64
    utilization: NDArray[np.float64]
    bound_by: Int64
    cuts: Cuts


def time_points(
    hardware: Hardware, products: Products, scratchpads: Scratchpads, memory: TimingArrays, depth_step: Int64
) -> Points:
    """Time of products on machines, in closed form, each in the best of a few cuts; on all processors.

    Parameters
    ----------
    hardware, products, scratchpads, memory
        Arrays [points], or single numbers that are the same for all points.
    depth_step : int64
        Inputs of the smallest tile: K, times the groups that are timed together; the size of a group where sums are
        scaled by groups.

    Examples
    --------
    Weight scratchpads from 16 KiB to 1 MiB::

        machine = load_machine("int8-mac")
        sizes = 1024 << np.arange(4, 11)
        scratchpads = Scratchpads.of(machine)._replace(weight_bytes=sizes)
        points = time_points(
            Hardware.of(machine, machine.compute, product.weight.bits), Products.of(product), scratchpads,
            timing_arrays([machine.memory_timings]), np.asarray(machine.compute.k),
        )
    """
    values = (hardware, products, memory)
    arrays = [np.asarray(getattr(value, item.name)) for value in values for item in fields(value)]
    shape = np.broadcast_shapes(*(np.shape(array) for array in (*arrays, *scratchpads, depth_step)), (1,))
    count = int(np.prod(shape))

    def chunk(start: int) -> Points:
        stop = min(start + _CHUNK, count)

        def own(values: NDArray[np.int64]) -> NDArray[np.int64]:
            values = np.asarray(values)
            return values if values.size == 1 else values[start:stop]

        return _time_chunk(
            Hardware(*(own(getattr(hardware, item.name)) for item in fields(Hardware))),
            Products(*(own(getattr(products, item.name)) for item in fields(Products))),
            Scratchpads(*(own(size) for size in scratchpads)),
            TimingArrays(*(own(getattr(memory, item.name)) for item in fields(TimingArrays))),  # type: ignore[arg-type]
            own(depth_step),
            stop - start,
        )

    # numpy and the compiled recurrence let other threads run.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = list(pool.map(chunk, range(0, count, _CHUNK)))
    parts = {
        item.name: np.concatenate([getattr(part, item.name) for part in chunks])
        for item in fields(Points)
        if item.name != "cuts"
    }
    cuts = (np.concatenate([getattr(part.cuts, item.name) for part in chunks]) for item in fields(Cuts))
    return Points(**parts, cuts=Cuts(*cuts))


def _time_chunk(
    hardware: Hardware,
    products: Products,
    scratchpads: Scratchpads,
    memory: TimingArrays,
    depth_step: Int64,
    count: int,
) -> Points:
    best = np.full(count, _NEVER)
    chosen = [np.ones(count, np.int64) for _ in fields(Cuts)]
    for cuts in _candidates(hardware, products, scratchpads, depth_step):
        nest = Nest(hardware, products, cuts)
        cycles = np.where(_fits(nest, scratchpads), _estimate(nest, memory), _NEVER)
        better = cycles < best
        best = np.where(better, cycles, best)
        for value, item in zip(chosen, fields(Cuts), strict=True):
            np.copyto(value, np.broadcast_to(getattr(cuts, item.name), count), where=better)
    nest = Nest(hardware, products, Cuts(*chosen))
    fits = best < _NEVER
    timing = time_nests(nest, Memory.of(memory))
    totals = timing.totals
    cycles = np.where(fits, timing.cycles, 0)
    channel = (totals.load_cycles + totals.store_cycles) * hardware.cores
    busy = np.broadcast_arrays(timing.compute_cycles, channel, totals.table_cycles, totals.scale_cycles)
    macs = products.copies * products.m * products.k * products.n * hardware.pass_cycles
    lanes = hardware.m * hardware.n * hardware.k
    return Points(
        cycles,
        np.broadcast_to(timing.compute_cycles, count) * fits,
        np.broadcast_to(totals.load_cycles + totals.store_cycles, count) * fits,
        np.broadcast_to(nest.loaded_bytes, count) * fits,
        np.broadcast_to(nest.stored_bytes, count) * fits,
        np.where(fits, macs / (np.maximum(cycles, 1) * lanes), 0.0),
        np.argmax(np.stack(busy), axis=0).astype(np.int64),
        nest.cuts,
    )


def _candidates(hardware: Hardware, products: Products, scratchpads: Scratchpads, depth_step: Int64) -> Iterator[Cuts]:
    """Nearly equal tiles that fill the scratchpads in different ways: all inputs or as many as fit, more or fewer rows
    and columns, one order of the loops or the other; two places for each tile, or one."""
    m, n, k = products.m, products.n, products.k
    grouped = products.column_scales == 3
    one = np.ones(1, np.int64)
    blocks = -(-n // hardware.n)
    for places, most_rows, most_blocks, all_inputs, columns_outer in _WAYS:
        rows = -(-m // -(-m // np.maximum(most_rows, hardware.m)))
        tile_m = np.minimum(m, -(-rows // hardware.m) * hardware.m)
        sums = scratchpads.accumulator_bytes // (4 * places * tile_m * np.where(grouped, 2, 1) * hardware.n)
        width = np.where(hardware.tables_each_block == 1, 1, np.minimum(blocks, most_blocks))
        width = np.maximum(np.minimum(width, sums), 1)
        bits = places * products.weight_bits * hardware.n
        if all_inputs:
            tile_k = k
            width = np.maximum(
                np.minimum(width, scratchpads.weight_bytes * 8 // (bits * -(-k // depth_step) * depth_step)), 1
            )
        else:
            weights = scratchpads.weight_bytes * 8 // (bits * width)
            loaded = scratchpads.activation_bytes * 8 // (places * products.activation_bits * tile_m)
            inputs = np.where(products.input_on_chip == 1, weights, np.minimum(weights, loaded))
            depths = -(-k // np.maximum(inputs // depth_step * depth_step, depth_step))
            steps = -(-k // depth_step)
            tile_k = np.minimum(k, -(-steps // depths) * depth_step)
        tile_k = np.where(grouped, np.minimum(depth_step, k), tile_k)
        width = -(-blocks // -(-blocks // width))
        yield Cuts(one * columns_outer, tile_m, tile_k, np.minimum(n, width * hardware.n), one * 0, one * places)


def _estimate(nest: Nest, memory: TimingArrays) -> NDArray[np.float64]:
    """Cycles if engines never wait but for the first tile: enough to choose by."""
    hardware, products = nest.hardware, nest.products
    rate = memory.burst_cycles / (memory.burst_bytes * memory.channels * (1 - memory.refresh_share))
    first = nest.weight_scratchpad_bytes // nest.places(nest.weight_level)
    carried = hardware.cores * (nest.loaded_bytes + nest.stored_bytes)
    array = nest.passes * hardware.pass_cycles
    tables = nest.table_remakes * products.copies * products.m * -(-products.k // hardware.k)
    tables = tables * hardware.table_lookup // hardware.tables_per_cycle
    # In one place, nothing is loaded while the array works.
    single = (nest.cuts.places == 1) & (nest.weight_level > 0)
    together = np.where(single, array + carried * rate, np.maximum(array, carried * rate))
    visits = nest.visits(np.asarray(3)) * np.where(single, memory.latency_cycles, 1)
    longest: NDArray[np.float64] = np.maximum(together, tables) + first * rate + visits
    return longest


def _fits(nest: Nest, scratchpads: Scratchpads) -> NDArray[np.bool_]:
    return (
        (nest.activation_scratchpad_bytes <= scratchpads.activation_bytes)
        & (nest.weight_scratchpad_bytes <= scratchpads.weight_bytes)
        & (nest.table_scratchpad_bytes <= scratchpads.table_bytes)
        & (nest.accumulator_scratchpad_bytes <= scratchpads.accumulator_bytes)
        & (nest.scale_scratchpad_bytes <= scratchpads.scale_bytes)
    )
