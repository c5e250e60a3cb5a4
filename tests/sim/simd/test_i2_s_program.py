"""The programs of I2_S leave the integer product, and what registers of 16 bits leave beyond it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.simd.kernel import Problem, execute
from sim.simd.kernels.i2_s import I2_S_KERNELS

KERNELS = {kernel.name: kernel for kernel in I2_S_KERNELS}


def product(codes, activations):
    return activations.astype(np.int64) @ codes.T.astype(np.int64)


@settings(max_examples=8)
@given(st.sampled_from(sorted(KERNELS)), st.integers(1, 6), st.integers(1, 3), st.integers(0, 1 << 30))
def test_sums_are_the_integer_product(name, blocks, rows, seed):
    random = np.random.default_rng(seed)
    problem = Problem(128 * blocks, 4 * rows, 4)
    codes = random.integers(-1, 2, (problem.n_out, problem.k)).astype(np.int8)
    activations = random.integers(-128, 128, (problem.batch_tokens, problem.k)).astype(np.int8)
    assert (execute(KERNELS[name], problem, codes, activations) == product(codes, activations)).all()


@pytest.mark.parametrize("name", KERNELS)
def test_sums_of_16_bits_wrap_around_after_32_blocks(name):
    """What users of the public kernel meet: 4096 weights of +1 and activations of 127 give 254 · 4096 modulo 2^16."""
    problem = Problem(4096, 4, 1)
    ones = np.ones((4, 4096), np.int8)
    found = execute(KERNELS[name], problem, ones, np.full((1, 4096), 127, np.int8))
    assert (found == -8192 - 127 * 4096).all()


def test_rows_that_it_does_not_take_are_refused():
    with pytest.raises(ValueError, match="multiple of 128"):
        KERNELS["I2_S[1x1]"].steps(Problem(100, 4))
    with pytest.raises(ValueError, match="multiple of 4 rows"):
        KERNELS["I2_S[1xN]"].steps(Problem(128, 5))
