"""The arithmetic of `rtl.floats` against numpy's, pattern by pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from float_library import divide, operate, operate_halves
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtl.floats import DIVIDE_CYCLES, Divider, FromInteger, Unrounded

RANDOM = 400_000

# Zero, subnormals, around the least normal, around 1, the largest, infinity, NaN; ties of every narrower format.
_MAGNITUDES = [
    *(0, 1, 2, 3, 0x3FFFFF, 0x400000, 0x7FFFFE, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000),
    *(0x337FFFFF, 0x33800000, 0x33000000, 0x33000001, 0x387FC000, 0x387FE000, 0x387FF000, 0x38800000),
    *(0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3F801000, 0x3F803000, 0x4B000000, 0x4B7FFFFF, 0x4B800001),
    *(0x477FE000, 0x477FEFFF, 0x477FF000, 0x7F000000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF),
]
CORNERS = np.array([sign | magnitude for magnitude in _MAGNITUDES for sign in (0, 1 << 31)], np.uint32)


def assert_same(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Equal bit patterns, or NaN in both."""
    numbers = found.view(expected.dtype)
    same = (found == expected.view(found.dtype)) | (np.isnan(numbers) & np.isnan(expected))
    assert same.all(), f"{np.flatnonzero(~same)[:4]}: {found[~same][:4]}, not {expected.view(found.dtype)[~same][:4]}"


def patterns(count: int, seed: int) -> NDArray[np.uint32]:
    """All patterns alike, exponents close to each other, and few bits set, a third each."""
    random = np.random.default_rng(seed)
    any_bits = random.integers(0, 1 << 32, count, np.uint32)
    close = (any_bits & 0x807FFFFF) | (random.integers(100, 155, count).astype(np.uint32) << 23)
    sparse = any_bits & random.integers(0, 1 << 32, count, np.uint32) & random.integers(0, 1 << 32, count, np.uint32)
    return np.choose(random.integers(0, 3, count), [any_bits, close, sparse]).astype(np.uint32)


def pairs(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Random pairs, and all pairs of corners."""
    first, second = (grid.ravel() for grid in np.meshgrid(CORNERS, CORNERS))
    return np.concatenate((patterns(count, 1), first)), np.concatenate((patterns(count, 2), second))


def expect(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> None:
    """All operations on these patterns give what numpy gives."""
    results = operate(a, b)
    with np.errstate(all="ignore"):
        x, y = a.view(np.float32), b.view(np.float32)
        assert_same(results.product, x * y)
        assert_same(results.sum, x + y)
        assert_same(results.narrowed, x.astype(np.float16))
        assert_same(results.integer_32, a.view(np.int32).astype(np.float32))
        assert_same(results.integer_16, a.astype(np.uint16).view(np.int16).astype(np.float16))


def test_operations_on_fp32_and_integers_equal_numpys() -> None:
    expect(*pairs(RANDOM))


@pytest.mark.slow
def test_operations_equal_numpys_on_twenty_million_pairs() -> None:
    for seed in range(20):
        expect(patterns(1_000_000, 2 * seed + 100), patterns(1_000_000, 2 * seed + 101))


def test_products_that_are_subnormal_are_rounded_once() -> None:
    random = np.random.default_rng(3)
    a = random.integers(0, 1 << 24, RANDOM, np.uint32) + np.uint32(0x00400000)
    b = random.integers(0x3C000000, 0x40000000, RANDOM, np.uint32)
    expect(a, b)


def test_sums_of_nearly_opposite_numbers_are_exact() -> None:
    a = patterns(RANDOM, 4)
    b = (a ^ np.uint32(1 << 31)) + np.random.default_rng(5).integers(-70, 70, RANDOM).astype(np.uint32)
    expect(a, b)


def test_numbers_around_the_ties_of_fp16_are_rounded_to_even() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        middles = halves.astype(np.float32).view(np.uint32)
    for offset in (0x1000, 0x0FFF, 0x1001):
        expect(middles + np.uint32(offset), middles)


def test_integers_around_powers_of_two_are_rounded_to_even() -> None:
    powers = np.int64(1) << np.arange(32)[:, None]
    near = np.concatenate([sign * (powers + np.arange(-300, 300)) for sign in (1, -1)]).ravel()
    a = near.astype(np.uint32)
    expect(a, a)


def test_every_half_is_widened_exactly_and_added_as_numpy_adds() -> None:
    random = np.random.default_rng(6)
    every = np.tile(np.arange(1 << 16, dtype=np.uint16), 4)
    others = random.integers(0, 1 << 16, len(every), np.uint16)
    corners = np.array([0, 1, 0x3FF, 0x400, 0x3C00, 0x7BFF, 0x7C00, 0x7E00, 0x8000, 0x8001, 0xFBFF, 0xFC00], np.uint16)
    others[: 1 << 16] = np.resize(corners, 1 << 16)
    found = operate_halves(every, others)
    with np.errstate(all="ignore"):
        a, b = every.view(np.float16), others.view(np.float16)
        assert_same(found.widened, a.astype(np.float32))
        assert_same(found.sum, a + b)


def test_quotients_equal_numpys() -> None:
    random = np.random.default_rng(7)
    a, b = pairs(40_000)
    dividends = np.stack((a, np.roll(a, 1)), axis=1)
    dividends[::5] = random.integers(0, 1 << 23, dividends[::5].shape, np.uint32)
    quotients, cycles = divide(np.ascontiguousarray(dividends), b)
    with np.errstate(all="ignore"):
        expected = dividends.view(np.float32) / b.view(np.float32)[:, None]
    assert_same(quotients, expected)
    assert cycles == DIVIDE_CYCLES


any_pattern = st.integers(0, (1 << 32) - 1) | st.sampled_from([int(corner) for corner in CORNERS])


@settings(max_examples=200, deadline=None)
@given(st.floats(width=32).map(lambda value: int(np.float32(value).view(np.uint32))) | any_pattern, any_pattern)
def test_single_pairs_equal_numpys(a: int, b: int) -> None:
    x, y = np.array([a], np.uint32), np.array([b], np.uint32)
    expect(x, y)
    quotients, _ = divide(np.array([[a, b]], np.uint32), y)
    with np.errstate(all="ignore"):
        assert_same(quotients, np.array([[a, b]], np.uint32).view(np.float32) / y.view(np.float32))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="lanes is 0"):
        Divider(lanes=0)
    with pytest.raises(ValueError, match="width is 1"):
        FromInteger(width=1)
    with pytest.raises(ValueError, match="leading_zeros is 8"):
        Unrounded(8, leading_zeros=8, least_exponent=0)
