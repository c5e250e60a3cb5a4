"""Booth terms and waiting lanes against their definitions, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sim.timing.terms import booth_terms, dense_terms, windowed_maxima


def booth_digits(code, bits=8):
    """Radix-4 digits of a two's-complement code, least significant first."""
    padded = [0] + [(code >> bit) & 1 for bit in range(bits)]
    return [padded[i] + padded[i + 1] - 2 * padded[i + 2] for i in range(0, bits, 2)]


@pytest.mark.parametrize("code", range(-128, 128))
def test_terms_are_the_nonzero_booth_digits(code):
    digits = booth_digits(code)
    assert sum(digit * 4**position for position, digit in enumerate(digits)) == code
    assert booth_terms(np.array([code], np.int8), 8)[0] == sum(digit != 0 for digit in digits)


@pytest.mark.parametrize(("bits", "terms"), [(1, 1), (2, 1), (3, 2), (4, 2), (6, 3), (8, 4)])
def test_no_code_has_more_terms_than_its_width_allows(bits, terms):
    codes = np.arange(-(1 << bits - 1), 1 << bits - 1).astype(np.int8)
    assert dense_terms(bits) == terms
    assert booth_terms(codes, 8).max() == terms


@given(
    terms=arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 40)), elements=st.integers(0, 4)),
    lines=st.integers(1, 4),
    group=st.integers(1, 5),
    window=st.integers(1, 4),
)
def test_lanes_wait_for_the_slowest_of_their_block_and_window(terms, lines, group, window):
    rows, inputs = terms.shape
    cycles = windowed_maxima(terms, lines, group, window)
    for block in range(cycles.shape[0]):
        for step in range(cycles.shape[1]):
            sums = [0]
            for row in range(block * lines, min(rows, (block + 1) * lines)):
                for lane in range(group):
                    first = step * window * group + lane
                    positions = range(first, min(inputs, (step + 1) * window * group), group)
                    sums.append(sum(int(terms[row, position]) for position in positions))
            assert cycles[block, step] == max(sums)
    assert cycles.shape == (-(-rows // lines), -(-inputs // (group * window)))
