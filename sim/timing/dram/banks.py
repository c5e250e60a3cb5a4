"""The compact DRAM model: channels, banks, open rows, activation limits and refresh, walked page by page.

Order of address bits, from the top: row, bank, column, channel. Lines of 64 bytes (a burst, where that is longer) go to
the channels in turn, so that a long row of a transfer keeps them all busy; the pages of all channels side by side are
one stripe, and successive stripes go to successive banks:

    address ──► | row | bank | column | channel | byte of the line |
                       └── stripe: page_bytes · channels ─────────┘

What is modelled, a channel at a time: every burst that a row of the transfer touches costs a whole burst on the data
bus; data come in the order of addresses; a page is activated (tRCD) before its first burst and stays open within the
transfer; another page of the same bank first waits for data and tRAS, then tRP; activations keep tRRD and four of them
tFAW; the controller sees the whole transfer, so that it activates pages ahead, in their order, while data of earlier
ones flow.
Refresh takes its share of all time, tRFC / tREFI, spread evenly: a transfer takes equally long whenever it begins, on
which the event simulation relies to find out that its state repeats.

What is not: rows left open by the transfer before (the first activation is in the latency), reordering of data or
activations, turning the bus from reads to writes, tCCD_L (controllers interleave bank groups), the command bus.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sim.timing.dram.description import Dram
from sim.timing.dram.model import Transfer

__all__ = ["BankModel"]

# Periods that are walked, the rate of the steady part being that of the last. A period is a number of repetitions of
# the pattern: delays of banks and of the bus may take turns over two, three, four or six of them.
_WALKED_PERIODS = 3
_REPETITIONS = 12
_LEAST_PERIOD = 64
# A pattern of rows that repeats later than this is taken to be steady by then: it bounds the time of absurd transfers.
_LONGEST_PERIOD_ROWS = 1 << 12
_MOST_PAGE_RUNS = 1 << 17
_REMEMBERED = 1 << 16
# Sums of floats are not exact: a time this little above a whole cycle is that cycle.
_ROUNDING_CYCLES = 1e-6


class BankModel:
    """How long transfers hold the memory: see the module for what is modelled.

    Parameters
    ----------
    dram : Dram
    clock_ghz : float
        Clock of the machine, in whose cycles all times are.
    """

    def __init__(self, dram: Dram, clock_ghz: float) -> None:
        timings = dram.timings(clock_ghz)
        self.timings = timings
        line_bursts = timings.line_bytes // timings.burst_bytes
        stripe_bursts = timings.page_bytes * timings.channels // timings.burst_bytes
        self._geometry = (timings.channels, timings.banks, timings.burst_bytes, line_bursts, stripe_bursts)
        self._timing = (
            timings.burst_cycles,
            timings.activate_cycles,
            timings.precharge_cycles,
            timings.active_cycles,
            timings.activate_to_activate_cycles,
            timings.four_activates_cycles,
        )
        self._remembered = lru_cache(_REMEMBERED)(self._service_cycles)

    @property
    def latency_cycles(self) -> int:
        """From a request to its first byte, in clock cycles."""
        return round(self.timings.latency_cycles)

    @property
    def span_bytes(self) -> int:
        """Addresses that are equal modulo this take the same time: they differ in bank and row alone, and banks are
        alike."""
        return self.timings.page_bytes * self.timings.channels

    def service_cycles(self, transfer: Transfer) -> int:
        """Clock cycles from the first byte of the transfer to its last, alone on all channels.

        Raises
        ------
        ValueError
            A number of the transfer is negative.
        """
        address, rows, row_bytes, pitch_bytes = transfer
        if min(transfer) < 0:
            raise ValueError(f"a transfer has no negative number: {transfer}")
        if rows == 0 or row_bytes == 0:
            return 0
        if rows == 1 or pitch_bytes == row_bytes:
            rows, row_bytes, pitch_bytes = 1, rows * row_bytes, 0
        return self._remembered(address % self.span_bytes, rows, row_bytes, pitch_bytes)

    def _service_cycles(self, address: int, rows: int, row_bytes: int, pitch_bytes: int) -> int:
        channels = self._shorten_rows(address, rows, row_bytes, pitch_bytes)
        cycles = float(channels.max()) / (1 - self.timings.refresh_share)
        return max(math.ceil(cycles - _ROUNDING_CYCLES), 1)

    def _shorten_rows(self, address: int, rows: int, row_bytes: int, pitch_bytes: int) -> NDArray[np.float64]:
        """Cycles of each channel without refresh; spans in the middle of long rows are alike."""
        period = self.timings.span_bytes * -(-_LEAST_PERIOD // self.timings.banks)
        skipped = row_bytes // period - _WALKED_PERIODS
        if skipped <= 0:
            return self._shorten_columns(address, rows, row_bytes, pitch_bytes)
        # The next row begins where it did beside the end of the last, if it can meet a page still open there.
        short_bytes = row_bytes - skipped * period
        if pitch_bytes >= row_bytes - period:
            shorter, shortest = pitch_bytes - skipped * period, pitch_bytes - (skipped + 1) * period
        else:
            shorter = shortest = pitch_bytes % self.timings.span_bytes
        cycles = self._shorten_columns(address, rows, short_bytes, shorter)
        before = self._shorten_columns(address, rows, short_bytes - period, shortest)
        return cycles + skipped * (cycles - before)

    def _shorten_columns(self, address: int, rows: int, row_bytes: int, pitch_bytes: int) -> NDArray[np.float64]:
        """Cycles of each channel without refresh; rows are alike again where their starts, modulo the span, repeat."""
        span = self.timings.span_bytes
        # Rows that share no page with the next may lie nearer: their banks and columns are the same.
        nearer = pitch_bytes % span + (row_bytes // span + 2) * span
        pitch_bytes = min(pitch_bytes, nearer)
        stripe = self.timings.page_bytes * self.timings.channels
        affordable = _MOST_PAGE_RUNS // (self.timings.channels * (row_bytes // stripe + 1))
        period = min(span // math.gcd(span, pitch_bytes), _LONGEST_PERIOD_ROWS, max(affordable, 1))
        period *= _REPETITIONS * -(-_LEAST_PERIOD // (_REPETITIONS * period))
        skipped = rows // period - _WALKED_PERIODS
        if skipped <= 0:
            return self._walk(address, rows, row_bytes, pitch_bytes)
        rows -= skipped * period
        cycles = self._walk(address, rows, row_bytes, pitch_bytes)
        before = self._walk(address, rows - period, row_bytes, pitch_bytes)
        return cycles + skipped * (cycles - before)

    def _walk(self, address: int, rows: int, row_bytes: int, pitch_bytes: int) -> NDArray[np.float64]:
        from sim.timing.dram.walk import walk_rows  # imports numba

        cycles: NDArray[np.float64] = walk_rows(self._geometry, self._timing, address, rows, row_bytes, pitch_bytes)
        return cycles
