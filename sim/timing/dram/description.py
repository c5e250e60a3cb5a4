"""The DRAM of a machine file: technology, bandwidth, latency, and what a file may say of channels, banks and timing.

What a file leaves out is the technology's standard value (`sim.timing.dram.technologies`). `Timings` is the same in
clock cycles of the machine; how long transfers take is the subject of `sim.timing.dram.banks` and
`sim.timing.dram.closed_form`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sim.timing.dram.technologies import TECHNOLOGIES, TechnologyName

__all__ = ["MOST_CHANNELS", "Dram", "TimingArrays", "Timings", "timing_arrays"]

MOST_CHANNELS = 256

# Neighbouring channels take turns by cache lines, as in the RoBaRaCoCh order of other simulators.
_LINE_BYTES = 64


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("should be a power of two")
    return value


_Nanoseconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_Channels = Annotated[int, Field(strict=True, ge=1, le=MOST_CHANNELS)]
_Banks = Annotated[int, Field(strict=True, ge=1, le=128), AfterValidator(_power_of_two)]
_Page = Annotated[int, Field(strict=True, ge=_LINE_BYTES, le=1 << 20), AfterValidator(_power_of_two)]
_Burst = Annotated[int, Field(strict=True, ge=8, le=4096), AfterValidator(_power_of_two)]


@dataclass(frozen=True)
class Timings:
    """A `Dram` in clock cycles of the machine, everything resolved.

    Parameters
    ----------
    channels : int
        Independent channels; lines of `line_bytes` go to them in turn.
    banks, page_bytes, burst_bytes : int
        Of one channel.
    line_bytes : int
        Consecutive bytes of one channel.
    burst_cycles : float
        A burst on the data bus of one channel.
    activate_cycles, precharge_cycles, active_cycles : float
        tRCD, tRP, tRAS.
    activate_to_activate_cycles, four_activates_cycles : float
        tRRD, tFAW.
    refresh_share : float
        tRFC / tREFI: the part of all time in which the memory refreshes; below 1.
    latency_cycles : float
        From a request to its first byte.
    """

    channels: int
    banks: int
    page_bytes: int
    burst_bytes: int
    line_bytes: int
    burst_cycles: float
    activate_cycles: float
    precharge_cycles: float
    active_cycles: float
    activate_to_activate_cycles: float
    four_activates_cycles: float
    refresh_share: float
    latency_cycles: float

    @property
    def span_bytes(self) -> int:
        """Bytes after which addresses meet the same channel, bank and column again, in the next row."""
        return self.page_bytes * self.channels * self.banks


@dataclass(frozen=True)
class TimingArrays:
    """Many `Timings`: the same fields as arrays that broadcast against each other; counts int64, times float64."""

    channels: NDArray[np.int64]
    banks: NDArray[np.int64]
    page_bytes: NDArray[np.int64]
    burst_bytes: NDArray[np.int64]
    line_bytes: NDArray[np.int64]
    burst_cycles: NDArray[np.float64]
    activate_cycles: NDArray[np.float64]
    precharge_cycles: NDArray[np.float64]
    active_cycles: NDArray[np.float64]
    activate_to_activate_cycles: NDArray[np.float64]
    four_activates_cycles: NDArray[np.float64]
    refresh_share: NDArray[np.float64]
    latency_cycles: NDArray[np.float64]


def timing_arrays(timings: Sequence[Timings]) -> TimingArrays:
    """`Timings` of several machines side by side: every field an array of shape [len(timings)]."""
    return TimingArrays(
        **{item.name: np.array([getattr(one, item.name) for one in timings]) for item in fields(Timings)}
    )


class Dram(BaseModel):
    """The off-chip memory of a machine: channels that loads and stores share.

    Parameters
    ----------
    technology : str
        Sets the energy (see `cost_models`), and the standard value of all that is not given.
    model : {"banks", "ramulator"}
        What times its transfers in event simulations: bitloom's own model, or Ramulator 2.1 where that is installed.
    bandwidth_gb_per_second : float
        Peak of all channels together, 10^9 bytes a second.
    latency_ns : float
        From a request to its first byte, controller and activation of the first row included; hidden behind other
        transfers when those are pending.
    channels : int, optional
        As many as make the bandwidth at the technology's data rate, rounded, if not given: 25.6 GB/s of DDR4-3200 are
        one channel, 256 GB/s of HBM2 are 16 pseudo channels.
    banks : int, optional
        Banks of one channel, a power of two.
    page_bytes : int, optional
        Row buffer of one channel, a power of two.
    burst_bytes : int, optional
        Access granularity of one channel, a power of two, at most a page.
    activate_ns, precharge_ns, active_ns : float, optional
        tRCD (activation to data command), tRP (precharge), tRAS (least time that a row is open).
    activate_to_activate_ns, four_activates_ns : float, optional
        tRRD (between activations of different banks of a channel) and tFAW (window that holds four of them).
    refresh_interval_ns, refresh_ns : float, optional
        tREFI and tRFC, the latter below the former; tRFC 0 for no refresh.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    technology: TechnologyName
    model: Literal["banks", "ramulator"] = "banks"
    bandwidth_gb_per_second: Annotated[float, Field(ge=1e-3, le=1e6, allow_inf_nan=False)]
    latency_ns: _Nanoseconds
    channels: _Channels | None = None
    banks: _Banks | None = None
    page_bytes: _Page | None = None
    burst_bytes: _Burst | None = None
    activate_ns: _Nanoseconds | None = None
    precharge_ns: _Nanoseconds | None = None
    active_ns: _Nanoseconds | None = None
    activate_to_activate_ns: _Nanoseconds | None = None
    four_activates_ns: _Nanoseconds | None = None
    refresh_interval_ns: Annotated[float, Field(ge=1, le=1e9, allow_inf_nan=False)] | None = None
    refresh_ns: _Nanoseconds | None = None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        burst, page = self._resolved("burst_bytes"), self._resolved("page_bytes")
        if burst > page:
            raise ValueError(f"burst_bytes {burst:.0f} should be at most page_bytes {page:.0f}")
        refresh, interval = self._resolved("refresh_ns"), self._resolved("refresh_interval_ns")
        if refresh >= interval:
            raise ValueError(f"refresh_ns {refresh:g} should be below refresh_interval_ns {interval:g}")
        return self

    def timings(self, clock_ghz: float) -> Timings:
        """All values resolved, in cycles of a clock."""
        channels = self.channels or _channels_for(self.technology, self.bandwidth_gb_per_second)
        burst_bytes = int(self._resolved("burst_bytes"))
        bytes_per_cycle = self.bandwidth_gb_per_second / clock_ghz
        return Timings(
            channels=channels,
            banks=int(self._resolved("banks")),
            page_bytes=int(self._resolved("page_bytes")),
            burst_bytes=burst_bytes,
            line_bytes=max(burst_bytes, _LINE_BYTES),
            burst_cycles=burst_bytes * channels / bytes_per_cycle,
            activate_cycles=self._resolved("activate_ns") * clock_ghz,
            precharge_cycles=self._resolved("precharge_ns") * clock_ghz,
            active_cycles=self._resolved("active_ns") * clock_ghz,
            activate_to_activate_cycles=self._resolved("activate_to_activate_ns") * clock_ghz,
            four_activates_cycles=self._resolved("four_activates_ns") * clock_ghz,
            refresh_share=self._resolved("refresh_ns") / self._resolved("refresh_interval_ns"),
            latency_cycles=self.latency_ns * clock_ghz,
        )

    def _resolved(self, field: str) -> float:
        """The value of a field, or the technology's where the file says nothing."""
        given: float | None = getattr(self, field)
        standard: float = getattr(TECHNOLOGIES[self.technology], field)
        return standard if given is None else given


def _channels_for(technology: TechnologyName, bandwidth_gb_per_second: float) -> int:
    """Channels that make the bandwidth at the technology's data rate: at least one, at most `MOST_CHANNELS`."""
    return min(max(round(bandwidth_gb_per_second / TECHNOLOGIES[technology].channel_gb_per_second), 1), MOST_CHANNELS)
