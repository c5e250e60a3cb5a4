"""Packings are exact inverses, and lay bits out as their files do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from isa import bit_planes, pack_hf_ternary, unpack_hf_ternary

ternary = st.tuples(st.integers(0, 5).map(lambda quarter: 4 * quarter), st.integers(0, 17)).flatmap(
    lambda shape: arrays.arrays(np.int8, shape, elements=st.integers(-1, 1))
)


@given(codes=ternary)
def test_hugging_face_packing_round_trips(codes):
    assert (unpack_hf_ternary(pack_hf_ternary(codes)) == codes).all()


@given(packed=arrays.arrays(np.uint8, (3, 5)))
def test_unpacking_accepts_exactly_the_bytes_that_packing_makes(packed):
    fields = np.stack([(packed >> shift) & 3 for shift in (0, 2, 4, 6)])
    if (fields == 3).any():
        with pytest.raises(ValueError, match="3"):
            unpack_hf_ternary(packed)
    else:
        assert (pack_hf_ternary(unpack_hf_ternary(packed)) == packed).all()


def test_byte_row_r_holds_rows_r_and_its_three_quarters_away():
    codes = np.array([[-1], [0], [1], [0], [1], [1], [-1], [-1]], np.int8)
    assert pack_hf_ternary(codes).tolist() == [[0b00_10_10_00], [0b00_10_01_01]]


@pytest.mark.parametrize("codes", [np.zeros((3, 2), np.int8), np.full((4, 2), 2, np.int8)])
def test_packing_refuses_what_it_cannot_hold(codes):
    with pytest.raises(ValueError, match="found"):
        pack_hf_ternary(codes)


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_planes_sum_to_the_codes(bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    codes = np.arange(low, high).astype(np.int8)
    planes = bit_planes(codes, bits)
    weights = np.array([2**bit for bit in range(bits - 1)] + [low])
    assert set(np.unique(planes)) <= {0, 1}
    assert (np.tensordot(weights, planes.astype(int), 1) == codes).all()


@pytest.mark.parametrize(("code", "bits"), [(2, 2), (-3, 2), (0, 0), (0, 9)])
def test_bit_planes_refuse_what_does_not_fit(code, bits):
    with pytest.raises(ValueError, match=r"found|fit"):
        bit_planes(np.array([code], np.int8), bits)
