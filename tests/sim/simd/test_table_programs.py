"""Programs of table kernels on AVX2 leave the integer product where they are exact, and what their golden model leaves
where they are not; and the instructions that they brought compute what the manual says.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.formats import FORMATS
from sim.functional.backends import BACKENDS
from sim.functional.backends.tables import quantized, tile_scales
from sim.simd.interpreter import run_vector_program
from sim.simd.kernel import Problem, execute
from sim.simd.kernels.deepgemm import DEEPGEMM_KERNELS
from sim.simd.kernels.elut import ELUT_KERNELS, elut_kernel
from sim.simd.kernels.elut_groupings import Grouping
from sim.simd.kernels.tl import TL_KERNELS
from sim.simd.kernels.tmac import TMAC_KERNELS, pack_planes, plane_signs
from sim.simd.semantics import SEMANTICS

(TL2,), (DEEPGEMM,) = TL_KERNELS, DEEPGEMM_KERNELS
TMAC = {kernel.name: kernel for kernel in TMAC_KERNELS}
FORMAT_OF_BITS = {1: "int1", 2: "int2", 4: "int4"}


def product(codes, activations):
    return activations.astype(np.int64) @ codes.T.astype(np.int64)


def token_codes(random, batch, k):
    """int8 activations as a quantizer by the largest magnitude leaves them."""
    codes = random.integers(-127, 128, (batch, k)).astype(np.int8)
    codes[:, random.integers(k)] = random.choice([-127, 127], batch)
    return codes


def memory_after(kernel, problem, codes, activations):
    memory = dict(kernel.operands(problem, codes, activations))
    for step in kernel.steps(problem):
        sizes = step.program.buffer_bytes
        memory |= run_vector_program(step.program, {name: memory[name] for name in sizes if name in memory})
    return memory


@settings(max_examples=6)
@given(st.sampled_from([256, 288, 320, 352]), st.sampled_from([32, 64]), st.integers(1, 2), st.integers(0, 1 << 30))
def test_tl2_is_the_integer_product(k, n_out, batch, seed):
    random = np.random.default_rng(seed)
    problem = Problem(k, n_out, batch)
    codes = random.integers(-1, 2, (n_out, k)).astype(np.int8)
    activations = token_codes(random, batch, k)
    assert (execute(TL2, problem, codes, activations) == product(codes, activations)).all()


def test_tl2_rounds_floats_to_the_nearest_codes_first():
    random = np.random.default_rng(0)
    problem = Problem(320, 32, 2)
    codes = random.integers(-1, 2, (32, 320)).astype(np.int8)
    activations = random.standard_normal((2, 320)).astype(np.float32)
    scales = np.float32(127) / np.abs(activations).max(axis=1)
    sums = memory_after(TL2, problem, codes, activations)["sums"].view("<i4").reshape(2, 32)
    assert (sums == product(codes, np.rint(activations * scales[:, None]))).all()


def test_tl2_of_nothing_is_nothing():
    assert not execute(TL2, Problem(256, 32), np.ones((32, 256), np.int8), np.zeros((1, 256), np.int8)).any()


def test_tl2_takes_the_tiles_of_a_published_shape():
    """Of bitnet_b1_58-large: tiles of 192 columns, whose sums of 16 bits are the largest there are."""
    random = np.random.default_rng(1)
    codes = random.integers(-1, 2, (1536, 1536)).astype(np.int8)
    activations = token_codes(random, 1, 1536)
    assert (execute(TL2, Problem(1536, 1536), codes, activations) == product(codes, activations)).all()


@settings(max_examples=10)
@given(st.sampled_from(ELUT_KERNELS), st.integers(1, 2), st.integers(0, 1 << 30))
def test_tables_of_any_levels_give_the_integer_product(kernel, batch, seed):
    random = np.random.default_rng(seed)
    grouping = Grouping(*map(int, kernel.name.removeprefix("ELUT ").split("^")))
    problem = Problem(2 * grouping.largest_tile_columns, 64, batch)
    codes = random.choice(np.array(grouping.codes, np.int8), (problem.n_out, problem.k))
    activations = token_codes(random, batch, problem.k)
    assert (execute(kernel, problem, codes, activations) == product(codes, activations)).all()


@pytest.mark.parametrize("kernel", ELUT_KERNELS, ids=lambda kernel: kernel.name)
def test_sums_of_a_tile_hold_the_largest_weights_and_activations(kernel):
    grouping = Grouping(*map(int, kernel.name.removeprefix("ELUT ").split("^")))
    problem = Problem(grouping.largest_tile_columns, 32)
    codes = np.full((32, problem.k), grouping.codes[-1], np.int8)
    activations = np.full((1, problem.k), 127, np.int8)
    assert (execute(kernel, problem, codes, activations) == product(codes, activations)).all()


@pytest.mark.parametrize(
    ("levels", "group"),
    [(2, 1), (2, 2), (2, 3), (3, 1), (4, 1), (5, 1), (7, 1), (16, 1), (17, 1), (32, 1)],
)
def test_smaller_members_of_the_family_have_programs_too(levels, group):
    random = np.random.default_rng(levels)
    kernel, grouping = elut_kernel(levels, group), Grouping(levels, group)
    problem = Problem(grouping.largest_tile_columns, 32)
    codes = random.choice(np.array(grouping.codes, np.int8), (32, problem.k))
    activations = token_codes(random, 1, problem.k)
    assert (execute(kernel, problem, codes, activations) == product(codes, activations)).all()


@pytest.mark.parametrize(("levels", "group"), [(3, 4), (2, 6), (6, 2), (33, 1), (1, 1), (3, 0)])
def test_groups_that_a_byte_shuffle_cannot_hold_are_refused(levels, group):
    with pytest.raises(ValueError, match="entries"):
        elut_kernel(levels, group)


def test_the_family_has_the_bytes_of_tl2():
    """One program for both: TL2's indices and signs are those of the family's order for the same tiles."""
    random = np.random.default_rng(3)
    codes = random.integers(-1, 2, (32, 288)).astype(np.int8)
    problem = Problem(288, 32)
    activations = np.zeros((1, 288), np.int8)
    ternary = {kernel.name: kernel for kernel in ELUT_KERNELS}["ELUT 3^3"]
    ours = ternary.operands(problem, codes, activations)["weights"]
    assert (ours == TL2.operands(problem, codes, activations)["weights"]).all()


def exact_tables(activations):
    """Entries [tokens, groups, 16]: bit i of an entry's number is the sign of activation i of the group."""
    signs = 2 * (np.arange(16)[:, None] >> np.arange(4) & 1) - 1
    return activations.reshape(len(activations), -1, 4).astype(np.int16) @ signs.T.astype(np.int16)


def tmac_operands(random, bits, problem):
    lowest = -1 if bits == 1 else -(1 << (bits - 1))
    levels = np.array([-1, 1]) if bits == 1 else np.arange(lowest, -lowest)
    codes = random.choice(levels, (problem.n_out, problem.k)).astype(np.int8)
    return codes, random.integers(-128, 128, (problem.batch_tokens, problem.k)).astype(np.int8)


@settings(max_examples=12)
@given(
    st.sampled_from([name for name in TMAC if "unified" not in name]),
    st.integers(1, 4),
    st.sampled_from([32, 64]),
    st.integers(0, 1 << 30),
)
def test_tmac_is_its_golden_model(name, tiles, n_out, seed):
    """Entries are the same; only float32 additions come in another order."""
    bits, backend = int(name[7]), "tmac_fast" if name.endswith("fast") else "tmac_int8"
    problem = Problem(64 * tiles, n_out, 2)
    codes, activations = tmac_operands(np.random.default_rng(seed), bits, problem)
    golden = BACKENDS[backend].algorithm(codes, FORMATS[FORMAT_OF_BITS[bits]])(activations)
    assert np.allclose(execute(TMAC[name], problem, codes, activations), golden, rtol=1e-5, atol=0.01)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_tmac_under_one_scale_adds_the_entries_of_each_plane_exactly(bits):
    problem = Problem(448, 32, 2)
    codes, activations = tmac_operands(np.random.default_rng(bits), bits, problem)
    memory = memory_after(TMAC[f"T-MAC b{bits} unified-scale int32"], problem, codes, activations)
    entries = quantized(exact_tables(activations), tile_scales(activations, 4, problem.k // 4)).astype(np.int64)
    signs = plane_signs(codes, bits).reshape(32, bits, -1, 4).astype(np.int64)
    patterns = signs @ (1 << np.arange(4))
    sums = entries[:, np.arange(problem.k // 4), patterns].sum(axis=-1)
    found = memory["sums"].view("<i4").reshape(2, 4, bits, 8).transpose(0, 1, 3, 2).reshape(2, 32, bits)
    assert (found == sums).all()


@pytest.mark.parametrize("name", [name for name in TMAC if "fast" not in name])
def test_tmac_is_near_the_integer_product(name):
    """Each of k / 4 rounded entries is off by half a unit of its scale at most."""
    bits = int(name[7])
    problem = Problem(256, 32, 2)
    codes, activations = tmac_operands(np.random.default_rng(5), bits, problem)
    largest = tile_scales(activations, 4, 16).max()
    bound = problem.k // 4 * largest / 2 * (1 << bits) / 2
    assert np.abs(execute(TMAC[name], problem, codes, activations) - product(codes, activations)).max() <= bound


@pytest.mark.parametrize("name", [name for name in TMAC if "fast" not in name])
def test_tmac_of_nothing_is_nothing(name):
    codes, _ = tmac_operands(np.random.default_rng(6), int(name[7]), Problem(64, 32))
    assert not execute(TMAC[name], Problem(64, 32), codes, np.zeros((1, 64), np.int8)).any()


@given(st.sampled_from([1, 2, 4]), st.sampled_from([32, 64, 128]), st.integers(1, 3), st.integers(0, 1 << 30))
def test_planes_are_packed_without_loss(bits, tile_bits, tiles, seed):
    random = np.random.default_rng(seed)
    rows = tiles * 128 // bits
    codes, _ = tmac_operands(random, bits, Problem(128, rows))
    packed = pack_planes(codes, bits, tile_bits)
    # Restated from `preprocess_weights` of T-MAC: a byte has the row of its number, and the one 16 further.
    byte = packed.reshape(rows * bits // tile_bits, 2, tile_bits // 32, 16, 16)
    row, place = random.integers(rows), random.integers(128)
    for plane in range(bits):
        bit_row = (row // 8 * bits + plane) * 8 + row % 8
        tile, within = divmod(bit_row, tile_bits)
        stored = byte[tile, place // 64, within // 32, place % 64 // 4, within % 16] >> (4 * (within % 32 // 16))
        assert stored >> place % 4 & 1 == plane_signs(codes, bits)[row, plane, place]


@settings(max_examples=8)
@given(st.integers(1, 24), st.integers(1, 4), st.integers(1, 2), st.integers(0, 1 << 30))
def test_deepgemm_is_the_integer_product(blocks, n_out, batch, seed):
    random = np.random.default_rng(seed)
    problem = Problem(128 * blocks, n_out, batch)
    codes, activations = (random.integers(-2, 2, (rows, problem.k)).astype(np.int8) for rows in (n_out, batch))
    assert (execute(DEEPGEMM, problem, codes, activations) == product(codes, activations)).all()


def test_bytes_of_deepgemm_hold_the_largest_products():
    codes = np.full((1, 1280), -2, np.int8)
    assert (execute(DEEPGEMM, Problem(1280, 1), codes, codes) == 4 * 1280).all()


def test_codes_that_deepgemm_does_not_have_are_refused():
    with pytest.raises(ValueError, match="-2 to 1"):
        execute(DEEPGEMM, Problem(128, 1), np.full((1, 128), 2, np.int8), np.zeros((1, 128), np.int8))


@pytest.mark.parametrize(
    ("kernel", "k", "n_out"),
    [(TL2, 100, 32), (TL2, 256, 31), (DEEPGEMM, 100, 1), (TMAC["T-MAC b2 fast"], 100, 32), (ELUT_KERNELS[0], 100, 32)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_shapes_that_a_kernel_does_not_take_are_refused(kernel, k, n_out):
    with pytest.raises(ValueError, match=r"takes|needs|must be"):
        kernel.steps(Problem(k, n_out))


def computed(name, *operands, **others):
    rows = [np.frombuffer(operand, np.uint8)[None] for operand in operands]
    return SEMANTICS[name].compute(*rows, **{"size_bytes": 32, "immediate": 0} | others)[0].tobytes()


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.sampled_from([0x20, 0x31, 0x21, 3]))
def test_vperm2i128_takes_halves_of_both(left, right, immediate):
    halves = [left[:16], left[16:], right[:16], right[16:]]
    assert (
        computed("vperm2i128", left, right, immediate=immediate) == halves[immediate & 3] + halves[immediate >> 4 & 3]
    )


@given(st.lists(st.integers(0, 60), min_size=8, max_size=8), st.binary(min_size=64, max_size=64))
def test_vgatherdps_reads_four_bytes_at_each_place(places, memory):
    expected = b"".join(memory[place : place + 4] for place in places)
    assert computed("vgatherdps", np.array(places, "<i4").tobytes(), memory) == expected


@given(st.binary(min_size=16, max_size=16), st.integers(0, 3))
def test_vpextrd_leaves_a_word_in_a_register_of_integers(value, place):
    assert computed("vpextrd", value, immediate=place) == value[4 * place : 4 * place + 4] + bytes(4)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_vpsadbw_sums_differences_of_eight_bytes(left, right):
    sums = [sum(abs(x - y) for x, y in zip(left[i : i + 8], right[i : i + 8], strict=True)) for i in range(0, 32, 8)]
    assert computed("vpsadbw", left, right) == np.array(sums, "<u8").tobytes()


@given(st.lists(st.integers(-1000, 1000), min_size=24, max_size=24))
def test_vfmadd213ps_adds_its_last_operand(numbers):
    left, right, total = np.array(numbers, "<f4").reshape(3, 8)
    found = computed("vfmadd213ps", left.tobytes(), right.tobytes(), total.tobytes())
    assert found == (left * right + total).tobytes()


@given(st.lists(st.integers(-4000, 4000).map(lambda number: number / 8), min_size=8, max_size=8))
def test_vroundps_rounds_ties_to_even(numbers):
    assert computed("vroundps", np.array(numbers, "<f4").tobytes()) == np.rint(np.array(numbers, "<f4")).tobytes()
