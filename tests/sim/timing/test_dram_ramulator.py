"""The adapter to Ramulator 2.1 with a stand-in of its documented Python interface, Ramulator being built from source.

The stand-in takes the same components and keywords, reads the trace file that the frontend names, and serves a burst of
each channel every so many ticks, as soon as its queue has taken them in: what is tested is what the adapter asks for
and what it makes of the answer.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from isa import InputError
from sim.timing.dram import Dram, RamulatorModel, Transfer

TICKS_BEFORE_FIRST = 40


@dataclass
class Recorder:
    """Every component made and every trace replayed."""

    made: list[tuple[str, dict]] = field(default_factory=list)
    traces: list[list[str]] = field(default_factory=list)
    burst_bytes: int = 64
    ticks_a_burst: int = 4

    def component(self, name):
        def make(**parameters):
            self.made.append((name, parameters))
            return SimpleNamespace(name=name, **parameters)

        return make

    def parameters(self, name):
        """Of the component made first under a name."""
        return next(parameters for made, parameters in self.made if made == name)


@pytest.fixture
def ramulator(monkeypatch):
    """An installed module of that interface."""
    recorder = Recorder()

    class Simulation:
        def __init__(self, frontend, memory_system):
            self.frontend, self.memory = frontend, memory_system

        def run(self):
            recorder.traces.append(Path(self.frontend.path).read_text().splitlines())

        @property
        def stats(self):
            """The queue accepts the last burst when all but a queue's length are served; channels work in parallel."""
            channels = len(self.memory.controllers)
            served = [0] * channels
            for line in recorder.traces[-1]:
                operation, address = line.split()
                assert operation == "LD"
                served[int(address) // recorder.burst_bytes % channels] += 1
            queue = self.memory.controllers[0].read_buffer_size
            cycles = [TICKS_BEFORE_FIRST + recorder.ticks_a_burst * (count - queue) for count in served]
            each = [{"id": f"Channel {number}", "cycles": count} for number, count in enumerate(cycles)]
            return {"frontend": {}, "memory_system": {"controller": each[0] if channels == 1 else each}}

    module = ModuleType("ramulator")
    components = {
        "dram": ("DDR4", "HBM2"),
        "controller": ("GenericDDR", "HBM12"),
        "scheduler": ("FRFCFS",),
        "refresh_manager": ("AllBank",),
        "row_policy": ("Open",),
        "addr_mapper": ("RoBaRaCoCh",),
        "memory_system": ("GenericDRAM",),
        "channel_mapper": ("CacheLineInterleave",),
        "frontend": ("LoadStoreTrace",),
    }
    for namespace, names in components.items():
        setattr(module, namespace, SimpleNamespace(**{name: recorder.component(name) for name in names}))
    module.Simulation = Simulation
    monkeypatch.setitem(sys.modules, "ramulator", module)
    return recorder


def dram(technology="ddr4-3200", bandwidth=25.6, **fields) -> Dram:
    return Dram(technology=technology, bandwidth_gb_per_second=bandwidth, latency_ns=50, **fields)


def test_without_ramulator_the_user_is_told_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ramulator", None)
    with pytest.raises(InputError, match=r"ramulator: Python module: found none .*github.com/CMU-SAFARI/ramulator2"):
        RamulatorModel(dram(), 1.0)


def test_another_module_of_that_name_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ramulator", ModuleType("ramulator"))
    with pytest.raises(InputError, match="one without Simulation, addr_mapper"):
        RamulatorModel(dram(), 1.0)


def test_every_burst_of_the_transfer_is_replayed_once_in_order(ramulator):
    RamulatorModel(dram(), 1.0).service_cycles(Transfer(32, rows=3, row_bytes=64, pitch_bytes=4096))
    whole, first = ramulator.traces
    rows = [f"LD {address}" for start in (0, 4096, 8192) for address in (start, start + 64)]
    tail = ["LD 8256"] * 32
    assert whole == rows + tail
    assert first == rows[:1] + tail


@pytest.mark.usefixtures("ramulator")
@pytest.mark.parametrize("clock_ghz", [0.5, 1.0, 1.6])
def test_ticks_of_the_memory_become_cycles_of_the_machine(clock_ghz):
    """128 bursts of 4 ticks at 0.625 ns: what came before the first, and the queue, cancel."""
    assert RamulatorModel(dram(), clock_ghz).service_cycles(Transfer(0, 1, 8192, 0)) == 320 * clock_ghz


def test_channels_get_the_lines_that_our_mapping_gives_them(ramulator):
    """HBM2: lines of two bursts here, of one there; a quarter of the bursts on each channel, at the same columns."""
    ramulator.burst_bytes = 32
    RamulatorModel(dram("hbm2", 64.0), 1.0).service_cycles(Transfer(0, 1, 512, 0))
    bursts = [int(line.split()[1]) // 32 for line in ramulator.traces[0][:16]]
    assert [burst % 4 for burst in bursts] == [0, 0, 1, 1, 2, 2, 3, 3] * 2
    assert [burst // 4 for burst in bursts] == [0, 1] * 4 + [2, 3] * 4


def test_the_slowest_channel_decides(ramulator):
    ramulator.burst_bytes = 32
    model = RamulatorModel(dram("hbm2", 64.0), 1.0)
    ramulator.ticks_a_burst = 2
    assert model.service_cycles(Transfer(0, 8, 64, 256)) == 8 * 2 * 2


def test_the_memory_is_that_of_the_description(ramulator):
    RamulatorModel(dram(bandwidth=51.2), 1.0).service_cycles(Transfer(0, 1, 64, 0))
    assert ramulator.parameters("DDR4") == {"org_preset": "DDR4_8Gb_x8", "timing_preset": "DDR4_3200AA"}
    memory = ramulator.parameters("GenericDRAM")
    assert [controller.name for controller in memory["controllers"]] == ["GenericDDR"] * 2
    assert (memory["clock_ratio"], ramulator.parameters("LoadStoreTrace")["clock_ratio"]) == (1, 2)


def test_equal_transfers_are_simulated_once_and_leave_no_file(ramulator):
    model = RamulatorModel(dram(), 1.0)
    times = {model.service_cycles(Transfer(address, 2, 64, 256)) for address in (0, 1 << 17, 0)}
    assert len(times) == 1
    assert len(ramulator.traces) == 2
    assert not Path(ramulator.parameters("LoadStoreTrace")["path"]).exists()


@pytest.mark.usefixtures("ramulator")
@pytest.mark.parametrize(
    ("memory", "field"),
    [
        (dram("lpddr4-2400", 9.6), "technology"),
        (dram(activate_ns=10.0), "activate_ns"),
        (dram(banks=8), "banks"),
        (dram(bandwidth=76.8), "channels"),
        (dram(bandwidth=30.0), "bandwidth_gb_per_second"),
    ],
)
def test_what_ramulator_could_not_follow_is_refused_by_name(memory, field):
    with pytest.raises(InputError) as caught:
        RamulatorModel(memory, 1.0)
    assert (caught.value.source, caught.value.field) == ("dram", field)


@pytest.mark.usefixtures("ramulator")
def test_nothing_takes_no_time_and_absurd_transfers_are_refused():
    model = RamulatorModel(dram(), 1.0)
    assert model.service_cycles(Transfer(0, 0, 64, 64)) == 0
    with pytest.raises(ValueError, match="negative"):
        model.service_cycles(Transfer(-1, 1, 64, 64))
    with pytest.raises(ValueError, match="too many to simulate"):
        model.service_cycles(Transfer(0, 1 << 30, 64, 64))
    assert model.latency_cycles == 50
