"""The program of 2-bit weights on VNNI leaves the integer product, and has the instructions that it promises."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.simd.kernel import Problem, execute
from sim.simd.kernels.vnni import VNNI_KERNELS

(VNNI,) = VNNI_KERNELS


@settings(max_examples=8)
@given(st.integers(1, 4), st.sampled_from([2, 6, 32, 64]), st.integers(1, 3), st.integers(0, 1 << 30))
def test_sums_are_the_integer_product(blocks, n_out, batch, seed):
    random = np.random.default_rng(seed)
    problem = Problem(256 * blocks, n_out, batch)
    codes = random.integers(-1, 2, (n_out, problem.k)).astype(np.int8)
    activations = random.integers(-128, 128, (batch, problem.k)).astype(np.int8)
    expected = activations.astype(np.int64) @ codes.T.astype(np.int64)
    assert (execute(VNNI, problem, codes, activations) == expected).all()


@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_hold_the_longest_rows_of_the_largest_products(sign):
    codes = np.ones((2, 1 << 16), np.int8)
    found = execute(VNNI, Problem(1 << 16, 2), sign * codes, np.full((1, 1 << 16), -128, np.int8))
    assert (found == sign * -128 * (1 << 16)).all()


def test_a_block_of_two_rows_is_8_products_and_6_loads():
    (step,) = VNNI.steps(Problem(2560, 64))
    inner = Counter(item.name for item, loops in step.program.instructions() if len(loops) == 4)
    assert inner == {"load": 6, "vpand": 8, "vpdpbusd": 8}


@pytest.mark.parametrize(("k", "n_out"), [(128, 2), (256, 3)])
def test_shapes_that_it_does_not_take_are_refused(k, n_out):
    with pytest.raises(ValueError, match="pairs of rows"):
        VNNI.steps(Problem(k, n_out))
