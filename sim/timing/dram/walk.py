"""The compiled inner loop of `BankModel`: page run after page run of a transfer through the banks of each channel.

Importing this module imports numba, so those who call it import it late. Bursts are counted over all channels: burst b
of memory is on channel (b // line_bursts) % channels and in page b // stripe_bursts of that channel, where a stripe is
the page of every channel side by side; pages go to banks in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["walk_rows"]


def _compiled(function: Callable[..., Any]) -> Any:
    """Machine code, kept on disk where there is a place for it."""
    try:
        return njit(function, cache=True)
    except RuntimeError:  # neither the folder of this file nor the user's cache folder can be written
        return njit(function)


def _channel_bursts(end: int, channel: int, channels: int, line_bursts: int) -> int:
    """How many of the bursts 0 .. end - 1 are on a channel."""
    turn = channels * line_bursts
    inside = end % turn - channel * line_bursts
    return end // turn * line_bursts + min(max(inside, 0), line_bursts)


_count = _compiled(_channel_bursts)


def _walk_rows(
    geometry: tuple[int, int, int, int, int],
    timing: tuple[float, float, float, float, float, float],
    address: int,
    rows: int,
    row_bytes: int,
    pitch_bytes: int,
) -> NDArray[np.float64]:
    """Cycles from the first byte of the transfer to the last of each channel, float64 [channels], without refresh.

    Parameters
    ----------
    geometry : (channels, banks, burst_bytes, line_bursts, stripe_bursts)
    timing : (burst, tRCD, tRP, tRAS, tRRD, tFAW), in cycles
    """
    channels, banks, burst_bytes, line_bursts, stripe_bursts = geometry
    burst, activate, precharge, active, activate_to_activate, four_activates = timing
    open_page = np.empty(banks, np.int64)
    activated = np.empty(banks, np.float64)
    closed = np.empty(banks, np.float64)
    window = np.empty(4, np.float64)
    ends = np.zeros(channels, np.float64)
    for channel in range(channels):
        # The first activation is at 0; every bank is precharged by then.
        open_page[:] = -1
        closed[:] = 0.0
        window[:] = -four_activates
        activations = 0
        bus_free, last_activation = activate, -activate_to_activate
        for row in range(rows):
            start = (address + row * pitch_bytes) // burst_bytes
            end = -(-(address + row * pitch_bytes + row_bytes) // burst_bytes)
            while start < end:
                page = start // stripe_bursts
                stop = min(end, (page + 1) * stripe_bursts)
                bursts = _count(stop, channel, channels, line_bursts) - _count(start, channel, channels, line_bursts)
                start = stop
                if bursts == 0:
                    continue
                bank = page % banks
                if open_page[bank] != page:
                    last_activation = max(
                        closed[bank], last_activation + activate_to_activate, window[activations % 4] + four_activates
                    )
                    open_page[bank] = page
                    activated[bank] = window[activations % 4] = last_activation
                    activations += 1
                bus_free = max(bus_free, activated[bank] + activate) + bursts * burst
                # The row stays open until another of its bank is wanted; then it may be closed as soon as this.
                closed[bank] = max(activated[bank] + active, bus_free) + precharge
        ends[channel] = bus_free - activate
    return ends


walk_rows = _compiled(_walk_rows)
