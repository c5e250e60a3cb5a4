"""Predicted times are those of the resource that is short, on a core on which they can be computed by hand."""

import pytest
from small_core import small_core

import sim.simd.x86  # noqa: F401
from isa import InputError
from sim.simd.assembler import Assembler
from sim.simd.kernel import CpuKernel, Step
from sim.timing.cpu.core import load_core
from sim.timing.cpu.predict import predict_kernel


def adding(streams=1, gap_bytes=0):
    """A kernel that adds up its weights: 32 bytes and one addition at a time, a loop over rows."""

    def steps(problem):
        a = Assembler("adding", 32, {"weights": problem.n_out * problem.k + streams * gap_bytes})
        total = a.op("zero")
        with a.loop("rows", problem.n_out) as row, a.loop("block", problem.k // 32 // streams) as block:
            for stream in range(streams):
                a.into(
                    total, "vpaddw", total, memory=a.at("weights", row * problem.k + block * 32 + stream * gap_bytes)
                )
        return (Step("product", a.program()),)

    return CpuKernel("adding", frozenset({"avx2"}), "here", steps, lambda *_: {}, lambda *_: None)


def time_of(n_out, core=None, kernel=None, **options):
    return predict_kernel(core or small_core(), kernel or adding(), 3200, n_out, **options)


def test_what_the_first_cache_holds_takes_the_cores_time():
    found = predict_kernel(small_core(), adding(), 1600, 1)
    # 50 additions, of which each waits for the one before; 3 integers and loads beside; at 1 GHz.
    assert found.time_us == pytest.approx(0.102, abs=0.02)
    assert found.breakdown["DRAM"] == 0


def test_what_a_cache_beyond_holds_is_hidden_but_for_a_share():
    found = time_of(10)
    # 32,000 bytes at 32 GB/s take 1 µs, half of which is exposed.
    core_us = time_of(
        10, small_core(caches=[small_core().caches[0].model_copy(update={"size_bytes": 1 << 20})])
    ).time_us
    assert found.time_us == pytest.approx(core_us + 0.5, rel=0.01)


@pytest.mark.parametrize(("threads", "gb_per_second"), [(1, 8), (2, 16), (4, 16)])
def test_weights_from_dram_come_at_its_rate_which_threads_share(threads, gb_per_second):
    found = time_of(1000, threads=threads, weights_from="stream")
    assert found.bound_by == "DRAM"
    assert found.time_us == pytest.approx(3_200_000 / gb_per_second * 1e-3, rel=0.02)


def test_streams_that_prefetchers_do_not_follow_come_at_the_reorder_buffers_reach():
    def of(streams):
        dram = small_core().dram.model_copy(update={"streams_of_a_page": streams})
        core = small_core(dram=dram, reorder_buffer=12)
        return time_of(1000, core, adding(4, 800), weights_from="stream")

    followed, lost = of(4), of(1)
    assert followed.bound_by == lost.bound_by == "DRAM"
    assert followed.time_us == pytest.approx(400, rel=0.02)
    # 12 instructions reach 12 · 32 · 4/6 bytes: 100 ns for each of those, for three quarters of the lines.
    assert lost.time_us == pytest.approx(100 + 0.75 * 3_200_000 * 100 / 256 * 1e-3, rel=0.02)


def test_sizes_beyond_a_cache_lose_it_gradually():
    times = [time_of(n_out).breakdown["DRAM"] for n_out in (20, 25, 30, 41, 60)]
    assert times[0] == 0
    assert times[1] < times[2] < times[3] < times[4]
    assert times[4] == pytest.approx(60 * 3200 / 8 * 1e-3, rel=0.02)


def test_steps_add_up():
    found = predict_kernel("zen4", "I2_S[1x1]", 2560, 640)
    assert found.time_us == found.breakdown["product"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zen4", "no such", 128, 4), r"one of I2_S\[1x1\]"),
        (("zen5", "I2_S[1x1]", 128, 4), "zen4"),
        (("zen4", "I2_S[1x1]", 100, 4), "multiple of 128"),
        (("zen4", "I2_S[1x1]", 128, 0), "positive sizes"),
        (("zen4", "I2_S[1x1]", 128, 4, 1, 1000), "threads: found 1000"),
    ],
)
def test_what_cannot_be_predicted_is_said(arguments, message):
    with pytest.raises(InputError, match=message):
        predict_kernel(*arguments)


def test_a_core_without_a_feature_of_the_kernel_is_named():
    core = load_core("zen4").with_fields({"features": ["sse2"]})
    with pytest.raises(InputError, match=r"features: found \['sse2'\], expected \['avx2'\], for I2_S"):
        predict_kernel(core, "I2_S[1x1]", 128, 4)
