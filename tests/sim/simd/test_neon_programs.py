"""Programs of NEON kernels leave the integer product, or what the public kernel's arithmetic leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.simd.kernel import Problem, execute
from sim.simd.kernels.neon_ggml import NEON_GGML_KERNELS
from sim.simd.kernels.neon_i2_s import NEON_I2_S_KERNELS
from sim.simd.kernels.neon_tl1 import NEON_TL1_KERNELS
from sim.simd.kernels.neon_tmac import NEON_TMAC_KERNELS

I2_S = {kernel.name: kernel for kernel in NEON_I2_S_KERNELS}
GGML = {kernel.name: kernel for kernel in NEON_GGML_KERNELS}
TMAC, TMAC_FAST, *_ = NEON_TMAC_KERNELS
(TL1,) = NEON_TL1_KERNELS


def product(codes, activations):
    return activations.astype(np.int64) @ codes.T.astype(np.int64)


def ternary(random, n_out, k):
    return random.integers(-1, 2, (n_out, k)).astype(np.int8)


@settings(max_examples=10)
@given(st.sampled_from(sorted(I2_S)), st.integers(1, 8), st.integers(1, 3), st.integers(0, 1 << 30))
def test_i2_s_is_the_integer_product(name, blocks, batch, seed):
    random = np.random.default_rng(seed)
    problem = Problem(64 * blocks, 4, batch)
    codes = ternary(random, problem.n_out, problem.k)
    activations = random.integers(-128, 128, (batch, problem.k)).astype(np.int8)
    assert (execute(I2_S[name], problem, codes, activations) == product(codes, activations)).all()


def test_sums_of_16_bits_wrap_around_without_dot_products():
    """2048 weights of +1 and activations of 127 bring a lane 254 · 256, which is 65,024: -512 in 16 bits."""
    ones, largest = np.ones((2, 2048), np.int8), np.full((1, 2048), 127, np.int8)
    wrapped = execute(I2_S["I2_S NEON"], Problem(2048, 2), ones, largest)
    assert (wrapped == 8 * -512 - 127 * 2048).all()
    assert (execute(I2_S["I2_S NEON dotprod"], Problem(2048, 2), ones, largest) == 127 * 2048).all()
    assert (execute(I2_S["I2_S i8mm"], Problem(2048, 2), ones, largest) == 127 * 2048).all()


@pytest.mark.parametrize(("k", "n_out"), [(256, 64), (384, 128), (64, 32)])
def test_tl1_is_the_integer_product(k, n_out):
    random = np.random.default_rng(k)
    codes = ternary(random, n_out, k)
    activations = random.integers(-127, 128, (2, k)).astype(np.int8)
    activations[:, 7] = -127
    assert (execute(TL1, Problem(k, n_out, 2), codes, activations) == product(codes, activations)).all()


def test_tl1_takes_strips_of_64_rows_of_a_published_shape():
    random = np.random.default_rng(64)
    codes = ternary(random, 1536, 1536)
    activations = random.integers(-127, 128, (1, 1536)).astype(np.int8)
    activations[:, 0] = 127
    assert (execute(TL1, Problem(1536, 1536), codes, activations) == product(codes, activations)).all()


def half_entries(activations, tile):
    """T-MAC's 8-bit entries in float16 arithmetic: [tokens, groups, 16], and scales [tokens, tiles]."""
    grouped = activations.reshape(len(activations), -1, 4).astype(np.float16)
    signs = (2 * (np.arange(16)[:, None] >> np.arange(4) & 1) - 1).astype(np.float32)
    sums = (grouped.astype(np.float32) @ signs.T).astype(np.float16)
    largest = np.abs(grouped).sum(axis=2, dtype=np.float32).reshape(len(grouped), -1, tile // 4).max(axis=2)
    scales = largest.astype(np.float16) / np.float16(127)
    inverse = np.repeat(np.float16(1) / scales, tile // 4, axis=1)[..., None]
    return np.clip(np.rint(sums * inverse), -128, 127).astype(np.int64), scales


@settings(max_examples=6)
@given(st.integers(1, 4), st.sampled_from([16, 64]), st.integers(1, 2), st.integers(0, 1 << 30))
def test_tmac_adds_what_float16_tables_hold(tiles, n_out, batch, seed):
    random = np.random.default_rng(seed)
    problem = Problem(64 * tiles, n_out, batch)
    codes = random.integers(-2, 2, (n_out, problem.k)).astype(np.int8)
    activations = random.integers(-127, 128, (batch, problem.k)).astype(np.int8)
    entries, scales = half_entries(activations, problem.k)
    stored_codes = codes.astype(np.int64) + 2
    planes = [(stored_codes >> plane & 1).reshape(n_out, -1, 4) @ (1 << np.arange(4)) for plane in range(2)]
    groups = np.arange(problem.k // 4)
    sums = [entries[:, groups, patterns].sum(axis=2) for patterns in planes]
    expected = (sums[0] / 2 + sums[1]) * scales.astype(np.float64) - activations.sum(axis=1, dtype=np.int64)[
        :, None
    ] / 2
    # The sum of the activations is float16, of 11 bits.
    slack = np.abs(activations.astype(np.int64)).sum(axis=1).max() * tiles * 2.0**-10
    assert np.abs(execute(TMAC, problem, codes, activations) - expected).max() <= 1 + slack


def test_tmac_with_averages_is_near_the_integer_product():
    """A halving of four levels is off by at most 1/2 a level, for the 16 entries of a tile."""
    random = np.random.default_rng(9)
    problem = Problem(256, 32, 2)
    codes = random.integers(-2, 2, (32, 256)).astype(np.int8)
    activations = random.integers(-127, 128, (2, 256)).astype(np.int8)
    _, scales = half_entries(activations, 64)
    bound = 1.5 * scales.astype(np.float64).sum(axis=1).max() * 16 * (2 + 1)
    found = execute(TMAC_FAST, problem, codes, activations)
    error = np.abs(found - product(codes, activations))
    assert error.max() <= bound
    assert 0 < error.mean() < bound / 4


@pytest.mark.parametrize("kernel", [TMAC, TMAC_FAST], ids=lambda kernel: kernel.name)
def test_tmac_of_nothing_is_nothing(kernel):
    codes = np.ones((16, 64), np.int8)
    assert not execute(kernel, Problem(64, 16), codes, np.zeros((1, 64), np.int8)).any()


def dequantized(activations, size, scale_of):
    blocks = activations.reshape(len(activations), -1, size)
    most = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    scales = np.abs(most) / np.float32(127)
    codes = np.rint(blocks * (np.float32(1) / scales))
    return (codes * scale_of(scales)).reshape(len(activations), -1).astype(np.float64)


@settings(max_examples=8)
@given(st.sampled_from(["TQ2_0", "Q4_0", "Q8_0"]), st.integers(1, 2), st.integers(1, 18), st.integers(0, 1 << 30))
def test_blocks_of_ggml_are_the_product_of_quantized_activations(family, blocks, batch, seed):
    """Nothing but float32 rounding is lost beside; a code may be one off where the public inverse is rounded twice."""
    random = np.random.default_rng(seed)
    lowest, highest = {"TQ2_0": (-1, 1), "Q4_0": (-8, 7), "Q8_0": (-127, 127)}[family]
    problem = Problem(256 * blocks, 5, batch)
    codes = random.integers(lowest, highest + 1, (5, problem.k)).astype(np.int8)
    activations = random.standard_normal((batch, problem.k)).astype(np.float32)
    size, scale_of = (
        (256, lambda x: x) if family == "TQ2_0" else (32, lambda x: x.astype(np.float16).astype(np.float32))
    )
    expected = dequantized(activations, size, scale_of) @ codes.T.astype(np.float64)
    found = execute(GGML[f"{family} NEON dotprod"], problem, codes, activations)
    one_code = np.abs(activations).max() / 127 * max(-lowest, highest)
    assert np.abs(found - expected).max() <= 2 * one_code + 1e-4


@pytest.mark.parametrize("name", GGML)
def test_tokens_of_a_batch_do_not_touch_each_other(name):
    random = np.random.default_rng(2)
    codes = ternary(random, 18, 256)
    activations = random.standard_normal((17, 256)).astype(np.float32)
    together = execute(GGML[name], Problem(256, 18, 17), codes, activations)
    alone = [execute(GGML[name], Problem(256, 18), codes, row[None])[0] for row in activations]
    assert (together == np.stack(alone)).all()


@pytest.mark.parametrize("name", GGML)
def test_blocks_of_zeros_are_zeros(name):
    codes = np.ones((2, 256), np.int8)
    assert not execute(GGML[name], Problem(256, 2), codes, np.zeros((1, 256), np.float32)).any()


def test_float16_sums_are_near():
    random = np.random.default_rng(4)
    codes = ternary(random, 4, 1024)
    activations = random.standard_normal((2, 1024)).astype(np.float32)
    found = execute(GGML["F16 NEON"], Problem(1024, 4, 2), codes, activations)
    assert np.abs(found - activations.astype(np.float64) @ codes.T).max() < 0.2


@pytest.mark.parametrize(
    ("kernel", "k", "n_out"),
    [*((kernel, 100, 16) for kernel in (*I2_S.values(), *GGML.values(), TMAC, TL1)), (I2_S["I2_S i8mm"], 64, 3)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_shapes_that_a_kernel_does_not_take_are_refused(kernel, k, n_out):
    with pytest.raises(ValueError, match=r"take|must be|needs|tables of"):
        kernel.steps(Problem(k, n_out))
