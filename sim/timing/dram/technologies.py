"""What the standards say of each DRAM technology: organisation of a channel and timing, each value with its source.

Nothing here computes; `sim.timing.dram.description` lets a machine file override any of these values. Values are of the
speed grade in the technology's name, at most 85 °C (no doubled refresh). Where a standard gives the larger of a time
and a number of clock periods, that of this speed grade stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["TECHNOLOGIES", "Technology", "TechnologyName"]

TechnologyName = Literal["ddr4-3200", "lpddr4-2400", "hbm2"]


@dataclass(frozen=True)
class Technology:
    """One channel of a DRAM technology.

    Parameters
    ----------
    description : str
        The device, and what one channel is.
    channel_gb_per_second : float
        Peak of one channel: data rate times data width, 10^9 bytes a second.
    banks : int
        Banks that can hold a row open, of all bank groups of the channel.
    page_bytes : int
        Row buffer of the channel: that of a device times the devices side by side.
    burst_bytes : int
        Burst length times data width: the least that is transferred.
    activate_ns, precharge_ns, active_ns : float
        tRCD, tRP and the least tRAS.
    activate_to_activate_ns, four_activates_ns : float
        tRRD between banks of different groups, and tFAW.
    refresh_interval_ns, refresh_ns : float
        tREFI, and tRFC of an all-bank refresh.
    sources : tuple of str
        Where the values are printed.
    """

    description: str
    channel_gb_per_second: float
    banks: int
    page_bytes: int
    burst_bytes: int
    activate_ns: float
    precharge_ns: float
    active_ns: float
    activate_to_activate_ns: float
    four_activates_ns: float
    refresh_interval_ns: float
    refresh_ns: float
    sources: tuple[str, ...]


TECHNOLOGIES: dict[TechnologyName, Technology] = {
    "ddr4-3200": Technology(
        description="DDR4-3200AA (22-22-22), 8 devices of 8 Gb x8 side by side: one 64-bit channel, one rank",
        channel_gb_per_second=25.6,  # 3200 MT/s · 8 B
        banks=16,  # 4 groups of 4
        page_bytes=8192,  # 1 KiB a device
        burst_bytes=64,  # burst length 8
        activate_ns=13.75,
        precharge_ns=13.75,
        active_ns=32.0,
        activate_to_activate_ns=2.5,  # tRRD_S, 1 KiB page: 4 clock periods
        four_activates_ns=21.0,  # 1 KiB page
        refresh_interval_ns=7800.0,
        refresh_ns=350.0,  # tRFC1, 8 Gb
        sources=(
            "JEDEC JESD79-4, DDR4 SDRAM: speed bins (DDR4-3200AA), timing by speed grade, refresh parameters",
            "Micron MT40A1G8, 8Gb: x4, x8, x16 DDR4 SDRAM: addressing, speed grade -062E",
        ),
    ),
    "lpddr4-2400": Technology(
        description="LPDDR4 at 2400 MT/s, 8 Gb a channel: one 16-bit channel of a two-channel device, one rank",
        channel_gb_per_second=4.8,  # 2400 MT/s · 2 B
        banks=8,
        page_bytes=2048,
        burst_bytes=32,  # burst length 16
        activate_ns=18.0,
        precharge_ns=18.0,  # tRPpb
        active_ns=42.0,
        activate_to_activate_ns=10.0,
        four_activates_ns=40.0,
        refresh_interval_ns=3904.0,
        refresh_ns=280.0,  # tRFCab, 8 Gb a channel
        sources=("JEDEC JESD209-4, LPDDR4: addressing, core timing parameters, refresh requirement parameters",),
    ),
    "hbm2": Technology(
        description="HBM2 at 2 Gb/s a pin, 8 GB stack: one 64-bit pseudo channel of 4 Gb, 16 of which make the stack",
        channel_gb_per_second=16.0,  # 2 Gb/s · 64 bit
        banks=16,
        page_bytes=1024,  # of a pseudo channel
        burst_bytes=32,  # burst length 4
        activate_ns=14.0,
        precharge_ns=14.0,
        active_ns=34.0,
        activate_to_activate_ns=4.0,
        four_activates_ns=16.0,  # the vendor's
        refresh_interval_ns=3900.0,
        refresh_ns=260.0,  # 4 Gb
        sources=(
            "JEDEC JESD235, HBM2: pseudo channel mode, addressing, refresh interval, tRFC by density",
            "DRAMsim3, HBM2_8Gb_x128.ini, and Ramulator 2.1, HBM2_2000Mbps: core timing, left to vendors by JESD235",
            "gem5, HBM_2000_4H_1x64: tFAW",
        ),
    ),
}
