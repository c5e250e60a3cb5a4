"""Every kernel in C gives the integers of the product, for any shape and the largest operands, and refuses the rest."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa import PACKINGS, InputError, Operand
from sim.functional.backends.tables import add_up, look_up, quantized, table_rows, tile_scales
from sim.native import KERNELS, PackedWeights, kernel_named
from sim.native.cpu import require_features
from sim.native.kernels import MOST_INPUTS

EXACT = [kernel for kernel in KERNELS.values() if kernel.exact]
TMAC = KERNELS["T-MAC b2 unified-scale int32"]
# Tails of blocks and strips, and lengths at which narrow lanes are widened: 2,048 of I2_S, 96 of TL2, 256 of VNNI.
SHAPES = [(1, 1, 1), (3, 5, 67), (2, 33, 96), (1, 2, 257), (7, 11, 2047), (5, 6, 2049), (4, 64, 2560), (6, 3, 6912)]


@pytest.fixture(params=KERNELS.values(), ids=KERNELS)
def kernel(request):
    return runnable(request.param)


@pytest.fixture(params=EXACT, ids=[kernel.name for kernel in EXACT])
def exact_kernel(request):
    return runnable(request.param)


@pytest.fixture
def tmac():
    return runnable(TMAC)


def runnable(kernel):
    try:
        require_features(kernel.features, kernel.name)
    except InputError as error:
        pytest.skip(str(error))
    return kernel


def product(weights, activations):
    return activations.astype(np.int64) @ weights.astype(np.int64).T


def test_sums_are_exact_for_random_operands_and_odd_shapes(exact_kernel):
    random = np.random.default_rng(1)
    for tokens, outputs, inputs in SHAPES:
        weights = random.integers(-1, 2, (outputs, inputs), np.int8)
        activations = random.integers(-128, 128, (tokens, inputs), np.int8)
        sums = exact_kernel.multiply(exact_kernel.pack(weights), activations)
        assert sums.shape == (tokens, outputs)
        assert (sums == product(weights, activations)).all()


@pytest.mark.parametrize("inputs", [95, 1024, 2048, 2177, 4096, 8192, 6912])
@pytest.mark.parametrize("weight", [-1, 1])
@pytest.mark.parametrize("activation", [-128, -127, 127])
def test_the_largest_operands_overflow_no_lane(exact_kernel, inputs, weight, activation):
    weights = np.full((2, inputs), weight, np.int8)
    activations = np.full((5, inputs), activation, np.int8)
    activations[4, ::2] = -128  # neighbours of both signs
    sums = exact_kernel.multiply(exact_kernel.pack(weights), activations)
    assert (sums == product(weights, activations)).all()


def test_no_lane_overflows_in_the_widest_tiles_of_tl2():
    kernel = runnable(KERNELS["TL2"])
    packed = kernel.pack(np.ones((1536, 1536), np.int8))
    assert packed.tiling is not None
    assert packed.tiling.block_columns == 192
    activations = np.stack([np.full(1536, value, np.int8) for value in (-128, 127)])
    assert kernel.multiply(packed, activations).tolist() == [[-128 * 1536] * 1536, [127 * 1536] * 1536]


@settings(max_examples=60)
@given(data=st.data())
def test_sums_are_exact_for_any_operands(data):
    kernel = runnable(data.draw(st.sampled_from(EXACT)))
    tokens, outputs, inputs = (data.draw(st.integers(1, most)) for most in (6, 40, 700))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    extremes = data.draw(st.booleans())
    weights = random.choice([-1, 1] if extremes else [-1, 0, 1], (outputs, inputs)).astype(np.int8)
    codes = np.array([-128, 127]) if extremes else np.arange(-128, 128)
    activations = random.choice(codes, (tokens, inputs)).astype(np.int8)
    assert (kernel.multiply(kernel.pack(weights), activations) == product(weights, activations)).all()


@given(least=st.integers(-128, 124), seed=st.integers(0, 2**32 - 1))
def test_dot_products_take_any_four_neighbouring_codes(least, seed):
    kernel = runnable(KERNELS["VNNI 2-bit"])
    random = np.random.default_rng(seed)
    weights = random.integers(least, least + 4, (3, 300)).astype(np.int8)
    activations = random.integers(-128, 128, (2, 300), np.int8)
    assert (kernel.multiply(kernel.pack(weights), activations) == product(weights, activations)).all()


def rounded_tables(activations):
    """T-MAC's tables as the golden model rounds them, under one scale a token: entries [tokens, groups, 16], scales."""
    grouped = np.pad(activations, ((0, 0), (0, -activations.shape[1] % 4))).astype(np.int16)
    signs = 2 * ((np.arange(16)[:, None] >> np.arange(4)) & 1) - 1
    entries = (grouped.reshape(len(activations), -1, 1, 4) * signs).sum(axis=-1).astype(np.int16)
    scales = tile_scales(activations, 4, entries.shape[1])
    return quantized(entries, scales), scales[:, 0]


@pytest.mark.parametrize("extreme", [False, True])
def test_tmac_adds_up_the_golden_models_rounded_entries(tmac, extreme):
    random = np.random.default_rng(2)
    for tokens, outputs, inputs in [*SHAPES, (2, 3, 1027)]:
        weights = random.choice([-2, 1] if extreme else [-2, -1, 0, 1], (outputs, inputs)).astype(np.int8)
        activations = random.integers(-128, 128, (tokens, inputs), np.int8)
        if extreme:
            activations[0] = 127
        entries, scales = rounded_tables(activations)
        stored = np.pad(weights + 2, ((0, 0), (0, -inputs % 4))).reshape(outputs, -1, 4)
        patterns = [((stored >> plane & 1) << np.arange(4)).sum(axis=-1).astype(np.uint8) for plane in (0, 1)]
        rows = table_rows(entries)
        first, second = (look_up(rows, plane, entries.shape[1], add_up)[..., 0] for plane in patterns)
        arguments = tmac.arguments(tmac.pack(weights), activations)
        tmac.prepare(arguments)
        tmac.run(arguments)
        assert (arguments.outputs[:, :outputs] == first + 2 * second).all()
        sums = activations.sum(axis=1, dtype=np.int64).astype(np.float32)
        expected = ((first + 2 * second).astype(np.float32) * scales[:, None] - sums[:, None]) / np.float32(2)
        assert (tmac.outputs(arguments) == expected).all()


def test_tmac_lanes_hold_a_row_of_the_largest_entries(tmac):
    """Every entry that is looked up is 127 or -127, in both planes: 3 · 127 · k / 4, whatever k."""
    for inputs in (1024, 1028, 1032, 6912):
        packed = tmac.pack(np.stack([np.full(inputs, code, np.int8) for code in (-2, 1)]))
        arguments = tmac.arguments(packed, np.full((1, inputs), 127, np.int8))
        tmac.prepare(arguments)
        tmac.run(arguments)
        largest = 3 * 127 * inputs // 4
        assert arguments.outputs[0, :2].tolist() == [-largest, largest]


def test_tq2_0_multiplies_blocks_by_their_scales():
    """Scales are powers of two, so that float32 is exact whatever the order of summation."""
    kernel, packing = runnable(KERNELS["tq2_0"]), PACKINGS["tq2_0"]
    random = np.random.default_rng(3)
    codes = random.integers(-1, 2, (5, 768), np.int8)
    scales = np.exp2(random.integers(-3, 4, (5, 3))).astype(np.float32)
    packed = PackedWeights(kernel.layout, packing.pack(Operand(codes, scales, packing.format)), 5, 768, -1)
    activations = random.integers(-128, 128, (4, 768), np.int8)
    factors = np.exp2(random.integers(-3, 4, (4, 3))).astype(np.float32)
    outputs = kernel.multiply(packed, activations, factors)
    blocks = np.einsum("tbi,obi->tob", *(x.reshape(len(x), 3, 256).astype(float) for x in (activations, codes)))
    assert outputs.dtype == np.float32
    assert (outputs == (blocks * factors[:, None] * scales).sum(axis=-1)).all()


def test_ranges_of_rows_make_up_the_product(kernel):
    random = np.random.default_rng(4)
    weights = kernel.pack(random.integers(-1, 2, (384, 320), np.int8))
    activations = random.integers(-128, 128, (5, 320), np.int8)
    whole = kernel.multiply(weights, activations)
    arguments = kernel.arguments(weights, activations)
    kernel.prepare(arguments)
    ends = range(0, weights.rows + 1, weights.rows_a_step)
    for start in reversed(ends[:-1]):
        kernel.run(arguments, range(start, start + weights.rows_a_step))
    assert (kernel.outputs(arguments) == whole).all()


def test_rows_outside_or_in_parts_of_a_step_are_refused(kernel):
    weights = kernel.pack(np.ones((64, 32), np.int8))
    arguments = kernel.arguments(weights, np.ones((1, 32), np.int8))
    step = weights.rows_a_step
    wrong = [range(weights.rows + step), range(-step, 0), range(step, 0), range(0, 2 * step, 2)]
    if step > 1:
        wrong += [range(1, step), range(step - 1)]
    for rows in wrong:
        with pytest.raises(ValueError, match="computes rows in steps"):
            kernel.run(arguments, rows)


def test_operands_that_c_would_read_past_are_refused(kernel):
    weights = kernel.pack(np.ones((3, 40), np.int8))
    for wrong in (
        np.ones((2, 39), np.int8),
        np.ones((2, 41), np.int8),
        np.ones((2, 40), np.uint8),
        np.ones(40, np.int8),
        np.ones((0, 40), np.int8),
    ):
        with pytest.raises(ValueError, match=r"takes activations int8 \[tokens, 40\], found"):
            kernel.arguments(weights, wrong)
    with pytest.raises(ValueError, match="takes scales float32"):
        kernel.arguments(weights, np.ones((2, 40), np.int8), np.ones((2, 2), np.float32))
    for data in (weights.data[:-1], weights.data[None], weights.data.view(np.int8), np.repeat(weights.data, 2)[::2]):
        with pytest.raises(ValueError, match="weights take"):
            replace(weights, data=data)
    for sizes in ({"n_out": 0}, {"k": 0}, {"n_out": -1}, {"k": -128}, {"n_out": 1 << 40}):
        with pytest.raises(ValueError, match=r"weights take|weights have"):
            replace(weights, **sizes)


def test_weights_of_another_kernel_are_refused():
    other = KERNELS["I2_S[1x1]"].pack(np.ones((3, 40), np.int8))
    with pytest.raises(ValueError, match="TL2 takes weights as TL2, found I2_S"):
        KERNELS["TL2"].arguments(other, np.ones((1, 40), np.int8))


@pytest.mark.parametrize("name", KERNELS)
def test_weights_that_a_layout_does_not_hold_are_refused(name):
    kernel = KERNELS[name]
    for wrong in (np.ones((3, 4), np.int16), np.ones(4, np.int8), np.ones((0, 4), np.int8), np.ones((4, 0), np.int8)):
        with pytest.raises(ValueError, match=r"takes weights int8 \[outputs, inputs\], found"):
            kernel.pack(wrong)
    with pytest.raises(ValueError, match="holds codes of"):
        kernel.pack(np.array([[-2, 2]], np.int8))
    with pytest.raises(ValueError, match=f"sums at most {MOST_INPUTS} inputs"):
        kernel.pack(np.zeros((1, MOST_INPUTS + 1), np.int8))


def test_tables_of_gigabytes_are_refused():
    kernel = KERNELS["TL2"]
    many = np.broadcast_to(np.int8(1), (1 << 20, 2560))
    with pytest.raises(ValueError, match="take fewer"):
        kernel.arguments(kernel.pack(np.ones((1, 2560), np.int8)), many)


def test_the_longest_rows_are_exact(exact_kernel):
    weights = exact_kernel.pack(np.ones((1, MOST_INPUTS), np.int8))
    activations = np.full((1, MOST_INPUTS), -128, np.int8)
    assert exact_kernel.multiply(weights, activations).tolist() == [[-128 * MOST_INPUTS]]


def test_an_unknown_kernel_is_an_error_that_lists_the_known_ones():
    with pytest.raises(InputError, match="TL3") as raised:
        kernel_named("TL3")
    assert all(name in str(raised.value) for name in KERNELS)
