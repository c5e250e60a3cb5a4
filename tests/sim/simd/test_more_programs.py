"""Float weights on AVX2, K-quants and four-bit tables on NEON, Q6_K: programs leave the product that they are for, and
their instructions compute what the manuals say, restated number by number.
"""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.packings.ggml_k import K_QUANTS
from sim.simd.interpreter import run_vector_program
from sim.simd.kernel import Problem, execute
from sim.simd.kernels.ggml_floats import GGML_FLOAT_KERNELS
from sim.simd.kernels.ggml_q6_k import GGML_Q6_K_KERNELS
from sim.simd.kernels.ggml_quantize import quantize_constants, quantize_q8_k
from sim.simd.kernels.ggml_quantize_avx2 import QUANTIZE_CONSTANTS, quantize_q8_k_on_avx2
from sim.simd.kernels.neon_k_dots import NEON_K_DOT_KERNELS
from sim.simd.kernels.neon_tmac import NEON_TMAC_KERNELS
from sim.simd.semantics import SEMANTICS

FLOATS = {kernel.name: kernel for kernel in GGML_FLOAT_KERNELS if "AVX2" in kernel.name}
K_DOTS = {kernel.name: kernel for kernel in (*GGML_Q6_K_KERNELS, *NEON_K_DOT_KERNELS)}
TMAC = {kernel.name: kernel for kernel in NEON_TMAC_KERNELS}
CODES = {"q6_K": (-32, 32), "Q6_K NEON dotprod": (-32, 32), "Q2_K NEON dotprod": (-1, 3)}
VECTOR = st.binary(min_size=16, max_size=16)


def computed(name, *operands, immediate=0, size_bytes=16):
    rows = [np.frombuffer(operand, np.uint8)[None] for operand in operands]
    return SEMANTICS[name].compute(*rows, immediate=immediate, size_bytes=size_bytes)[0].tobytes()


def numbers(operand, letter):
    return struct.unpack(f"<{len(operand) // struct.calcsize(letter)}{letter}", operand)


def words(values):
    """The lowest 32 bits of integers."""
    return b"".join((value % (1 << 32)).to_bytes(4, "little") for value in values)


# --- instructions


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_neighbours_are_added_within_lanes_of_16_bytes(left, right):
    floats = [np.frombuffer(operand, "<i2")[::2].astype("<f4") for operand in (left, right)]
    expected = [
        [part[4 * lane] + part[4 * lane + 1], part[4 * lane + 2] + part[4 * lane + 3]]
        for lane in range(2)
        for part in floats
    ]
    found = computed("vhaddps", *(part.tobytes() for part in floats), size_bytes=32)
    assert found == np.array(expected, "<f4").tobytes()


@given(VECTOR, VECTOR)
def test_doublewords_become_unsigned_words(left, right):
    expected = [min(max(value, 0), 65535) for operand in (left, right) for value in numbers(operand, "i")]
    assert computed("vpackusdw", left, right) == struct.pack("<8H", *expected)


@given(VECTOR, VECTOR, VECTOR, st.booleans())
def test_halves_of_words_multiply_to_32_bits(total, left, right, upper):
    half, suffix = (slice(4, 8), "2") if upper else (slice(0, 4), "")
    products = [x * y for x, y in zip(numbers(left, "h")[half], numbers(right, "h")[half], strict=True)]
    assert computed(f"smull{suffix}.16", left, right) == words(products)
    added = [x + y for x, y in zip(numbers(total, "i"), products, strict=True)]
    assert computed(f"smlal{suffix}.16", total, left, right) == words(added)
    zeros_above = b"".join(bytes([byte, 0]) for byte in (left[8:] if upper else left[:8]))
    assert computed(f"uxtl{suffix}", left) == zeros_above


@given(VECTOR, VECTOR, VECTOR, st.integers(0, 3), st.integers(1, 7))
def test_lanes_are_added_to_and_put_into(total, left, right, lane, places):
    added = [t + x * y for t, x, y in zip(*(numbers(each, "i") for each in (total, left, right)), strict=True)]
    assert computed("mla.32", total, left, right) == words(added)
    assert computed("orr.8", left, right) == bytes(x | y for x, y in zip(left, right, strict=True))
    shifted = bytes((x + (y >> places)) % 256 for x, y in zip(total, left, strict=True))
    assert computed("usra.8", total, left, immediate=places) == shifted
    assert computed("ins.32", total, left, immediate=lane) == total[: 4 * lane] + left[:4] + total[4 * lane + 4 :]
    assert computed("ins.32", total[:4], left, immediate=3) == total[:4] + bytes(8) + left[:4]


@given(VECTOR, st.integers(-128, 127), st.integers(0, 31))
def test_general_registers_are_of_32_bits(value, byte, places):
    first, second, third, _ = numbers(value, "i")
    operands = [value[4 * place : 4 * place + 4] for place in range(3)]
    assert computed("madd.w", *operands) == words([first + second * third])
    assert computed("sub.w", *operands[:2], immediate=places) == words([first - (second << places)])
    assert computed("ldrsb.w", byte.to_bytes(1, "little", signed=True)) == words([byte])
    assert computed("fmov.w", value) == value[:4]
    assert computed("scvtf.w", operands[0]) == np.float32(first).tobytes()


@given(st.integers(-4096, 4096), st.integers(-4096, 4096))
def test_a_negated_product_is_minus_the_product(left, right):
    found = computed("fnmul.32", *(np.float32(value).tobytes() for value in (left, right)), size_bytes=4)
    assert found == (-(np.float32(left) * np.float32(right))).tobytes()


# --- float weights on AVX2


@pytest.mark.parametrize("name", FLOATS)
@settings(max_examples=6, deadline=None)
@given(st.integers(1, 12), st.integers(1, 18), st.integers(1, 18), st.integers(0, 1 << 30))
def test_float_weights_of_integers_give_the_integer_product(name, steps, rows, tokens, seed):
    random = np.random.default_rng(seed)
    codes = random.integers(-128, 128, (rows, 32 * steps)).astype(np.int8)
    activations = random.integers(-127, 128, (tokens, 32 * steps)).astype(np.float32)
    found = execute(FLOATS[name], Problem(32 * steps, rows, tokens), codes, activations)
    assert (found == activations.astype(np.int64) @ codes.T.astype(np.int64)).all()


@pytest.mark.parametrize(("name", "lost"), [("f32 AVX2", 0.0), ("f16 AVX2", 2.0**-11)])
def test_activations_are_rounded_to_the_weights_type_and_sums_to_float32(name, lost):
    random = np.random.default_rng(3)
    codes = random.integers(-128, 128, (5, 1024)).astype(np.int8)
    activations = random.standard_normal((2, 1024)).astype(np.float32)
    error = execute(FLOATS[name], Problem(1024, 5, 2), codes, activations) - activations.astype(np.float64) @ codes.T
    sizes = np.abs(activations).astype(np.float64) @ np.abs(codes.T.astype(np.float64))
    assert (np.abs(error) <= (lost + 1e-5) * sizes).all()
    assert np.abs(error).max() > 0


# --- K-quants


def integers(name, problem, seed):
    """Codes, and activations of which every fourth is 127 or -127: the scale of a block is 1."""
    random = np.random.default_rng(seed)
    codes = random.integers(*CODES[name], (problem.n_out, problem.k)).astype(np.int8)
    activations = random.integers(-127, 128, (problem.batch_tokens, problem.k)).astype(np.float32)
    activations[:, ::4] = random.choice([-127.0, 127.0], activations[:, ::4].shape)
    return codes, activations


@pytest.mark.parametrize("name", K_DOTS)
@settings(max_examples=5, deadline=None)
@given(st.integers(1, 3), st.integers(1, 18), st.integers(1, 18), st.integers(0, 1 << 30))
def test_k_quants_under_scales_of_1_give_the_integer_product(name, blocks, rows, tokens, seed):
    problem = Problem(256 * blocks, rows, tokens)
    codes, activations = integers(name, problem, seed)
    expected = activations.astype(np.int64) @ codes.T.astype(np.int64)
    assert (execute(K_DOTS[name], problem, codes, activations) == expected).all()


@pytest.mark.parametrize("name", K_DOTS)
@settings(max_examples=5, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 1 << 30))
def test_k_quants_under_any_scales_give_the_product_of_their_values(name, blocks, rows, seed):
    problem, kernel = Problem(256 * blocks, rows, 2), K_DOTS[name]
    quant, floats = (K_QUANTS["q2_k"], slice(80, 84)) if name.startswith("Q2") else (K_QUANTS["q6_k"], slice(208, 210))
    random = np.random.default_rng(seed)
    stored = random.integers(0, 256, (rows * blocks, quant.block_bytes)).astype(np.uint8)
    stored[:, floats] = (
        random.uniform(0.001, 2, (len(stored), (floats.stop - floats.start) // 2)).astype("<f2").view("u1")
    )
    weights, values = stored.reshape(-1), quant.dequantize(stored.reshape(-1), rows, problem.k)
    codes, activations = integers(name, problem, seed)
    given_weights = replace(kernel, operands=lambda *operands: {**kernel.operands(*operands), "weights": weights})
    found = execute(given_weights, problem, codes, activations)
    exact = activations.astype(np.float64) @ values.T.astype(np.float64)
    # Of rounding to float32: a sum of some hundred terms.
    bound = 1e-5 * (np.abs(activations).astype(np.float64) @ np.abs(values).T.astype(np.float64))
    assert (np.abs(found - exact) <= bound).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1 << 30))
def test_avx2_quantizes_activations_as_avx512_does(blocks, tokens, seed):
    problem = Problem(256 * blocks, 1, tokens)
    inputs = np.random.default_rng(seed).standard_normal((tokens, problem.k)).astype(np.float32).reshape(-1).view("u1")
    wide = {"inputs": inputs, "quantize": quantize_constants(256)}
    narrow = {"inputs": inputs, "quantize": QUANTIZE_CONSTANTS}
    expected = run_vector_program(quantize_q8_k(problem).program, wide)["blocks"]
    assert (run_vector_program(quantize_q8_k_on_avx2(problem).program, narrow)["blocks"] == expected).all()


# --- four planes of T-MAC on NEON


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 2), st.sampled_from([8, 16, 64]), st.integers(1, 2), st.integers(0, 1 << 30))
def test_four_planes_are_two_and_two(tiles, n_out, batch, seed):
    """A code is 4 · its upper half + its lower half, and the tables are the same; sums fit float16."""
    random = np.random.default_rng(seed)
    problem = Problem(64 * tiles, n_out, batch)
    codes = random.integers(-8, 8, (n_out, problem.k)).astype(np.int8)
    activations = random.integers(-10, 11, (batch, problem.k)).astype(np.int8)
    whole = execute(TMAC["T-MAC b4 NEON"], problem, codes, activations)
    wider = Problem(problem.k, 2 * n_out, batch)
    halves = np.concatenate([codes >> 2, (codes & 3) - 2]).astype(np.int8)
    two = execute(TMAC["T-MAC b2 NEON"], wider, halves, activations)
    together = 4 * two[:, :n_out] + two[:, n_out:] + 2 * activations.sum(axis=1, dtype=np.int64)[:, None]
    assert np.abs(whole - together).max() <= 1e-5 * 8 * np.abs(activations).sum(axis=1, dtype=np.int64).max() + 1e-6


def test_four_averaged_planes_are_near_the_integer_product():
    """A halving of four levels is off by at most 1/2 a level, for the 16 entries of a tile; planes count 1/2 to 4."""
    random = np.random.default_rng(9)
    problem = Problem(256, 32, 2)
    codes = random.integers(-8, 8, (32, 256)).astype(np.int8)
    activations = random.integers(-127, 128, (2, 256)).astype(np.int8)
    scales = np.abs(activations.astype(np.int64)).reshape(2, 4, 16, 4).sum(axis=3).max(axis=2) / 127
    bound = 7.5 * scales.sum(axis=1).max() * 16 * (2 + 1)
    error = np.abs(execute(TMAC["T-MAC b4 NEON fast"], problem, codes, activations) - activations.astype(int) @ codes.T)
    assert error.max() <= bound
    assert 0 < error.mean() < bound / 4


@pytest.mark.parametrize("kernel", [*FLOATS.values(), *K_DOTS.values(), *TMAC.values()], ids=lambda kernel: kernel.name)
def test_shapes_that_a_kernel_does_not_take_are_refused(kernel):
    with pytest.raises(ValueError, match="takes"):
        kernel.steps(Problem(100, 16))
