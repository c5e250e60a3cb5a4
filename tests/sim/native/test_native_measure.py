"""Times are of the product that was asked for, of the size that it has, and on the cores that were asked for."""

import os
from dataclasses import astuple, dataclass, field, replace

import numpy as np
import pytest

from isa import InputError
from sim.native import KERNELS, Arguments, NativeKernel, measure, measure_kernel
from sim.native.cpu import require_features

I2_S = KERNELS["I2_S[1x1]"]
SEVERAL = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")


@pytest.fixture(autouse=True)
def _runs_here():
    try:
        require_features(I2_S.features, I2_S.name)
    except InputError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Recording(NativeKernel):
    """A kernel that keeps the arguments which it makes."""

    kept: list[Arguments] = field(default_factory=list, compare=False)

    def arguments(self, *operands):
        self.kept.append(super().arguments(*operands))
        return self.kept[-1]


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=SEVERAL)])
@pytest.mark.parametrize("weights_from", ["hot", "stream"])
def test_what_is_timed_is_the_whole_product(threads, weights_from, monkeypatch):
    monkeypatch.setattr(measure, "last_level_cache_bytes", lambda: 1 << 16)
    for kernel in (I2_S, KERNELS["TL2"], KERNELS["I2_S[Nx1]"]):
        recording = Recording(**vars(kernel))
        measure_kernel(recording, 300, 1000, 5, threads, weights_from, repeats=3)
        (arguments,) = recording.kept
        assert (kernel.outputs(arguments) == kernel.multiply(arguments.weights, arguments.activations[:, :300])).all()
        assert np.abs(kernel.outputs(arguments)).max() > 0


def test_measurements_say_what_was_measured():
    found = measure_kernel(KERNELS["TL2"], 2560, 64, 2, 1, "hot", repeats=30)
    assert astuple(found)[:6] == ("TL2", 2560, 64, 2, 1, "hot")
    assert 0 < found.minimum_us <= found.percentile_10_us <= found.median_us
    assert found.preparation_us > 0
    assert found.samples == 30
    assert found.time_us == found.minimum_us
    assert replace(found, weights_from="stream").time_us == found.percentile_10_us


def test_eight_times_the_outputs_take_several_times_as_long():
    few, many = (measure_kernel(I2_S, 2560, outputs, repeats=200).minimum_us for outputs in (256, 2048))
    assert 4 < many / few < 16


def test_streamed_weights_are_copies_of_several_times_the_last_cache(monkeypatch):
    monkeypatch.setattr(measure, "last_level_cache_bytes", lambda: 1 << 20)
    found = measure_kernel(I2_S, 1024, 256, weights_from="stream", repeats=1)
    assert found.samples * 1024 * 256 / 4 > 3 << 20


def test_a_long_product_is_not_repeated_for_ever(monkeypatch):
    monkeypatch.setattr(measure, "_LONGEST_US", 1000.0)
    assert 10 <= measure_kernel(I2_S, 2560, 640, repeats=100_000).samples < 200


def test_the_process_keeps_its_cores():
    before = os.sched_getaffinity(0)
    measure_kernel(I2_S, 128, 8, repeats=2)
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"k": 0, "n_out": 1}, "--shape: found 0"),
        ({"k": 1, "n_out": 0}, "--shape: found 0"),
        ({"k": 1 << 40, "n_out": 1}, "--shape"),
        ({"k": 1 << 17, "n_out": 1 << 20}, "--shape"),
        ({"k": 128, "n_out": 128, "batch_tokens": 1 << 20}, "batch tokens"),
        ({"k": 1 << 17, "n_out": 1 << 9, "batch_tokens": 4000}, "batch tokens"),
        ({"k": 128, "n_out": 128, "threads": 0}, "--threads"),
        ({"k": 128, "n_out": 128, "threads": 1 << 20}, "--threads"),
        ({"k": 128, "n_out": 128, "repeats": 0}, "--repeats"),
        ({"k": 128, "n_out": 128, "repeats": 1 << 60}, "--repeats"),
    ],
)
def test_sizes_out_of_reason_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        measure_kernel(I2_S, **sizes)


def test_a_last_cache_that_no_copies_can_leave_is_an_error(monkeypatch):
    monkeypatch.setattr(measure, "last_level_cache_bytes", lambda: 1 << 30)
    with pytest.raises(InputError, match="last cache"):
        measure_kernel(I2_S, 2560, 64, weights_from="stream")


def test_weights_too_small_to_leave_the_caches_are_an_error():
    with pytest.raises(InputError, match=r"--shape: found 128x8, .* to stream"):
        measure_kernel(I2_S, 128, 8, weights_from="stream")
