"""`load` and `store` against copies element by element."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_examples import Bytes

from isa.instructions import Load, Store
from isa.instructions.types import ELEMENT_DTYPES, SCRATCHPADS

AT = {"source": 24, "target": 96}


@given(
    st.sampled_from(SCRATCHPADS), st.integers(1, 5), st.integers(1, 9), st.integers(0, 20), st.integers(0, 99)
)  # fmt: skip
@settings(max_examples=40)
def test_load_puts_rows_at_a_pitch_side_by_side(space, rows, row_bytes, pitch_bytes, seed):
    memory = np.random.default_rng(seed).integers(0, 256, 256, np.uint8)
    storage = Bytes(memory=memory)
    load = Load(space=space, source=0, target=1, rows=rows, row_bytes=row_bytes, pitch_bytes=pitch_bytes)
    load.execute(storage, AT)
    expected = b"".join(memory[24 + row * pitch_bytes :][:row_bytes].tobytes() for row in range(rows))
    assert storage.spaces[space][96 : 96 + len(expected)].tobytes() == expected
    assert (storage.spaces[space][:96] == 0xEE).all()
    assert (storage.spaces[space][96 + len(expected) :] == 0xEE).all()


def store_of(element, result, rows, columns, pitch_bytes, mode="overwrite", space="memory", origin="accumulator"):
    return Store(
        space=space, mode=mode, origin=origin, element=element, result=result, source=0, target=1, rows=rows,
        columns=columns, pitch_bytes=pitch_bytes,
    )  # fmt: skip


CONVERSIONS = [pair for pair in product(ELEMENT_DTYPES, repeat=2) if pair[0][0] == "i" or pair[1][0] == "f"]


@pytest.mark.parametrize(("element", "result"), CONVERSIONS)
@given(
    rows=st.integers(1, 3), columns=st.integers(1, 5), gap=st.integers(0, 2), data=st.binary(min_size=60, max_size=60)
)
@settings(max_examples=20)
def test_store_converts_every_element_of_any_bits(element, result, rows, columns, gap, data):
    source, target = ELEMENT_DTYPES[element], ELEMENT_DTYPES[result]
    elements = np.frombuffer(data, source, rows * columns)
    storage = Bytes()
    storage.put("accumulator", 24, elements)
    pitch = (columns + gap) * target.itemsize
    store_of(element, result, rows, columns, pitch).execute(storage, AT)
    with np.errstate(all="ignore"):
        for row in range(rows):
            for column in range(columns):
                found = storage.get("memory", 96 + row * pitch + column * target.itemsize, target.itemsize, target)[0]
                value = elements[row * columns + column]
                if target.kind == "f":
                    np.testing.assert_array_equal(found, target.type(value))
                else:  # by the definition of two's complement
                    bits = 8 * target.itemsize
                    assert int(found) == (int(value) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
        between = storage.spaces["memory"][96 + columns * target.itemsize : 96 + pitch]
        assert (between == 0xEE).all()


@pytest.mark.parametrize("result", ELEMENT_DTYPES)
@pytest.mark.parametrize("space", ["memory", "activation"])
def test_accumulating_adds_in_the_type_that_is_written(result, space):
    dtype = ELEMENT_DTYPES[result]
    element = "int32" if dtype.kind == "i" else "fp32"
    random = np.random.default_rng(3)
    if dtype.kind == "i":
        added = random.integers(-(2**31), 2**31, 8).astype(np.int32)
        present = random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, 8, endpoint=True).astype(dtype)
        bits = 8 * dtype.itemsize
        sums = added.astype(np.int64) + present
        expected = (sums + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
        assert (expected != sums).any()
    else:
        added = random.standard_normal(8).astype(np.float32)
        present = random.standard_normal(8).astype(dtype)
        present[0], added[0] = np.finfo(dtype).max, np.finfo(dtype).max
        with np.errstate(over="ignore"):
            expected = added.astype(dtype) + present
        assert np.isinf(expected[0])
    storage = Bytes()
    storage.put("table", 24, added)
    storage.put(space, 96, present)
    store = store_of(element, result, 2, 4, 4 * dtype.itemsize, "accumulate", space, "table")
    assert [region.space for region in store.reads(AT)] == ["table", space]
    store.execute(storage, AT)
    assert np.array_equal(storage.get(space, 96, 8 * dtype.itemsize, dtype), expected.astype(dtype))
