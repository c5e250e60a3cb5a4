"""Instructions of x86 compute what the manual says, number by number."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.simd.x86
import sim.simd.x86_floats
import sim.simd.x86_integers
import sim.simd.x86_permutes  # noqa: F401
from sim.simd.semantics import SEMANTICS

SIZES = st.sampled_from([16, 32, 64])
SEEDS = st.integers(0, 1 << 30)


def run(name, *operands, imm=None, size=None):
    found = SEMANTICS[name].compute(*operands, immediate=imm, size_bytes=size or len(operands[0]))
    return np.ascontiguousarray(found).reshape(-1)


def registers(seed, size, count, *, floats=False):
    """Registers of all kinds of bytes; of floats without infinities and what is none."""
    random = np.random.default_rng(seed)
    if not floats:
        return random.integers(0, 256, (count, size)).astype(np.uint8)
    numbers = random.standard_normal((count, size // 4)) * 2.0 ** random.integers(-30, 31, (count, size // 4))
    return np.ascontiguousarray(numbers.astype("<f4")).view(np.uint8)


def numbers(register, dtype):
    return [number.item() for number in np.ascontiguousarray(register).view(dtype)]


def wrapped(number, bits, *, signed=True):
    number %= 1 << bits
    return number - (1 << bits) if signed and number >> (bits - 1) else number


def clamped(number, low, high):
    return max(low, min(high, number))


def lanes_of(register, size=16):
    return [register[place : place + size] for place in range(0, len(register), size)]


WIDTHS = {"b": 8, "w": 16, "d": 32, "q": 64}
PAIRWISE = {
    "vpadd": lambda left, right: left + right,
    "vpsub": lambda left, right: left - right,
    "vpmaxs": max,
    "vpmins": min,
    "vpcmpgt": lambda left, right: -1 if left > right else 0,
    "vpcmpeq": lambda left, right: -1 if left == right else 0,
    "vpsign": lambda left, right: 0 if right == 0 else left if right > 0 else -left,
}


@pytest.mark.parametrize("name", [f"{stem}{letter}" for stem in PAIRWISE for letter in "bwd"] + ["vpaddq", "vpsubq"])
@settings(max_examples=5)
@given(SIZES, SEEDS)
def test_integers_are_combined_pair_by_pair(name, size, seed):
    stem, bits = name[:-1], WIDTHS[name[-1]]
    left, right = registers(seed, size, 2)
    found = numbers(run(name, left, right), f"<i{bits // 8}")
    pairs = zip(numbers(left, f"<i{bits // 8}"), numbers(right, f"<i{bits // 8}"), strict=True)
    assert found == [wrapped(PAIRWISE[stem](*pair), bits) for pair in pairs]


@settings(max_examples=20)
@given(SIZES, SEEDS)
def test_saturating_and_averaging_pairs(size, seed):
    left, right = registers(seed, size, 2)
    words = list(zip(numbers(left, "<i2"), numbers(right, "<i2"), strict=True))
    unsigned = list(zip(numbers(left, "u1"), numbers(right, "u1"), strict=True))
    assert numbers(run("vpaddsw", left, right), "<i2") == [clamped(a + b, -(1 << 15), (1 << 15) - 1) for a, b in words]
    assert numbers(run("vpsubusb", left, right), "u1") == [max(a - b, 0) for a, b in unsigned]
    assert numbers(run("vpavgb", left, right), "u1") == [(a + b + 1) >> 1 for a, b in unsigned]
    assert numbers(run("vpmullw", left, right), "<i2") == [wrapped(a * b, 16) for a, b in words]


@settings(max_examples=20)
@given(SIZES, SEEDS)
def test_products_of_neighbours_are_added(size, seed):
    left, right, total = registers(seed, size, 3)
    unsigned, signed = numbers(left, "u1"), numbers(right, "i1")
    bytes_of_pairs = [a * b for a, b in zip(unsigned, signed, strict=True)]
    two = [sum(bytes_of_pairs[place : place + 2]) for place in range(0, size, 2)]
    four = [sum(bytes_of_pairs[place : place + 4]) for place in range(0, size, 4)]
    words = [a * b for a, b in zip(numbers(left, "<i2"), numbers(right, "<i2"), strict=True)]
    totals = [a + b for a, b in zip(numbers(total, "<i4"), four, strict=True)]
    assert numbers(run("vpmaddubsw", left, right), "<i2") == [clamped(a, -(1 << 15), (1 << 15) - 1) for a in two]
    assert numbers(run("vpdpbusd", total, left, right), "<i4") == [wrapped(a, 32) for a in totals]
    found = numbers(run("vpmaddwd", left, right), "<i4")
    assert found == [wrapped(sum(words[place : place + 2]), 32) for place in range(0, size // 2, 2)]


@settings(max_examples=20)
@given(SIZES, SEEDS, st.integers(0, 70))
def test_shifts(size, seed, count):
    (value,) = registers(seed, size, 1)
    for letter in "wdq":
        bits = WIDTHS[letter]
        unsigned = numbers(value, f"<u{bits // 8}")
        left = [wrapped(number << count, bits, signed=False) for number in unsigned]
        assert numbers(run(f"vpsll{letter}", value, imm=count), f"<u{bits // 8}") == left
        assert numbers(run(f"vpsrl{letter}", value, imm=count), f"<u{bits // 8}") == [
            each >> count for each in unsigned
        ]
    signed = [number >> min(count, 15) for number in numbers(value, "<i2")]
    assert numbers(run("vpsraw", value, imm=count), "<i2") == signed


@settings(max_examples=20)
@given(SIZES, SEEDS, st.integers(0, 255))
def test_shuffles_within_lanes(size, seed, imm):
    left, right = registers(seed, size, 2)
    picked = [
        0 if index & 0x80 else lane[index & 15]
        for lane, indices in zip(lanes_of(left), lanes_of(right), strict=True)
        for index in indices
    ]
    assert run("vpshufb", left, right).tolist() == picked
    words = [lane[imm >> 2 * place & 3] for lane in lanes_of(numbers(left, "<u4"), 4) for place in range(4)]
    for name in ("vpshufd", "vpermilps"):
        assert numbers(run(name, left, imm=imm), "<u4") == words
    moved = [byte for lane in lanes_of(left.tolist()) for byte in (lane[imm % 17 :] + [0] * (imm % 17))]
    assert run("vpsrldq", left, imm=imm % 17).tolist() == moved
    doubled = [lane[place | 1] for lane in lanes_of(numbers(left, "<u4"), 4) for place in range(4)]
    assert numbers(run("vmovshdup", left), "<u4") == doubled
    chosen = [
        b if imm >> place % 8 & 1 else a
        for place, (a, b) in enumerate(zip(numbers(left, "<u4"), numbers(right, "<u4"), strict=True))
    ]
    assert numbers(run("vpblendd", left, right, imm=imm), "<u4") == chosen


@settings(max_examples=10)
@given(SIZES, SEEDS)
def test_unpacking_takes_items_in_turns_and_packing_saturates(size, seed):
    left, right = registers(seed, size, 2)
    pairs = list(zip(lanes_of(left), lanes_of(right), strict=True))
    for letters, item in (("bw", 1), ("wd", 2), ("dq", 4), ("qdq", 8)):
        for half, first in (("l", 0), ("h", 8)):
            turns = [
                part[place : place + item]
                for a, b in pairs
                for place in range(first, first + 8, item)
                for part in (a, b)
            ]
            assert (run(f"vpunpck{half}{letters}", left, right) == np.concatenate(turns)).all()
    for name, wide, low, high in (
        ("vpacksswb", "<i2", -128, 127),
        ("vpackuswb", "<i2", 0, 255),
        ("vpackssdw", "<i4", -(1 << 15), (1 << 15) - 1),
    ):
        narrow = {"vpacksswb": "i1", "vpackuswb": "u1", "vpackssdw": "<i2"}[name]
        expected = [clamped(each, low, high) for a, b in pairs for part in (a, b) for each in numbers(part, wide)]
        assert numbers(run(name, left, right), narrow) == expected
    sums = [
        wrapped(sum(words[place : place + 2]), 16)
        for a, b in pairs
        for words in (numbers(a, "<i2"), numbers(b, "<i2"))
        for place in range(0, 8, 2)
    ]
    assert numbers(run("vphaddw", left, right), "<i2") == sums


@settings(max_examples=20)
@given(SIZES, SEEDS)
def test_permutes_reach_across_lanes(size, seed):
    low, index, high = registers(seed, size, 3)
    for letter, dtype in (("b", "u1"), ("w", "<u2"), ("d", "<u4")):
        items = numbers(low, dtype) + numbers(high, dtype)
        expected = [items[place % len(items)] for place in numbers(index, dtype)]
        assert numbers(run(f"vpermt2{letter}", low, index, high), dtype) == expected
    items = numbers(low, "<u4")
    for name in ("vpermd", "vpermps"):
        assert numbers(run(name, index, low), "<u4") == [items[place % len(items)] for place in numbers(index, "<u4")]


@settings(max_examples=10)
@given(SEEDS)
def test_parts_of_registers(seed):
    (wide,) = registers(seed, 64, 1)
    for part in range(4):
        assert (run("vextracti32x4", wide, imm=part) == wide[16 * part : 16 * part + 16]).all()
    for part in range(2):
        assert (run("vextractf64x4", wide, imm=part) == wide[32 * part : 32 * part + 32]).all()
        assert (run("vextractf128", wide[:32], imm=part) == wide[16 * part : 16 * part + 16]).all()
    assert (run("vinserti128", wide[:16], wide[16:32], imm=1, size=32) == wide[:32]).all()
    assert (run("vmovhlps", wide[:16], wide[16:32]) == np.concatenate([wide[24:32], wide[8:16]])).all()
    assert (run("vpinsrd", wide[:16], wide[16:20], imm=2) == np.concatenate([wide[:8], wide[16:20], wide[12:16]])).all()
    assert (run("vmovd", wide[:4]) == np.concatenate([wide[:4], np.zeros(12, np.uint8)])).all()
    assert (run("vmovq", wide[:8]) == np.concatenate([wide[:8], np.zeros(8, np.uint8)])).all()

    assert (run("vinserti32x8", wide[:32], wide[32:], size=64) == wide).all()
    assert (run("vpbroadcastd_load", wide[:4], size=64) == np.tile(wide[:4], 16)).all()


@settings(max_examples=10)
@given(SIZES, SEEDS)
def test_masks_choose_bytes(size, seed):
    before, chooser, left, right = registers(seed, size, 4)
    mask = run("vpmovb2m", chooser)
    assert numbers(mask, "<u8") == [sum(1 << place for place in range(size) if chooser[place] >= 128)]
    rows = zip(*(numbers(value, "i1") for value in (before, chooser, left, right)), strict=True)
    expected = [wrapped(a - b, 8) if chosen < 0 else kept for kept, chosen, a, b in rows]
    assert numbers(run("vpsubb_masked", before, mask, left, right), "i1") == expected


@settings(max_examples=20)
@given(SEEDS, st.integers(0, 31), st.integers(0, (1 << 32) - 1))
def test_general_registers(seed, count, imm):
    left, right = registers(seed, 4, 2)
    (a,), (b,) = numbers(left, "<u4"), numbers(right, "<u4")
    assert numbers(run("and", left, imm=imm, size=4), "<u4") == [a & imm]
    assert numbers(run("or", left, right, size=4), "<u4") == [a | b]
    assert numbers(run("shr", left, imm=count, size=4), "<u4") == [a >> count]
    assert numbers(run("shl", left, imm=count, size=8), "<u8") == [a << count]
    assert numbers(run("or", left[:2], right, size=8), "<u8") == [(a & 0xFFFF) | b]


def float32_of(exact):
    """The nearest float32, ties to even, of an exact number."""
    first = np.float32(float(exact))
    near = [np.nextafter(first, np.float32(-np.inf)), first, np.nextafter(first, np.float32(np.inf))]
    return min(near, key=lambda number: (abs(Fraction(float(number)) - exact), int(number.view(np.uint32)) & 1))


FUSED = {
    "vfmadd231ps": lambda a, b, c: a + b * c,
    "vfmsub231ps": lambda a, b, c: b * c - a,
    "vfnmadd231ps": lambda a, b, c: a - b * c,
    "vfmadd132ps": lambda a, b, c: a * c + b,
}


@pytest.mark.parametrize("name", FUSED)
@settings(max_examples=20)
@given(SEEDS, st.booleans())
def test_fused_products_are_rounded_once(name, seed, cancel):
    first, second, third = registers(seed, 32, 3, floats=True)
    if cancel:  # what is left is the product's own rounding error
        product = -(second.view("<f4") * third.view("<f4"))
        first = np.ascontiguousarray(product).view(np.uint8)
    found = run(name, first, second, third).view("<f4")
    exact = [
        FUSED[name](*(Fraction(float(number)) for number in each))
        for each in zip(first.view("<f4"), second.view("<f4"), third.view("<f4"), strict=True)
    ]
    assert found.tolist() == [float32_of(each) for each in exact]


@settings(max_examples=20)
@given(SIZES, SEEDS)
def test_floats_are_combined_and_rounded(size, seed):
    left, right = registers(seed, size, 2, floats=True)
    pairs = [(Fraction(a), Fraction(b)) for a, b in zip(numbers(left, "<f4"), numbers(right, "<f4"), strict=True)]
    for stem, compute in (
        ("add", lambda a, b: a + b),
        ("sub", lambda a, b: a - b),
        ("mul", lambda a, b: a * b),
        ("div", lambda a, b: a / b),
        ("max", max),
    ):
        expected = [float32_of(compute(*pair)) for pair in pairs]
        assert numbers(run(f"v{stem}ps", left, right), "<f4") == expected
        lowest = run(f"v{stem}ss", left[:16], right[:16])
        assert numbers(lowest, "<f4") == [expected[0], *numbers(left[:16], "<f4")[1:]]
    mask = run("vcmpltss", left[:16], right[:16])
    assert numbers(mask, "<i4")[0] == (-1 if pairs[0][0] < pairs[0][1] else 0)
    (chooser,) = registers(seed + 1, size, 1)
    expected = [b if m < 0 else a for a, b, m in zip(*(numbers(v, "<i4") for v in (left, right, chooser)), strict=True)]
    assert numbers(run("vblendvps", left, right, chooser), "<i4") == expected


@settings(max_examples=20)
@given(SIZES, SEEDS)
def test_conversions(size, seed):
    (value,) = registers(seed, size, 1, floats=True)
    floats = value.view("<f4")
    exact = [Fraction(float(number)) for number in floats]
    integers = [round(number) if abs(round(number)) < 1 << 31 else -(1 << 31) for number in exact]
    assert numbers(run("vcvtps2dq", value), "<i4") == integers
    assert numbers(run("vrndscaleps", value, imm=0), "<f4") == [float(round(number)) for number in exact]
    (bits,) = registers(seed, size, 1)
    assert numbers(run("vcvtdq2ps", bits), "<f4") == [float32_of(Fraction(each)) for each in numbers(bits, "<i4")]
    halves = np.clip(floats, -60000, 60000).astype("<f4")
    half = run("vcvtps2ph", halves.view(np.uint8))
    assert (half[: size // 2].view("<f2") == halves.astype("<f2")).all()
    assert (half[size // 2 :] == 0).all()
    assert (run("vcvtph2ps", half[: size // 2], size=size).view("<f4") == halves.astype("<f2").astype("<f4")).all()
    assert run("lookup_f16", half[:2]).view("<f4")[0] == np.float32(half[:2].view("<f2")[0])
    short = run("vcvtneps2bf16", value)
    assert (short[: size // 2].view(ml_dtypes.bfloat16) == floats.astype(ml_dtypes.bfloat16)).all()


def test_what_no_integer_holds_is_the_least_one():
    edges = np.array([np.nan, np.inf, -np.inf, 2.0**31], "<f4").view(np.uint8)
    assert numbers(run("vcvtps2dq", edges), "<i4") == [-(1 << 31)] * 4


@settings(max_examples=20)
@given(SEEDS)
def test_dot_products_of_bfloat16_add_the_odd_number_first(seed):
    random = np.random.default_rng(seed)
    left, right = (random.standard_normal(16).astype(ml_dtypes.bfloat16) for _ in range(2))
    total = random.standard_normal(8).astype("<f4")
    found = run("vdpbf16ps", total.view(np.uint8), left.view(np.uint8), right.view(np.uint8)).view("<f4")
    for place in range(8):
        sums = Fraction(float(total[place]))
        for each in (2 * place + 1, 2 * place):
            sums = Fraction(float(float32_of(sums + Fraction(float(left[each])) * Fraction(float(right[each])))))
        assert found[place] == float(sums)
