"""What the closed form asks of a memory: how long tiles hold it, many at once, and how long they are on their way.

The models are those of `sim.timing.dram`; here is only how tiles are put to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.timing.arrays import Int64
from sim.timing.dram import MemoryModel, TimingArrays, Timings, Transfer, service_cycles_bound
from sim.timing.nest import Tile

__all__ = ["Memory"]

# Successive tiles whose times are averaged.
_WALKED_TILES = 8


@dataclass(frozen=True)
class Memory:
    """What the closed form asks of a memory.

    Parameters
    ----------
    service_cycles : callable
        From a `Tile` to the cycles that transfers hold all channels, float64.
    latency_cycles : int64
        From a request to its first byte.
    """

    service_cycles: Callable[[Tile], NDArray[np.float64]]
    latency_cycles: Int64

    @classmethod
    def of(cls, timings: Timings | TimingArrays) -> Memory:
        """The law of `BankModel` for one DRAM, or for many."""
        latency = np.rint(timings.latency_cycles).astype(np.int64)
        return cls(lambda tile: _by_law(timings, tile), latency)

    @classmethod
    def walked(cls, model: MemoryModel) -> Memory:
        """Every transfer walked through the banks: the mean of tiles that follow each other in memory, since it depends
        on where in a page a row begins which of the others are in its way."""

        def cycles(tile: Tile) -> NDArray[np.float64]:
            shape = np.broadcast_shapes(*(np.shape(part) for part in tile))
            parts = (np.broadcast_to(part, shape).ravel().tolist() for part in tile)
            each = [_mean_cycles(model, *sizes) for sizes in zip(*parts, strict=True)]
            return np.array(each, np.float64).reshape(shape)

        return cls(cycles, np.asarray(model.latency_cycles, np.int64))

    @classmethod
    def streaming(cls, timings: Timings | TimingArrays) -> Memory:
        """As if every transfer were a stream of whole bursts: a quick estimate."""
        rate = timings.burst_cycles / timings.channels / (1 - timings.refresh_share)

        def cycles(tile: Tile) -> NDArray[np.float64]:
            bursts = tile.rows * -(-tile.row_bytes // timings.burst_bytes)
            return np.asarray(bursts * rate, np.float64)

        return cls(cycles, np.rint(timings.latency_cycles).astype(np.int64))


def _mean_cycles(model: MemoryModel, rows: int, row_bytes: int, pitch_bytes: int) -> float:
    """Mean over tiles that begin where the one before has ended."""
    tiles = 1 if rows <= 1 else _WALKED_TILES
    starts = (tile * row_bytes for tile in range(tiles))
    return sum(model.service_cycles(Transfer(start, rows, row_bytes, pitch_bytes)) for start in starts) / tiles


def _by_law(timings: Timings | TimingArrays, tile: Tile) -> NDArray[np.float64]:
    """`service_cycles_bound`, whose general form is only evaluated for transfers with gaps."""
    arrays = TimingArrays(*(np.asarray(getattr(timings, item.name)) for item in fields(TimingArrays)))
    rows, row_bytes, pitch_bytes = np.broadcast_arrays(*tile)
    cycles = _contiguous_cycles(arrays, rows * row_bytes)
    gaps = np.flatnonzero((rows > 1) & (row_bytes > 0) & (row_bytes != pitch_bytes))
    if gaps.size:
        cycles = np.array(np.broadcast_to(cycles, np.broadcast_shapes(cycles.shape, rows.shape)))
        spread = (np.broadcast_to(part, cycles.shape).ravel() for part in (rows, row_bytes, pitch_bytes))
        rows, row_bytes, pitch_bytes = spread
        gaps = np.flatnonzero((rows > 1) & (row_bytes > 0) & (row_bytes != pitch_bytes))
        own = TimingArrays(*(_take(getattr(arrays, item.name), cycles.shape, gaps) for item in fields(TimingArrays)))
        cycles.reshape(-1)[gaps] = service_cycles_bound(own, rows[gaps], row_bytes[gaps], pitch_bytes[gaps])
    return cycles


def _take(values: NDArray[Any], shape: tuple[int, ...], indices: Int64) -> NDArray[Any]:
    """Entries of an array as it broadcasts to a shape."""
    return values if values.ndim == 0 else np.broadcast_to(values, shape).ravel()[indices]


def _contiguous_cycles(timings: TimingArrays, size_bytes: Int64) -> NDArray[np.float64]:
    """Cycles of one long row: the bursts of the most loaded channel, one after the other."""
    line = timings.line_bytes // timings.burst_bytes
    turns, rest = np.divmod(-(-size_bytes // timings.burst_bytes), timings.channels * line)
    bursts = turns * line + np.minimum(rest, line)
    return np.asarray(bursts * (timings.burst_cycles / (1 - timings.refresh_share)), np.float64)
