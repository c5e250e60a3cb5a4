"""Operands in scratchpads: what is packed is read back, and lookups equal products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from isa.layouts import (
    group_bytes,
    pack_activations,
    pack_weights,
    row_bytes,
    table_sums,
    tables,
    unpack_activations,
    unpack_weights,
)

INTEGER_WEIGHTS = [name for name, item in WEIGHT_TYPES.items() if item.coding != "float"]
INTEGER_ACTIVATIONS = [name for name, item in ACTIVATION_TYPES.items() if not item.floating]


def weights_of(random, name, shape):
    """Codes of a type, both ends among them."""
    if name == "fp16":
        return random.standard_normal(shape).astype(np.float16)
    if name in ("binary", "ternary"):
        return random.choice([-1, 1] if name == "binary" else [-1, 0, 1], shape)
    top = 1 << WEIGHT_TYPES[name].bits - 1
    codes = random.integers(-top, top, shape)
    codes.flat[0], codes.flat[-1] = -top, top - 1
    return codes


def activations_of(random, name, shape):
    if name == "fp16":
        return random.standard_normal(shape).astype(np.float16)
    top = 1 << ACTIVATION_TYPES[name].bits - 1
    codes = random.integers(-top, top, shape)
    codes.flat[0], codes.flat[-1] = -top, top - 1
    return codes


@pytest.mark.parametrize("name", ACTIVATION_TYPES)
@given(rows=st.integers(1, 4), depth=st.integers(1, 33), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_activations_are_read_back(name, rows, depth, seed):
    activation = ACTIVATION_TYPES[name]
    codes = activations_of(np.random.default_rng(seed), name, (rows, depth))
    data = pack_activations(codes, activation)
    assert (data.dtype, data.shape) == (np.uint8, (rows, row_bytes(depth, activation.bits)))
    assert np.array_equal(unpack_activations(data, depth, activation), codes)


@pytest.mark.parametrize("name", WEIGHT_TYPES)
@given(
    columns=st.integers(1, 9),
    depth=st.integers(1, 20),
    n=st.integers(1, 5),
    k=st.integers(1, 9),
    seed=st.integers(0, 9),
)
@settings(max_examples=15)
def test_weights_are_read_back_and_padding_adds_nothing_of_its_own(name, columns, depth, n, k, seed):
    weight = WEIGHT_TYPES[name]
    codes = weights_of(np.random.default_rng(seed), name, (columns, depth))
    packed = pack_weights(codes, n, k, weight, "codes")
    assert packed.shape == (-(-columns // n), -(-depth // k), group_bytes(n, k, weight.bits))
    whole = unpack_weights(packed, n, k, weight)
    assert np.array_equal(whole[:columns, :depth], codes)
    padding = -1 if weight.coding == "odd" else 0
    assert (whole[columns:] == padding).all()
    assert (whole[:, depth:] == padding).all()


@pytest.mark.parametrize("name", INTEGER_WEIGHTS)
@given(
    rows=st.integers(1, 4), columns=st.integers(1, 9), depth=st.integers(1, 20), n=st.integers(1, 5),
    k=st.integers(1, 8), activation=st.sampled_from(INTEGER_ACTIVATIONS), seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=15)
def test_lookups_equal_products(name, rows, columns, depth, n, k, activation, seed):
    random = np.random.default_rng(seed)
    weight = WEIGHT_TYPES[name]
    inputs = activations_of(random, activation, (rows, depth))
    codes = weights_of(random, name, (columns, depth))
    sums = table_sums(tables(inputs, k), pack_weights(codes, n, k, weight, "planes"), n, weight)
    assert sums.dtype == np.int64
    assert np.array_equal(sums[:, :columns], inputs @ codes.T)


def test_a_table_holds_the_sums_that_its_definition_says():
    inputs = np.array([[3, -5, 7, 11, 2]])
    made = tables(inputs, 3)
    assert made.tolist() == [[[-3 + 5 - 7, 3 + 5 - 7, -3 - 5 - 7, 3 - 5 - 7], [-11 - 2, 11 - 2, -11 + 2, 11 + 2]]]
    assert tables(inputs, 1).tolist() == [[[-3], [5], [-7], [-11], [-2]]]


def test_a_lookup_names_sign_and_entry_as_the_paper_folds_them():
    """Of the codes 1, -1, 1 in one bit: bits 1, 0, 1; the last is set, so the two below are inverted: 0b110."""
    packed = pack_weights(np.array([[1, -1, 1]]), 1, 3, WEIGHT_TYPES["binary"], "planes")
    assert packed.tolist() == [[[0b110]]]
    entries = tables(np.array([[3, -5, 7]]), 3)
    assert -int(entries[0, 0, 0b10]) == 3 + 5 + 7


def test_bits_of_codes_lie_from_the_lowest_on():
    """-1, 0, 1 and -2 in two bits: 11, 00, 01, 10."""
    packed = pack_weights(np.array([[-1, 0], [1, -2]]), 2, 2, WEIGHT_TYPES["int2"], "codes")
    assert packed.tolist() == [[[0b10_01_00_11]]]
    assert pack_activations(np.array([[-1, 3, 1]]), ACTIVATION_TYPES["int3"]).tolist() == [[0b01_011_111, 0]]


@pytest.mark.parametrize(
    ("name", "code"), [("binary", 3), ("binary", 0), ("ternary", 2), ("ternary", -3), ("int8", 128), ("int2", -3)]
)
@pytest.mark.parametrize("layout", ["codes", "planes"])
def test_codes_that_a_type_cannot_hold_are_refused(name, code, layout):
    codes = np.ones((2, 3), np.int64)
    codes[1, 2] = code
    with pytest.raises(ValueError, match=f"{name} weights"):
        pack_weights(codes, 2, 2, WEIGHT_TYPES[name], layout)


def test_planes_are_of_at_most_eight_integers():
    with pytest.raises(ValueError, match="no bit planes"):
        pack_weights(np.ones((2, 3)), 2, 2, WEIGHT_TYPES["fp16"], "planes")
    with pytest.raises(ValueError, match="at most 8 inputs, found 9"):
        pack_weights(np.ones((2, 9), np.int64), 2, 9, WEIGHT_TYPES["int2"], "planes")
