"""Instructions of NEON compute what the manual says, restated number by number."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim.simd.neon
import sim.simd.neon_floats  # noqa: F401
from sim.simd.semantics import SEMANTICS

VECTOR = st.binary(min_size=16, max_size=16)
LETTERS = {8: "b", 16: "h", 32: "i", 64: "q"}


def numbers(operand, bits, signed=True):
    letter = LETTERS[bits] if signed else LETTERS[bits].upper()
    return struct.unpack(f"<{len(operand) * 8 // bits}{letter}", operand)


def stored(values, bits):
    """The lowest bits of integers."""
    return b"".join((value % (1 << bits)).to_bytes(bits // 8, "little") for value in values)


def computed(name, *operands, immediate=0, size_bytes=16):
    rows = [np.frombuffer(operand, np.uint8)[None] for operand in operands]
    return SEMANTICS[name].compute(*rows, immediate=immediate, size_bytes=size_bytes)[0].tobytes()


@given(VECTOR, VECTOR, st.sampled_from([8, 16, 32]))
def test_lane_by_lane_arithmetic_wraps_around(left, right, bits):
    pairs = list(zip(numbers(left, bits), numbers(right, bits), strict=True))
    assert computed(f"add.{bits}", left, right) == stored([x + y for x, y in pairs], bits)
    assert computed(f"sub.{bits}", left, right) == stored([x - y for x, y in pairs], bits)
    assert computed(f"mul.{bits}", left, right) == stored([x * y for x, y in pairs], bits)
    assert computed(f"smin.{bits}", left, right) == stored([min(x, y) for x, y in pairs], bits)
    assert computed(f"neg.{bits}", left) == stored([-x for x, _ in pairs], bits)
    both = [*numbers(left, bits), *numbers(right, bits)]
    assert computed(f"addp.{bits}", left, right) == stored(
        [x + y for x, y in zip(both[::2], both[1::2], strict=True)], bits
    )


@given(VECTOR, VECTOR, VECTOR)
def test_bits_are_chosen_one_by_one(mask, one, other):
    assert computed("and.8", mask, one) == bytes(x & y for x, y in zip(mask, one, strict=True))
    chosen = bytes(x & m | y & ~m & 255 for m, x, y in zip(mask, one, other, strict=True))
    assert computed("bsl", mask, one, other) == chosen


@given(VECTOR, st.sampled_from([8, 16, 32]), st.data())
def test_shifts_keep_signs_or_bring_zeros(value, bits, data):
    places = data.draw(st.integers(1, bits - 1))
    unsigned = numbers(value, bits, signed=False)
    assert computed(f"ushr.{bits}", value, immediate=places) == stored([x >> places for x in unsigned], bits)
    assert computed(f"sshr.{bits}", value, immediate=places) == stored(
        [x >> places for x in numbers(value, bits)], bits
    )
    assert computed(f"shl.{bits}", value, immediate=places) == stored([x << places for x in unsigned], bits)


@given(VECTOR, VECTOR, VECTOR, st.sampled_from([("", slice(0, 8)), ("2", slice(8, 16))]))
def test_wide_results_are_of_one_half(left, right, total, half):
    suffix, places = half
    pairs = list(zip(numbers(left, 8)[places], numbers(right, 8)[places], strict=True))
    assert computed(f"saddl{suffix}", left, right) == stored([x + y for x, y in pairs], 16)
    assert computed(f"smull{suffix}", left, right) == stored([x * y for x, y in pairs], 16)
    assert computed(f"sxtl{suffix}", left) == stored([x for x, _ in pairs], 16)
    sums = [before + x * y for before, (x, y) in zip(numbers(total, 16), pairs, strict=True)]
    assert computed(f"smlal{suffix}", total, left, right) == stored(sums, 16)
    words = numbers(left, 16)[places.start // 2 : places.stop // 2]
    sums = [before + x for before, x in zip(numbers(total, 32), words, strict=True)]
    assert computed(f"saddw{suffix}", total, left) == stored(sums, 32)


@given(VECTOR, VECTOR)
def test_halving_and_narrowing(left, right):
    pairs = zip(numbers(left, 8), numbers(right, 8), strict=True)
    assert computed("srhadd", left, right) == stored([(x + y + 1) // 2 for x, y in pairs], 8)
    words = numbers(left, 16)
    assert computed("saddlp.16", left) == stored([x + y for x, y in zip(words[::2], words[1::2], strict=True)], 32)
    assert computed("sqxtn.16", left) == stored([min(max(x, -128), 127) for x in words], 8)
    assert computed("xtn.32", left) == stored(numbers(left, 32), 16)
    assert computed("xtn2.32", right[:8], left) == right[:8] + stored(numbers(left, 32), 16)


@given(VECTOR, VECTOR, VECTOR)
def test_dot_products_are_sums_of_four_or_eight(total, left, right):
    before, codes, inputs = numbers(total, 32), numbers(left, 8), numbers(right, 8)

    def sums_of_four(weights):
        fours = [sum(weights[i + j] * inputs[i + j] for j in range(4)) for i in range(0, 16, 4)]
        return stored([x + y for x, y in zip(before, fours, strict=True)], 32)

    assert computed("sdot", total, left, right) == sums_of_four(codes)
    assert computed("usdot", total, left, right) == sums_of_four(numbers(left, 8, signed=False))
    eights = [sum(codes[8 * i + p] * inputs[8 * j + p] for p in range(8)) for i in range(2) for j in range(2)]
    assert computed("smmla", total, left, right) == stored([x + y for x, y in zip(before, eights, strict=True)], 32)


@given(VECTOR)
def test_sums_over_a_vector(value):
    assert computed("addv.32", value) == stored([sum(numbers(value, 32))], 32)
    assert computed("saddlv.32", value) == stored([sum(numbers(value, 32))], 64)
    assert computed("saddlv.8", value) == stored([sum(numbers(value, 8))], 16)


@given(VECTOR, VECTOR)
def test_a_place_beyond_the_table_is_0(table, places):
    assert computed("tbl", table, places) == bytes(table[place] if place < 16 else 0 for place in places)


@given(VECTOR, VECTOR, st.sampled_from([8, 16, 32, 64]), st.data())
def test_shuffles_move_whole_elements(left, right, bits, data):
    one, other = numbers(left, bits), numbers(right, bits)
    half = len(one) // 2
    for name, places in (("zip1", slice(0, half)), ("zip2", slice(half, None))):
        pairs = zip(one[places], other[places], strict=True)
        assert computed(f"{name}.{bits}", left, right) == stored([x for pair in pairs for x in pair], bits)
    assert computed(f"uzp1.{bits}", left, right) == stored([*one[::2], *other[::2]], bits)
    assert computed(f"uzp2.{bits}", left, right) == stored([*one[1::2], *other[1::2]], bits)
    lane = data.draw(st.integers(0, len(one) - 1))
    assert computed(f"dup.{bits}", left, immediate=lane) == stored([one[lane]] * len(one), bits)
    assert computed(f"ld1r.{bits}", left[: bits // 8]) == stored([one[0]] * len(one), bits)


FLOATS = st.lists(st.integers(-2000, 2000).map(lambda number: number / 16), min_size=4, max_size=4)


@given(FLOATS, FLOATS, FLOATS, st.sampled_from([16, 32]))
def test_float_arithmetic_rounds_once(left, right, total, bits):
    kind = np.dtype(f"<f{bits // 8}")
    one, other, third = (np.array(values, kind) for values in (left, right, total))
    exact = [values.astype(np.float64) for values in (one, other, third)]
    a, b, c = (values.tobytes() for values in (one, other, third))
    assert computed(f"fadd.{bits}", a, b) == (exact[0] + exact[1]).astype(kind).tobytes()
    assert computed(f"fsub.{bits}", a, b) == (exact[0] - exact[1]).astype(kind).tobytes()
    assert computed(f"fmul.{bits}", a, b) == (exact[0] * exact[1]).astype(kind).tobytes()
    assert computed(f"fmla.{bits}", c, a, b) == (exact[2] + exact[0] * exact[1]).astype(kind).tobytes()
    assert computed(f"fmul.{bits}", a, b[: bits // 8]) == (exact[0] * exact[1][0]).astype(kind).tobytes()
    assert computed(f"fmax.{bits}", a, b) == np.maximum(one, other).tobytes()
    assert computed(f"fabs.{bits}", a) == np.abs(one).tobytes()
    assert computed(f"fneg.{bits}", a) == (-one).tobytes()
    assert computed(f"fcvtns.{bits}", a) == stored([round(float(x)) for x in one], bits)
    assert computed(f"fmaxv.{bits}", a) == one.max().tobytes()


@given(FLOATS, FLOATS)
def test_floats_are_compared_and_converted(left, right):
    one, other = np.array(left, "<f4"), np.array(right, "<f4")
    assert computed("fcmgt.32", one.tobytes(), other.tobytes()) == stored(
        [-int(x > y) for x, y in zip(one, other, strict=True)], 32
    )
    assert computed("fcvtn", one.tobytes()) == one.astype("<f2").tobytes()
    assert computed("fcvt.16", one.astype("<f2").tobytes()[:2]) == one[:1].astype("<f2").astype("<f4").tobytes()
    halves = np.array([*left, *right], "<f2")
    assert computed("fcvtl", halves.tobytes()) + computed("fcvtl2", halves.tobytes()) == halves.astype("<f4").tobytes()
    sums = [one[0] + one[1], one[2] + one[3], other[0] + other[1], other[2] + other[3]]
    assert computed("faddp.32", one.tobytes(), other.tobytes()) == np.array(sums, "<f4").tobytes()


@pytest.mark.parametrize(("value", "integer"), [(np.nan, 0), (1e6, 32767), (-1e6, -32768)])
def test_floats_that_no_integer_has_come_to_the_nearest_or_0(value, integer):
    with np.errstate(over="ignore"):
        operand = np.full(8, value, "<f2").tobytes()
    assert computed("fcvtns.16", operand) == stored([integer] * 8, 16)
