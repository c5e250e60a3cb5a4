"""What a DRAM does, as claims about the compact model: peaks, conflicts, activation limits, channels, steady parts."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.timing.dram import TECHNOLOGIES, BankModel, Dram, Transfer
from sim.timing.dram.walk import walk_rows

MIB = 1 << 20


def model_of(technology: str = "ddr4-3200", channels: int = 1, clock_ghz: float = 1.0, **fields) -> BankModel:
    """The standard's channels at the standard's rate."""
    bandwidth = channels * TECHNOLOGIES[technology].channel_gb_per_second
    return BankModel(
        Dram(technology=technology, bandwidth_gb_per_second=bandwidth, latency_ns=50, channels=channels, **fields),
        clock_ghz,
    )


def tiny(**fields) -> BankModel:
    """Spans of 1 KiB, so that long transfers have many of them."""
    return model_of("hbm2", banks=4, page_bytes=128, channels=2, refresh_ns=0, **fields)


@pytest.mark.parametrize("technology", TECHNOLOGIES)
@pytest.mark.parametrize("channels", [1, 2, 16])
def test_a_sequential_stream_reaches_the_peak_less_the_share_of_refresh(technology, channels):
    model = model_of(technology, channels)
    standard = TECHNOLOGIES[technology]
    peak = channels * standard.channel_gb_per_second
    cycles = model.service_cycles(Transfer(0, 1, 64 * MIB, 0))
    assert cycles == math.ceil(64 * MIB / peak / (1 - standard.refresh_ns / standard.refresh_interval_ns) - 1e-6)


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_rows_of_the_same_bank_take_an_activation_and_a_precharge_each(technology):
    model = model_of(technology, refresh_ns=0)
    standard = TECHNOLOGIES[technology]
    times = [model.service_cycles(Transfer(0, rows, 32, model.timings.span_bytes)) for rows in (101, 1)]
    assert times[0] - times[1] == pytest.approx(100 * (standard.active_ns + standard.precharge_ns), abs=1)


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_rows_of_different_banks_are_bounded_by_the_window_of_four_activations(technology):
    model = model_of(technology, refresh_ns=0)
    standard = TECHNOLOGIES[technology]
    rows = 1 + 4 * 50
    time = model.service_cycles(Transfer(0, rows, 16, standard.page_bytes))
    # LPDDR4 has 8 banks, no more than are activated in the time of one conflict.
    limit = max(50 * standard.four_activates_ns, 200 / standard.banks * (standard.active_ns + standard.precharge_ns))
    burst = standard.burst_bytes / standard.channel_gb_per_second
    assert time == pytest.approx(limit + burst, rel=0.01, abs=1)


def test_two_channels_halve_the_time_of_a_long_stream():
    one, two = (model_of(channels=channels).service_cycles(Transfer(0, 1, 8 * MIB, 0)) for channels in (1, 2))
    assert two == pytest.approx(one / 2, abs=1)


@pytest.mark.parametrize("technology", TECHNOLOGIES)
@pytest.mark.parametrize("row_bytes", [1, 16])
def test_a_short_row_costs_a_burst(technology, row_bytes):
    standard = TECHNOLOGIES[technology]
    model = model_of(technology, refresh_ns=0)
    burst_cycles = standard.burst_bytes / standard.channel_gb_per_second
    assert model.service_cycles(Transfer(0, 1, row_bytes, 0)) == math.ceil(burst_cycles - 1e-6)
    assert model.service_cycles(Transfer(standard.burst_bytes - 1, 1, 2, 0)) == math.ceil(2 * burst_cycles - 1e-6)


def test_pages_that_follow_each_other_in_other_banks_cost_their_data_alone():
    """Activations hide behind the data of the page before."""
    model = model_of(refresh_ns=0)
    assert model.service_cycles(Transfer(8192 - 256, 1, 8192, 0)) == 8192 / 25.6


def test_nothing_is_transferred_in_no_time_and_negative_numbers_are_refused():
    model = model_of()
    assert model.service_cycles(Transfer(0, 0, 64, 64)) == model.service_cycles(Transfer(0, 5, 0, 64)) == 0
    with pytest.raises(ValueError, match="negative"):
        model.service_cycles(Transfer(0, 1, 64, -64))


any_transfer = st.builds(
    Transfer,
    address=st.integers(0, 1 << 40),
    rows=st.integers(1, 300),
    row_bytes=st.integers(1, 20_000),
    pitch_bytes=st.integers(0, 1 << 18),
)


@given(technology=st.sampled_from(sorted(TECHNOLOGIES)), channels=st.sampled_from([1, 2, 5, 16]), transfer=any_transfer)
@settings(max_examples=60)
def test_no_transfer_is_faster_than_its_bytes_at_peak(technology, channels, transfer):
    model = model_of(technology, channels)
    peak = channels * TECHNOLOGIES[technology].channel_gb_per_second
    assert model.service_cycles(transfer) >= math.floor(transfer.size_bytes / peak)


@given(technology=st.sampled_from(sorted(TECHNOLOGIES)), transfer=any_transfer, spans=st.integers(1, 1 << 20))
@settings(max_examples=40)
def test_addresses_a_whole_number_of_spans_apart_take_the_same_time(technology, transfer, spans):
    moved = transfer._replace(address=transfer.address + spans * model_of(technology, 2).span_bytes)
    # Two models, so that neither remembers what the other found.
    assert model_of(technology, 2).service_cycles(transfer) == model_of(technology, 2).service_cycles(moved)


@given(
    address=st.integers(0, 1023),
    rows=st.one_of(st.integers(1, 6), st.integers(1, 9000)),
    row_bytes=st.one_of(st.integers(1, 300), st.integers(1, 12_000)),
    pitch=st.one_of(
        st.integers(0, 20_000),
        st.integers(0, 64).map(lambda multiple: multiple * 256),
        st.integers(0, 1 << 60),
    ),
    slow=st.booleans(),
)
@settings(max_examples=150)
def test_steady_parts_of_long_transfers_are_those_of_a_full_walk(address, rows, row_bytes, pitch, slow):
    """What a period adds is exact once it is steady; rows that overlap may take longer than is walked to become so.

    Then activations overtake data, or the reverse, late and slowly: a part in a thousand bounds it.
    """
    model = tiny(**({"active_ns": 300.0, "activate_to_activate_ns": 9.0} if slow else {}))
    pitch = pitch % 1024 + (1 << 30) if pitch > 1 << 30 else pitch
    rows = min(rows, 3_000_000 // row_bytes + 1)
    if pitch == row_bytes:
        rows, row_bytes, pitch = 1, rows * row_bytes, 0
    walked = walk_rows(model._geometry, model._timing, address, rows, row_bytes, pitch)
    cycles = model.service_cycles(Transfer(address, rows, row_bytes, pitch))
    if pitch >= row_bytes + 256 or rows == 1:
        assert cycles == max(math.ceil(walked.max() - 1e-6), 1)
    else:
        assert cycles == pytest.approx(walked.max(), rel=1e-3, abs=1)


@pytest.mark.parametrize(
    "transfer",
    [
        Transfer(3, 1, 1 << 60, 0),
        Transfer(3, 1 << 40, 1 << 20, 1 << 20),
        Transfer(1 << 63, 1 << 40, 3, (1 << 63) + 7),
        Transfer(0, 1 << 40, 1 << 40, 5),
        Transfer(5, 1 << 20, 1 << 24, (1 << 25) + 1),
    ],
)
def test_absurd_transfers_take_their_bytes_at_peak_at_least_and_no_time_to_compute(transfer):
    """Sizes that no walk over pages would finish."""
    cycles = model_of("hbm2", 16).service_cycles(transfer)
    assert cycles >= transfer.size_bytes / 256


def test_cycles_are_those_of_the_machines_clock():
    transfer = Transfer(0, 1, MIB, 0)
    slow, fast = (model_of(clock_ghz=clock_ghz) for clock_ghz in (0.5, 2.0))
    assert fast.service_cycles(transfer) == pytest.approx(4 * slow.service_cycles(transfer), abs=4)
    assert (slow.latency_cycles, fast.latency_cycles) == (25, 100)


def test_numba_is_imported_by_those_alone_who_walk():
    """Reading a machine file must not wait for a compiler."""
    program = "import sys, sim.timing.dram; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
