"""The closed form of transfer times against the model that it is the law of: where equal, and how far off elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.timing.dram import TECHNOLOGIES, BankModel, Dram, Transfer, service_cycles_bound, timing_arrays


def model_of(technology: str, channels: int) -> BankModel:
    bandwidth = channels * TECHNOLOGIES[technology].channel_gb_per_second
    return BankModel(Dram(technology=technology, bandwidth_gb_per_second=bandwidth, latency_ns=50), clock_ghz=1.0)


def random_transfers(least_bytes: int, count: int = 400) -> list[Transfer]:
    """Tiles of matrices: 1 to 256 rows of `least_bytes` to 16 KiB, pitches of whole lines, at any line."""
    generator = np.random.default_rng(17)
    rows = generator.integers(1, 257, count)
    row_bytes = (2 ** generator.uniform(math.log2(least_bytes), 14, count)).astype(int) // 16 * 16
    gap_lines = np.where(
        generator.random(count) < 0.5, generator.integers(0, 1024, count), 2 ** generator.uniform(0, 10, count)
    ).astype(int)
    pitch_bytes = -(-row_bytes // 64) * 64 + gap_lines * 64
    addresses = generator.integers(0, 1 << 20, count) * 64
    return [Transfer(*map(int, one)) for one in zip(addresses, rows, row_bytes, pitch_bytes, strict=True)]


def errors(model: BankModel, transfers: list[Transfer]) -> np.ndarray:
    """Relative error of each, of the whole cycles that both would take."""
    _, rows, row_bytes, pitch_bytes = np.array(transfers).T
    estimate = np.ceil(service_cycles_bound(model.timings, rows, row_bytes, pitch_bytes) - 1e-6)
    exact = np.array([model.service_cycles(transfer) for transfer in transfers])
    return np.abs(estimate / exact - 1)


@given(
    technology=st.sampled_from(sorted(TECHNOLOGIES)),
    channels=st.sampled_from([1, 2, 3, 16]),
    first_line=st.integers(0, 1 << 14),
    kibibytes=st.integers(1, 256),
)
@settings(max_examples=60)
def test_contiguous_transfers_are_exact(technology, channels, first_line, kibibytes):
    transfer = Transfer(64 * first_line, 1, 1024 * kibibytes, 0)
    assert errors(model_of(technology, channels), [transfer]).max() == 0


# The worst are of pitches that bring rows back to a bank not quite in step with its pages: the bound is twice what
# 3000 of these transfers showed.
@pytest.mark.parametrize(
    ("technology", "channels", "worst"), [("ddr4-3200", 1, 0.01), ("lpddr4-2400", 1, 0.15), ("lpddr4-2400", 2, 0.15)]
)
def test_rows_of_a_kibibyte_and_more_are_nearly_exact(technology, channels, worst):
    found = errors(model_of(technology, channels), random_transfers(1024))
    assert np.median(found) == 0
    assert found.max() <= worst


@pytest.mark.parametrize(("technology", "channels"), [(name, count) for name in TECHNOLOGIES for count in (1, 2, 16)])
def test_half_of_all_tiles_are_within_one_part_in_a_hundred(technology, channels):
    """Of rows down to 16 bytes, which activations bound, most are near; on many channels the tail is long."""
    found = errors(model_of(technology, channels), random_transfers(16))
    assert np.median(found) < 0.01
    assert np.quantile(found, 0.9) < (0.1 if channels < 16 else 0.3)


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_conflicts_in_one_bank_and_limits_of_activations_are_in_the_form(technology):
    model = model_of(technology, 1)
    page = TECHNOLOGIES[technology].page_bytes
    assert errors(model, [Transfer(0, 100, 16, model.span_bytes), Transfer(0, 101, 16, page)]).max() < 0.01


def test_machines_and_transfers_broadcast():
    models = [model_of("ddr4-3200", channels) for channels in (1, 2)]
    arrays = timing_arrays([model.timings for model in models])
    transfers = random_transfers(64, 5)
    columns = np.array(transfers).T[1:, :, None]
    together = service_cycles_bound(arrays, *columns)
    alone = [[service_cycles_bound(model.timings, *transfer[1:]) for model in models] for transfer in transfers]
    assert together.shape == (5, 2)
    assert (together == np.array(alone)).all()


def test_nothing_takes_no_time():
    timings = model_of("hbm2", 16).timings
    assert service_cycles_bound(timings, [0, 3, 0], [64, 0, 0], 128).tolist() == [0, 0, 0]
