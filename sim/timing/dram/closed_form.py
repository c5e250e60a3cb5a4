"""The law of `BankModel` as a closed form over arrays: how long transfers take, many machines and shapes at once.

A transfer takes as long as the busiest of four things on its most loaded channel: the data bus, the limits on
activations (tRRD, tFAW), banks that are wanted again before they can open another page (tRC), and the stall between
rows longer than a stripe. Refresh takes its share of all. What the address is does not enter: of rows whose start in a
page differs, the mean over all starts stands.

Contiguous transfers agree with `BankModel` to rounding, and so do rows that the data bus bounds. Where rows are so
short that activations bound them (DDR4-3200: under 128 bytes; 16 channels of HBM2: under 1 KiB) and a small multiple of
the pitch comes near a multiple of the span, or where few rows meet few of many channels, the order in which banks come
back decides; there the form is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.timing.dram.description import TimingArrays, Timings

__all__ = ["service_cycles_bound"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

# Points at a time: the arrays of so many stay in the processor's cache.
_CHUNK = 1 << 13
# Visits of a channel after which a bank that comes back has long been closed, whatever the timing.
_MOST_VISITS = 16
_WINDOW = 4
# Two visits of a channel further apart than this hardly ever meet a bank that is still busy.
_MOST_ARCS = 5
_MOST_PERIODS = 4


def service_cycles_bound(
    timings: Timings | TimingArrays, rows: ArrayLike, row_bytes: ArrayLike, pitch_bytes: ArrayLike
) -> Float64:
    """Clock cycles that transfers hold the memory, unrounded, alone on all channels.

    Parameters
    ----------
    timings : Timings or TimingArrays
        The DRAM, or many, broadcast against the transfers.
    rows, row_bytes, pitch_bytes : int64 array_like
        The transfers (see `Transfer`), broadcast against each other. Nothing is transferred where rows or row_bytes
        is 0.

    Returns
    -------
    float64 array of the broadcast shape
    """
    transfers = (np.asarray(value, np.int64) for value in (rows, row_bytes, pitch_bytes))
    memory = (np.asarray(getattr(timings, item.name)) for item in fields(Timings))
    arrays = np.broadcast_arrays(*memory, *transfers)
    cycles = np.empty(arrays[0].shape, np.float64)
    flat = cycles.reshape(-1)
    columns = [array.reshape(-1) for array in arrays]
    for start in range(0, flat.size, _CHUNK):
        part = [column[start : start + _CHUNK] for column in columns]
        flat[start : start + _CHUNK] = _cycles(TimingArrays(*part[:-3]), *part[-3:])
    return cycles


@dataclass(frozen=True)
class _Load:
    """What the most loaded channel has to do.

    Parameters
    ----------
    data : float64
        Cycles of all bursts on its bus.
    visit : float64
        Cycles of the bursts of one visit, between one activation and the next.
    visits : int64
        Pages that it opens.
    period, depth : int64
        It is visited by `depth` of every `period` rows.
    """

    data: Float64
    visit: Float64
    visits: Int64
    period: Int64
    depth: Int64


def _cycles(timings: TimingArrays, rows: Int64, row_bytes: Int64, pitch_bytes: Int64) -> Float64:
    """`service_cycles_bound` of flat arrays of one length."""
    nothing = (rows == 0) | (row_bytes == 0)
    rows, row_bytes = np.maximum(rows, 1), np.maximum(row_bytes, 1)
    single = (rows == 1) | (row_bytes == pitch_bytes)
    row_bytes, pitch_bytes = np.where(single, rows * row_bytes, row_bytes), np.where(single, 0, pitch_bytes)
    rows = np.where(single, 1, rows)
    stripe = timings.page_bytes * timings.channels
    load = _load(timings, rows, row_bytes, pitch_bytes)
    long_rows = row_bytes > stripe
    later = load.visits - 1
    activations = (
        later // _WINDOW * np.maximum(timings.four_activates_cycles, _WINDOW * timings.activate_to_activate_cycles)
        + later % _WINDOW * timings.activate_to_activate_cycles
        + load.visit
    )
    # A row longer than a stripe hides its own activations; it may begin in the bank where the row before ended.
    span = stripe * timings.banks
    gap = pitch_bytes - row_bytes
    ahead = gap % span
    shared = np.where(gap >= stripe, _clip(1 - np.minimum(ahead, span - ahead) / stripe), 0.0)
    stalls = load.data + (rows - 1) * shared * (timings.precharge_cycles + timings.activate_cycles)
    short = np.maximum(np.maximum(load.data, activations), _bank_cycles(timings, load, row_bytes, pitch_bytes))
    cycles = np.where(long_rows, stalls, short) / (1 - timings.refresh_share)
    return np.where(nothing, 0.0, cycles)


def _clip(share: Float64) -> Float64:
    return np.minimum(np.maximum(share, 0.0), 1.0)


def _load(timings: TimingArrays, rows: Int64, row_bytes: Int64, pitch_bytes: Int64) -> _Load:
    """Bursts and pages of the most loaded channel.

    Whole turns over the channels load all alike. The rest of a row covers an arc of them; arcs of successive rows start
    `pitch` lines further round, so at multiples of g = gcd(pitch, channels), each as often as the others.
    """
    line = timings.line_bytes // timings.burst_bytes
    turns, rest = np.divmod(-(-row_bytes // timings.burst_bytes), timings.channels * line)
    rest_lines = -(-rest // line)
    spacing = np.gcd(pitch_bytes // timings.line_bytes, timings.channels)
    period = timings.channels // spacing
    depth = -(-rest_lines // spacing)
    # The last line of an arc is short of some bursts; no other line of the most loaded channel makes up for them
    # if it is on that channel in every arc.
    short_bursts = np.where((rest_lines - 1) % spacing == 0, rest_lines * line - rest, 0)
    over_rows, rows_left = np.divmod(rows, period)
    left = np.minimum(rows_left, depth)
    arcs = over_rows * depth + left
    bursts = rows * turns * line + arcs * line - np.where(left < depth, over_rows, over_rows + 1) * short_bursts
    whole = turns > 0
    visited = np.where(whole, rows, arcs)
    stripe = timings.page_bytes * timings.channels
    pages = np.where(pitch_bytes < stripe, ((rows - 1) * pitch_bytes + row_bytes - 1) // stripe + 1, visited)
    visits = np.maximum(np.minimum(visited, pages), 1)
    data = bursts * timings.burst_cycles
    visit = np.minimum(data / visits, (turns * line + np.minimum(rest, line)) * timings.burst_cycles)
    return _Load(data, visit, visits, np.where(whole, 1, period), np.where(whole, 1, depth))


@dataclass(frozen=True)
class _Banks:
    """What decides how soon the banks of the most loaded channel can open another page, one entry a transfer.

    Parameters
    ----------
    stripe, span, last_line_bytes, pitch_bytes, line_bytes : int64
        Page of all channels; stripes of all banks; from the start of a row to that of its last line; the transfer's
        pitch; the memory's lines.
    channels, period, depth : int64
        The channel is one of so many; `depth` of every `period` rows visit it.
    later : int64
        Visits after the first.
    pace, again, visit : float64
        Cycles a visit takes where no bank is in the way; from an activation to the next of the same bank; and of a
        visit's own data.
    """

    stripe: Int64
    span: Int64
    last_line_bytes: Int64
    pitch_bytes: Int64
    line_bytes: Int64
    channels: Int64
    period: Int64
    depth: Int64
    later: Int64
    pace: Float64
    again: Float64
    visit: Float64

    def take(self, indices: Int64) -> _Banks:
        """Some of the transfers."""
        return _Banks(*(getattr(self, item.name)[indices] for item in fields(_Banks)))

    def cycles(self, distance_bytes: Float64, visits: Float64, likelihood: Float64 | float) -> Float64:
        """Cycles of all visits, if so many of them are followed by one so far off after a number of visits.

        Two rows meet the same bank with a share of all starts inside a stripe. As the start drifts from row to row,
        such visits come in runs or singly, and delays overlap more or less: the mean of both cases.
        """
        spans = distance_bytes / self.span
        ahead = (spans - np.floor(spans)) * self.span
        # Nearer than a span ahead is another bank, or the same page, which is open.
        beyond = np.where(distance_bytes < self.span, self.stripe, np.maximum(ahead - self.last_line_bytes, 0))
        share = _clip(1 - np.minimum(self.span - ahead, beyond) / self.stripe) * likelihood
        jumps = np.floor(self.later / visits)
        always = jumps * self.again + (self.later - jumps * visits) * self.pace
        overlapping = share * self.again / visits + (1 - share) * self.pace
        apart = (share * self.again + (1 - share) * self.pace) / (share * visits + 1 - share)
        cycles = np.where(share == 1, always, self.later * (overlapping + apart) / 2) + self.visit
        delayed: Float64 = np.where((share > 0) & (self.later >= visits), cycles, 0.0)
        return delayed


def _bank_cycles(timings: TimingArrays, load: _Load, row_bytes: Int64, pitch_bytes: Int64) -> Float64:
    """Cycles that banks need which come back with another page, where a row is no longer than a stripe."""
    stripe = timings.page_bytes * timings.channels
    limit = np.maximum(timings.activate_to_activate_cycles, timings.four_activates_cycles / _WINDOW)
    banks = _Banks(
        stripe=stripe,
        span=stripe * timings.banks,
        last_line_bytes=(row_bytes - 1) // timings.line_bytes * timings.line_bytes,
        pitch_bytes=pitch_bytes,
        line_bytes=timings.line_bytes,
        channels=timings.channels,
        period=load.period,
        depth=load.depth,
        later=load.visits - 1,
        pace=np.maximum(limit, load.data / load.visits),
        again=np.maximum(timings.active_cycles, timings.activate_cycles + load.visit) + timings.precharge_cycles,
        visit=load.visit,
    )
    longest = np.zeros_like(banks.pace)
    for periods in range(1, _MOST_VISITS + 1):
        # Later than this, a bank has long been closed when it is wanted again.
        waits = np.flatnonzero(banks.again > banks.pace * banks.depth * periods)
        if not waits.size:
            break
        some = banks.take(waits)
        # Where rows follow each other inside a page, the channel's visits are of successive pages.
        step = np.maximum(some.pitch_bytes * some.period, some.stripe).astype(np.float64)
        cycles = some.cycles(step * periods, some.depth.astype(np.float64) * periods, 1.0)
        longest[waits] = np.maximum(longest[waits], cycles)
    several = np.flatnonzero((load.depth > 1) & (banks.again > banks.pace))
    if several.size:
        longest[several] = np.maximum(longest[several], _several_arcs(banks.take(several)))
    return longest


def _several_arcs(banks: _Banks) -> Float64:
    """Cycles that banks need where a channel is in the arcs of several rows of a period: between these."""
    lines = banks.pitch_bytes // banks.line_bytes
    turn = lines // np.gcd(lines, banks.channels) % banks.period
    # So many rows on, the arc starts one step nearer to the channel.
    nearer = _inverses(int(banks.channels.max()))[banks.period, turn]
    longest = np.zeros_like(banks.pace)
    for arcs in range(1, min(int(banks.depth.max()), _MOST_ARCS + 1)):
        onward = arcs * nearer % banks.period
        for first in (onward, banks.period - onward):
            for periods in range(_MOST_PERIODS):
                rows = first + periods * banks.period
                distance = rows * banks.pitch_bytes.astype(np.float64)
                share = banks.depth / banks.period.astype(np.float64)
                visits = np.maximum(rows * share, 1.0)
                # Rows nearer than a stripe share its page.
                counts = (distance >= banks.stripe) & (banks.again > banks.pace * visits)
                likelihood = np.where(counts, np.maximum(banks.depth - arcs, 0) / banks.depth, 0.0)
                np.maximum(longest, banks.cycles(distance, visits, likelihood), out=longest)
    return longest


@lru_cache(maxsize=8)
def _inverses(largest: int) -> Int64:
    """[n, a] is the inverse of a modulo n, for all n up to the largest; 0 where there is none."""
    table = np.zeros((largest + 1, largest + 1), np.int64)
    for modulus in range(2, largest + 1):
        products = np.outer(np.arange(modulus), np.arange(modulus)) % modulus
        value, inverse = np.nonzero(products == 1)
        table[modulus, value] = inverse
    return table
