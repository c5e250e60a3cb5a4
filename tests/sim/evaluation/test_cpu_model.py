"""Speed of a model on a CPU follows from what bounds it: bytes of weights when decoding, arithmetic in a prompt."""

import pytest

from isa import InputError
from sim.evaluation.cpu_advice import advise, kernels_of
from sim.evaluation.cpu_model import predict_model
from sim.simd.kernels import KERNELS
from sim.timing.cpu.core import load_core
from workloads import load_model_architecture

CORE = load_core("zen4")
MODEL = load_model_architecture("bitnet-2b4t")


def speed(kernel="I2_S[1x1]", head="f16", **options):
    return predict_model(CORE, MODEL, KERNELS[kernel], KERNELS[head], **options)


def test_decoding_reads_all_weights_at_the_rate_of_dram():
    found = speed()
    layers = 30 * 2560 * (2 * 2560 + 2 * 640 + 3 * 6912) / 4
    least_ms = (layers + 2 * 2560 * 128256) / 25e6
    assert found.bound_by == "DRAM"
    reading_ms = found.milliseconds["projections"] + found.milliseconds["head"]
    assert 1.0 <= reading_ms / least_ms <= 1.3
    assert found.tokens_per_second == pytest.approx(1000 / sum(found.milliseconds.values()))
    assert 0.45 < found.head_share < 0.65


def test_a_smaller_head_is_faster():
    assert speed(head="tq2_0").tokens_per_second > speed(head="q8_0").tokens_per_second > speed().tokens_per_second


def test_a_prompt_is_bound_by_the_core_and_scales_with_threads():
    one, two = (speed("I2_S[Nx1]", phase="prefill", tokens=128, threads=threads) for threads in (1, 2))
    assert one.bound_by not in ("DRAM", "L2", "L3")
    assert two.tokens_per_second == pytest.approx(2 * one.tokens_per_second, rel=0.05)


def test_sequences_side_by_side_share_the_weights():
    assert speed("I2_S[Nx1]", tokens=4).tokens_per_second > 1.5 * speed("I2_S[Nx1]").tokens_per_second


def test_a_long_context_costs_its_keys_and_values():
    short, long = (speed(context_tokens=tokens).milliseconds["attention"] for tokens in (100, 1600))
    assert long > 8 * short


def test_kernels_are_ranked_for_all_threads_and_tokens():
    kernels = [KERNELS[name] for name in ("tq2_0", "I2_S[1xN]", "I2_S[1x1]")]
    ranked = list(advise(CORE, MODEL, kernels, KERNELS["f16"], [1, 2], [1]))
    assert [(choices[0].threads, choices[0].batch) for choices in ranked] == [(1, 1), (2, 1)]
    for choices in ranked:
        speeds = [choice.prediction.tokens_per_second for choice in choices]
        assert speeds == sorted(speeds, reverse=True)
        # Four rows side by side defeat the prefetchers.
        assert choices[-1].kernel.name == "I2_S[1xN]"


def test_kernels_that_a_core_cannot_run_are_left_out():
    names = {kernel.name for kernel in kernels_of(load_core("cortex-a76"))}
    assert "I2_S NEON dotprod" in names
    assert not names & {"I2_S[1x1]", "I2_S i8mm"}
    with pytest.raises(InputError, match="those of a kernel"):
        kernels_of(CORE.with_fields({"features": ["sse2"]}))
