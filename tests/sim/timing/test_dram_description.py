"""The DRAM of a machine file: standard values where it says nothing, cycles of the machine's clock, refusals."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cost_models.memory import dram_technologies
from sim.timing.dram import TECHNOLOGIES, Dram, timing_arrays


def dram(**fields) -> Dram:
    return Dram(**{"technology": "ddr4-3200", "bandwidth_gb_per_second": 25.6, "latency_ns": 50.0, **fields})


def test_every_technology_with_an_energy_has_an_organisation_and_the_reverse():
    assert set(TECHNOLOGIES) == set(dram_technologies())


@pytest.mark.parametrize("name", TECHNOLOGIES)
def test_standard_values_are_consistent_and_sourced(name):
    """A row is open longer than a burst takes, four activations longer than their gaps, refresh longer than a row."""
    standard = TECHNOLOGIES[name]
    assert standard.active_ns > standard.activate_ns + standard.burst_bytes / standard.channel_gb_per_second
    assert standard.four_activates_ns >= 3 * standard.activate_to_activate_ns
    assert standard.active_ns + standard.precharge_ns < standard.refresh_ns < standard.refresh_interval_ns
    assert standard.sources


@pytest.mark.parametrize(
    ("technology", "bandwidth_gb_per_second", "channels"),
    [
        ("ddr4-3200", 25.6, 1),
        ("ddr4-3200", 51.2, 2),
        ("ddr4-3200", 1.0, 1),
        ("lpddr4-2400", 9.6, 2),
        ("hbm2", 256.0, 16),
        ("hbm2", 1e6, 256),
    ],
)
def test_channels_are_as_many_as_the_bandwidth_needs(technology, bandwidth_gb_per_second, channels):
    timings = dram(technology=technology, bandwidth_gb_per_second=bandwidth_gb_per_second).timings(1.0)
    assert timings.channels == channels
    assert timings.burst_cycles == timings.burst_bytes * channels / bandwidth_gb_per_second


def test_what_a_file_says_overrides_the_standard_and_scales_with_the_clock():
    timings = dram(channels=4, banks=8, page_bytes=1024, activate_ns=10.0, refresh_ns=0).timings(2.0)
    standard = dram().timings(2.0)
    assert (timings.channels, timings.banks, timings.page_bytes, timings.activate_cycles) == (4, 8, 1024, 20.0)
    assert timings.refresh_share == 0
    assert timings.span_bytes == 4 * 8 * 1024
    assert timings.precharge_cycles == standard.precharge_cycles == 27.5
    assert timings.latency_cycles == 100.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("technology", "ddr9"),
        ("bandwidth_gb_per_second", 0),
        ("bandwidth_gb_per_second", float("nan")),
        ("latency_ns", -1),
        ("channels", 0),
        ("channels", 257),
        ("channels", 1.5),
        ("banks", 3),
        ("page_bytes", 1000),
        ("page_bytes", 32),
        ("burst_bytes", 48),
        ("activate_ns", -1),
        ("refresh_interval_ns", 0),
        ("ranks", 2),
    ],
)
def test_a_wrong_value_is_refused_at_its_field(field, value):
    with pytest.raises(ValidationError) as caught:
        dram(**{field: value})
    assert caught.value.errors()[0]["loc"] == (field,)


def test_values_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValidationError, match=r"burst_bytes 128 should be at most page_bytes 64"):
        dram(burst_bytes=128, page_bytes=64)
    with pytest.raises(ValidationError, match=r"refresh_ns 350 should be below refresh_interval_ns 200"):
        dram(refresh_interval_ns=200)


def test_timings_of_several_machines_stand_side_by_side():
    several = [dram(bandwidth_gb_per_second=25.6 * count).timings(1.0) for count in (1, 2, 4)]
    arrays = timing_arrays(several)
    assert arrays.channels.tolist() == [1, 2, 4]
    assert arrays.burst_cycles.tolist() == [2.5, 2.5, 2.5]
