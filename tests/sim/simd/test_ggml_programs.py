"""Programs of ggml's kernels give the integer product where the blocks' scales are 1, and the dequantized product of
whatever weights and activations else.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.formats import Operand
from isa.packings import PACKINGS
from isa.packings.ggml_k import K_QUANTS
from sim.simd.interpreter import run_vector_program
from sim.simd.kernel import Problem, execute
from sim.simd.kernels.ggml_dots import GGML_DOT_KERNELS
from sim.simd.kernels.ggml_floats import GGML_FLOAT_KERNELS
from sim.simd.kernels.ggml_k_dots import GGML_K_DOT_KERNELS
from sim.simd.kernels.ggml_repack import interleave_q4_0, interleave_q4_k
from sim.simd.kernels.ggml_repack_kernels import GGML_REPACK_KERNELS
from sim.simd.kernels.ggml_sgemm import token_blocks
from sim.simd.kernels.ggml_tq_dots import GGML_TQ_KERNELS
from sim.simd.kernels.ik_iq2_bn import IK_KERNELS

KERNELS = {
    kernel.name: kernel
    for kernels in (
        GGML_DOT_KERNELS,
        GGML_TQ_KERNELS,
        GGML_K_DOT_KERNELS,
        GGML_FLOAT_KERNELS,
        GGML_REPACK_KERNELS,
        IK_KERNELS,
    )
    for kernel in kernels
}
ROWS = {"q8_0": 4, "q4_0": 4, "q4_0+repack": 16, "q4_K+repack": 16, "ik:iq2_bn_r4": 8}
"""Their rows come by so many."""
CODES = {
    "q8_0": (-128, 128),
    "q4_0": (-8, 8),
    "tq2_0": (-1, 2),
    "tq1_0": (-1, 2),
    "q2_K": (-1, 3),
    "q4_K": (-8, 8),
    "ik:iq2_bn": (-1, 2),
    "ik:iq2_bn_r4": (-1, 2),
}


def integers(name, problem, seed):
    """Codes, and activations of which every fourth is 127 or -127: the scale of a block is 1."""
    random = np.random.default_rng(seed)
    low, high = CODES.get(name.removesuffix("+repack"), (-128, 128))
    codes = random.integers(low, high, (problem.n_out, problem.k)).astype(np.int8)
    activations = random.integers(-127, 128, (problem.batch_tokens, problem.k)).astype(np.float32)
    activations[:, ::4] = random.choice([-127.0, 127.0], activations[:, ::4].shape)
    return codes, activations


def taken(name, blocks, rows, tokens):
    """A problem that a kernel takes: repacked weights want tokens by fours, or fewer; windows are of 16 and 16."""
    if "repack" in name and tokens > 3:
        tokens *= 4
    if name in ("q4_K", "q2_K") and tokens > 9:
        return Problem(256 * blocks, 16 * rows, 16 * (tokens - 8))
    return Problem(256 * blocks, ROWS.get(name, 1) * rows, tokens)


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=4, deadline=None)
@given(st.integers(1, 2), st.integers(1, 9), st.integers(1, 18), st.integers(0, 1 << 30))
def test_sums_are_the_integer_product(name, blocks, rows, tokens, seed):
    problem = taken(name, blocks, rows, tokens)
    codes, activations = integers(name, problem, seed)
    expected = activations.astype(np.int64) @ codes.T.astype(np.int64)
    assert (execute(KERNELS[name], problem, codes, activations) == expected).all()


def scaled_weights(name, problem, random):
    """Weights under scales of all kinds: their bytes and values."""
    shape = problem.n_out, problem.k
    if name in ("q4_K", "q2_K"):
        quant = K_QUANTS[name.lower()]
        blocks = random.integers(0, 256, (quant.size(*shape) // quant.block_bytes, quant.block_bytes)).astype(np.uint8)
        place = {"q4_K": slice(0, 4), "q2_K": slice(80, 84)}[name]
        blocks[:, place] = random.uniform(0.001, 2, (len(blocks), 2)).astype("<f2").view(np.uint8)
        return blocks.reshape(-1), quant.dequantize(blocks.reshape(-1), *shape)
    packing = PACKINGS[name]
    codes = random.integers(*CODES[name], shape).astype(np.int8)
    scales = random.uniform(0.001, 2, packing.format.scale_shape(*shape)).astype(np.float16).astype(np.float32)
    values = codes * np.repeat(scales, problem.k // scales.shape[1], axis=1)
    return packing.pack(Operand(codes, scales, packing.format)), values


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "tq2_0", "tq1_0", "q2_K", "q4_K", "q4_0+repack", "q4_K+repack"])
@settings(max_examples=4, deadline=None)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 9), st.integers(0, 1 << 30))
def test_each_block_has_its_scales(name, blocks, rows, tokens, seed):
    problem = taken(name, blocks, rows, tokens)
    random = np.random.default_rng(seed)
    weights, values = scaled_weights(name.removesuffix("+repack"), problem, random)
    if "repack" in name:
        weights = (interleave_q4_0 if name == "q4_0+repack" else interleave_q4_k)(weights, problem)
    kernel = KERNELS[name]
    codes, activations = integers(name, problem, seed)
    given_weights = replace(kernel, operands=lambda *operands: {**kernel.operands(*operands), "weights": weights})
    found = execute(given_weights, problem, codes, activations)
    exact = activations.astype(np.float64) @ values.T.astype(np.float64)
    # Of rounding to float32: a sum of some hundred terms.
    bound = 1e-5 * (np.abs(activations).astype(np.float64) @ np.abs(values).T.astype(np.float64))
    assert (np.abs(found - exact) <= bound).all()


def quantized(step, memory):
    wanted = {name: memory[name] for name in step.program.buffer_bytes if name in memory}
    return run_vector_program(step.program, wanted)["blocks"]


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1 << 30))
def test_activations_are_quantized_as_published(blocks, tokens, seed):
    """Plain restatements of quantize_row_q8_0, .._q8_K, .._q8_K64 and .._q8_K16."""
    problem = Problem(256 * blocks, 8, tokens)
    inputs = np.random.default_rng(seed).standard_normal((tokens, problem.k)).astype(np.float32)
    codes = np.zeros((8, problem.k), np.int8)

    def blocks_of(name):
        kernel = KERNELS[name]
        return quantized(kernel.steps(problem)[0], kernel.operands(problem, codes, inputs))

    values = inputs.reshape(-1, 32)
    most = np.abs(values).max(axis=1, keepdims=True)
    found = blocks_of("q8_0").reshape(-1, 34)
    assert (found[:, :2].copy().view("<f2") == (most / np.float32(127)).astype("<f2")).all()
    assert (found[:, 2:].view(np.int8) == np.rint(values * (np.float32(127) / most))).all()

    values = inputs.reshape(-1, 256)
    first = values[np.arange(len(values)), np.abs(values).argmax(axis=1)][:, None]
    inverse = np.float32(-127) / first
    expected = np.minimum(np.rint(values.astype(np.float64) * inverse), 127)
    found = blocks_of("tq2_0").reshape(-1, 292)
    assert (found[:, :4].copy().view("<f4") == np.float32(1) / inverse).all()
    assert (found[:, 4:260].view(np.int8) == expected).all()
    assert (found[:, 260:].copy().view("<i2") == expected.reshape(-1, 16, 16).sum(axis=2)).all()

    for name, head, order in (("ik:iq2_bn", 32, (-1, 4, 4)), ("ik:iq2_bn_r4", 20, (-1, 4, 16))):
        found = blocks_of(name).reshape(tokens, -1)
        values = inputs.reshape(tokens, *order)
        scales = np.abs(values).max(axis=(1, 3)) / np.float32(127)
        expected = np.rint(values * (np.float32(1) / scales)[:, None, :, None])
        assert (found[:, :16].copy().view("<f4") == scales).all()
        assert (found[:, head:].view(np.int8) == expected.reshape(tokens, -1)).all()
        if name == "ik:iq2_bn":
            sums = expected.sum(axis=(1, 3)).astype(np.float32)
            assert (found[:, 16:32].copy().view("<f4") == scales * sums).all()
        else:
            assert np.allclose(found[:, 16:20].copy().view("<f4")[:, 0], inputs.sum(axis=1), atol=1e-3)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("tokens", [1, 5])
def test_activations_of_zero_give_zero(name, tokens):
    problem = taken(name, 1, 1, tokens)
    codes, _ = integers(name, problem, 0)
    assert (execute(KERNELS[name], problem, codes, np.zeros((problem.batch_tokens, 256), np.float32)) == 0).all()


@given(st.integers(1, 700))
def test_tiles_of_tokens_are_even_and_cover_all(tokens):
    runs = [run for block in token_blocks(tokens) for run in block]
    covered = [first + place for first, count, size in runs for place in range(count * size)]
    assert covered == list(range(tokens))
    sizes = {size for _, _, size in runs}
    assert max(sizes) <= 6
    assert max(sizes) - min(sizes) <= 1


def test_shapes_that_kernels_do_not_take_are_refused():
    with pytest.raises(ValueError, match="multiple of 256 weights"):
        KERNELS["tq2_0"].steps(Problem(128, 4))
    with pytest.raises(ValueError, match="multiple of 64 weights"):
        KERNELS["f32"].steps(Problem(96, 4))
    with pytest.raises(ValueError, match="multiple of 8 rows"):
        KERNELS["q4_0+repack"].steps(Problem(256, 4))
    with pytest.raises(ValueError, match="up to 3 tokens or a multiple of 4"):
        KERNELS["q4_K+repack"].steps(Problem(256, 16, 6))
    with pytest.raises(ValueError, match="multiple of 4 rows"):
        KERNELS["q8_0"].steps(Problem(256, 3, 2))
    with pytest.raises(ValueError, match="multiple of 4 rows"):
        KERNELS["ik:iq2_bn_r4"].steps(Problem(256, 3))
