"""Adapter to Ramulator 2.1, a cycle-level DRAM simulator, for users who have it installed.

Written against its user guide and examples (https://github.com/CMU-SAFARI/ramulator2: README sections 3 and 4,
`examples/example_config.py`, `examples/hbm2_config.py`) and tested with a stand-in of that interface; it has not been
run with Ramulator itself, which is built from source and has no package to install.

Ramulator replays a trace of bursts and stops as soon as its queues have accepted the last one. A transfer is therefore
followed by as many more bursts as the queues hold, and the time of the same tail behind the first burst alone is
subtracted:

    service = cycles(transfer + tail) - cycles(first burst + tail) + one burst
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from isa import InputError
from sim.timing.dram.description import Dram
from sim.timing.dram.model import Transfer
from sim.timing.dram.technologies import TECHNOLOGIES, Technology, TechnologyName

__all__ = ["RamulatorModel"]

_INSTALL = (
    "Ramulator 2.1: clone https://github.com/CMU-SAFARI/ramulator2, build it with cmake and make, "
    "and install it into this environment with `pip install -e .`"
)
# Its controllers' own value, given explicitly because the tail of the trace depends on it.
_READ_QUEUE = 32
_MOST_BURSTS = 1 << 24


@dataclass(frozen=True)
class _Preset:
    """One channel of a technology in Ramulator's terms."""

    standard: str
    organization: str
    timing: str
    controller: str
    clock_period_ns: float
    overrides: tuple[tuple[str, int], ...] = ()


_PRESETS: dict[TechnologyName, _Preset] = {
    "ddr4-3200": _Preset("DDR4", "DDR4_8Gb_x8", "DDR4_3200AA", "GenericDDR", 0.625),
    # A channel here is a pseudo channel, of which Ramulator would otherwise give each controller two.
    "hbm2": _Preset("HBM2", "HBM2_4Gb", "HBM2_2000Mbps", "HBM12", 1.0, (("pseudochannel", 1),)),
}

# What Ramulator takes from its presets, and a file may therefore not say otherwise.
_PRESET_FIELDS = tuple(field.name for field in fields(Technology) if field.name in Dram.model_fields)


class RamulatorModel:
    """How long transfers hold the memory, by Ramulator 2.1.

    Parameters
    ----------
    dram : Dram
        DDR4-3200 or HBM2, as its standard has it: no timing or organisation of its own, a power of two of channels at
        the standard's data rate.
    clock_ghz : float
        Clock of the machine, in whose cycles all times are.

    Raises
    ------
    InputError
        If Ramulator is not installed, is another version, or does not have this memory.

    Notes
    -----
    All-bank refresh happens when it is due, so that a time depends on what Ramulator did since its start; every
    transfer is a simulation of its own, from the same start. Loads stand for stores too.
    """

    def __init__(self, dram: Dram, clock_ghz: float) -> None:
        self._ramulator = _installed()
        self._preset = _preset_for(dram)
        self._timings = dram.timings(clock_ghz)
        self._cycles_per_tick = self._preset.clock_period_ns * clock_ghz
        self._remembered = lru_cache(1 << 14)(self._simulated_cycles)

    @property
    def latency_cycles(self) -> int:
        """From a request to its first byte, in clock cycles: the machine file's, as for every model."""
        return round(self._timings.latency_cycles)

    def service_cycles(self, transfer: Transfer) -> int:
        """Clock cycles from the first byte of the transfer to its last, alone on all channels.

        Raises
        ------
        ValueError
            A number of the transfer is negative, or it has more bursts than a trace can hold.
        """
        if min(transfer) < 0:
            raise ValueError(f"a transfer has no negative number: {transfer}")
        if transfer.size_bytes == 0:
            return 0
        if transfer.rows * (transfer.row_bytes // self._timings.burst_bytes + 2) > _MOST_BURSTS:
            raise ValueError(f"{transfer} has more than {_MOST_BURSTS} bursts, too many to simulate one by one")
        return self._remembered(transfer._replace(address=transfer.address % self._timings.span_bytes))

    def _simulated_cycles(self, transfer: Transfer) -> int:
        bursts = list(self._addresses(transfer))
        channels, size = self._timings.channels, self._timings.burst_bytes
        last = bursts[-1] // size // channels * channels
        tail = [(last + channel) * size for _ in range(_READ_QUEUE) for channel in range(channels)]
        ticks = self._ticks(bursts + tail) - self._ticks(bursts[:1] + tail)
        return max(math.ceil(ticks * self._cycles_per_tick + self._timings.burst_cycles), 1)

    def _addresses(self, transfer: Transfer) -> Iterator[int]:
        """The bursts of a transfer, in an order of address bits that Ramulator maps to our row, bank and channel.

        It gives successive bursts to the channels in turn, we give successive lines.
        """
        t = self._timings
        for row in range(transfer.rows):
            start = transfer.address + row * transfer.pitch_bytes
            for burst in range(start // t.burst_bytes, -(-(start + transfer.row_bytes) // t.burst_bytes)):
                line, byte = divmod(burst * t.burst_bytes, t.line_bytes)
                turn, channel = divmod(line, t.channels)
                inside = (turn * t.line_bytes + byte) // t.burst_bytes
                yield (inside * t.channels + channel) * t.burst_bytes

    def _ticks(self, addresses: list[int]) -> int:
        """Memory clock periods until Ramulator has accepted all of a trace, the slowest channel's."""
        api, preset = self._ramulator, self._preset
        dram = getattr(api.dram, preset.standard)(
            org_preset=preset.organization, timing_preset=preset.timing, **dict(preset.overrides)
        )
        controller = getattr(api.controller, preset.controller)(
            dram=dram,
            scheduler=api.scheduler.FRFCFS(),
            refresh_manager=api.refresh_manager.AllBank(),
            row_policy=api.row_policy.Open(),
            addr_mapper=api.addr_mapper.RoBaRaCoCh(),
            read_buffer_size=_READ_QUEUE,
        )
        memory = api.memory_system.GenericDRAM(
            clock_ratio=1,
            controllers=[controller] * self._timings.channels,
            channel_mapper=api.channel_mapper.CacheLineInterleave(),
        )
        with TemporaryDirectory(prefix="bitloom-") as folder:
            trace = Path(folder) / "transfer.trace"
            trace.write_text("".join(f"LD {address}\n" for address in addresses))
            # A request a tick of the frontend: as many ticks as channels keep all of them busy.
            frontend = api.frontend.LoadStoreTrace(clock_ratio=self._timings.channels, path=str(trace))
            simulation = api.Simulation(frontend, memory)
            simulation.run()
            statistics = simulation.stats["memory_system"]["controller"]
        controllers = [statistics] if isinstance(statistics, dict) else statistics
        return max(int(one["cycles"]) for one in controllers)


def _installed() -> Any:
    """The module `ramulator`, of a version with the interface used here."""
    try:
        module = importlib.import_module("ramulator")
    except ImportError as error:
        raise InputError("ramulator", "Python module", f"none ({error})", _INSTALL) from None
    needed = ("Simulation", "addr_mapper", "channel_mapper", "controller", "dram", "frontend", "memory_system")
    missing = [name for name in needed if not hasattr(module, name)]
    if missing:
        raise InputError("ramulator", "Python module", f"one without {', '.join(missing)}", _INSTALL)
    return module


def _preset_for(dram: Dram) -> _Preset:
    """Ramulator's preset of a memory; `InputError` names the first field that it could not follow."""
    preset = _PRESETS.get(dram.technology)
    if preset is None:
        raise InputError("dram", "technology", dram.technology, f"for Ramulator one of {', '.join(_PRESETS)}")
    for field in _PRESET_FIELDS:
        if getattr(dram, field) is not None:
            raise InputError("dram", field, getattr(dram, field), "nothing: Ramulator takes it from its preset")
    channels = dram.timings(1.0).channels
    if channels & (channels - 1):
        raise InputError("dram", "channels", channels, "a power of two, which Ramulator's channel mapper needs")
    bandwidth = channels * TECHNOLOGIES[dram.technology].channel_gb_per_second
    if not math.isclose(dram.bandwidth_gb_per_second, bandwidth, rel_tol=0.01):
        raise InputError(
            "dram",
            "bandwidth_gb_per_second",
            dram.bandwidth_gb_per_second,
            f"{bandwidth:g}, the data rate of Ramulator's preset on {channels} channels",
        )
    return preset
