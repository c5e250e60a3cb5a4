"""`lutgen`, `lmma` and `scale` against their definitions, element by element or in int64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_examples import Bytes
from test_layouts import INTEGER_ACTIVATIONS, INTEGER_WEIGHTS, activations_of, weights_of

from isa import FORMATS, Format, format_named
from isa.instructions import Lmma, LutGen, Scale
from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from isa.layouts import pack_activations, pack_weights
from sim.functional.backends import BACKENDS
from sim.functional.projections import prepare_projections


def put_rows(storage, space, address, rows, pitch_bytes):
    for position, row in enumerate(rows):
        storage.put(space, address + position * pitch_bytes, row)


@pytest.mark.parametrize("k", range(1, 9))
@given(
    st.sampled_from(INTEGER_ACTIVATIONS), st.integers(1, 3), st.integers(1, 19), st.integers(0, 5), st.integers(0, 9)
)
@settings(max_examples=8)
def test_lutgen_makes_the_tables_of_the_definition(k, name, rows, depth, gap, seed):
    codes = activations_of(np.random.default_rng(seed), name, (rows, depth))
    packed = pack_activations(codes, ACTIVATION_TYPES[name])
    pitch = packed.shape[1] + gap
    storage = Bytes()
    put_rows(storage, "activation", 16, packed, pitch)
    LutGen(k=k, activation=name, source=0, target=1, rows=rows, depth=depth, pitch_bytes=pitch).execute(
        storage, {"source": 16, "target": 8}
    )
    groups = -(-depth // k)
    found = storage.get("table", 8, rows * groups * 2**k, "<i2").reshape(rows, groups, -1)
    for row in range(rows):
        for group in range(groups):
            inputs = [int(codes[row, j]) if j < depth else 0 for j in range(group * k, group * k + k)]
            for entry in range(1 << (k - 1)):
                signs = [1 if entry >> j & 1 else -1 for j in range(k - 1)] + [-1]
                assert found[row, group, entry] == sum(s * x for s, x in zip(signs, inputs, strict=True))


def lmma_of(weight, activation, inputs, mode, mnk, sizes, pitch_bytes, order="blocks"):
    m, n, k = mnk
    rows, columns, depth = sizes
    accumulator = "fp32" if "fp16" in (weight, activation) else "int32"
    return Lmma(
        m=m, n=n, k=k, activation=activation, weight=weight, accumulator=accumulator, inputs=inputs, order=order,
        mode=mode, source=0, weights=1, target=2, rows=rows, columns=columns, depth=depth, pitch_bytes=pitch_bytes,
    )  # fmt: skip


AT = {"source": 64, "weights": 32, "target": 16}
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 20))


@pytest.mark.parametrize("weight", INTEGER_WEIGHTS)
@given(
    activation=st.sampled_from(INTEGER_ACTIVATIONS), sizes=SIZES, n=st.integers(1, 5), k=st.integers(1, 8),
    gap=st.integers(0, 3), seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=12)
def test_lookups_products_and_int64_give_the_same_accumulators(weight, activation, sizes, n, k, gap, seed):
    rows, columns, depth = sizes
    random = np.random.default_rng(seed)
    codes = activations_of(random, activation, (rows, depth))
    weights = weights_of(random, weight, (columns, depth))
    packed = pack_activations(codes, ACTIVATION_TYPES[activation])
    row_bytes, groups = packed.shape[1], -(-depth // k)
    present = random.integers(-(2**31), 2**31, (rows, columns)).astype(np.int32)
    product = codes.astype(np.int64) @ weights.astype(np.int64).T
    for inputs, layout, order in (
        ("table", "planes", "blocks"),
        ("activation", "codes", "blocks"),
        ("activation", "codes", "rows"),
    ):
        storage = Bytes()
        put_rows(storage, "activation", 64, packed, row_bytes + gap)
        pitch = row_bytes + gap
        if inputs == "table":
            lutgen = LutGen(k=k, activation=activation, source=0, target=0, rows=rows, depth=depth, pitch_bytes=pitch)
            lutgen.execute(storage, {"source": 64, "target": 64})
            pitch = groups << k
        block = (1, depth) if order == "rows" else (n, k)
        storage.put("weight", 32, pack_weights(weights, *block, WEIGHT_TYPES[weight], layout))
        for mode, expected in (("overwrite", product), ("accumulate", product + present)):
            storage.put("accumulator", 16, present)
            lmma = lmma_of(weight, activation, inputs, mode, (2, n, k), sizes, pitch, order)
            lmma.execute(storage, AT)
            found = storage.get("accumulator", 16, rows * columns * 4, "<i4").reshape(rows, columns)
            assert np.array_equal(found, expected.astype(np.int32))
            assert (storage.spaces["accumulator"][16 + found.nbytes :] == 0xEE).all()


def test_a_tile_of_tables_is_a_part_of_wider_rows():
    """Tables of 4 groups a row are made once; the product takes groups 1 and 2 of each row."""
    random = np.random.default_rng(0)
    codes, weights = random.integers(-128, 128, (3, 16)), random.integers(-1, 2, (4, 8))
    storage = Bytes(activation=pack_activations(codes, ACTIVATION_TYPES["int8"]))
    LutGen(k=4, activation="int8", source=0, target=0, rows=3, depth=16, pitch_bytes=16).execute(
        storage, {"source": 0, "target": 0}
    )
    storage.put("weight", 0, pack_weights(weights, 4, 4, WEIGHT_TYPES["ternary"], "planes"))
    lmma = lmma_of("ternary", "int8", "table", "overwrite", (2, 4, 4), (3, 4, 8), 4 * 16)
    lmma.execute(storage, {"source": 16, "weights": 0, "target": 0})
    assert np.array_equal(storage.get("accumulator", 0, 48, "<i4").reshape(3, 4), codes[:, 4:12] @ weights.T)


@pytest.mark.parametrize(
    ("activation", "weight"), [("fp16", "fp16"), ("fp16", "int4"), ("int8", "fp16"), ("fp16", "binary")]
)
@pytest.mark.parametrize("mode", ["overwrite", "accumulate"])
def test_floats_are_multiplied_in_float32(activation, weight, mode):
    """Values that float32 adds exactly, so that the order does not matter."""
    random = np.random.default_rng(1)
    rows, columns, depth = 3, 5, 9
    codes = random.integers(-8, 8, (rows, depth)) / (4 if activation == "fp16" else 1)
    weights = (
        weights_of(random, weight, (columns, depth))
        if weight != "fp16"
        else random.integers(-8, 8, (columns, depth)) / 8
    )
    packed = pack_activations(codes.astype(np.float16) if activation == "fp16" else codes, ACTIVATION_TYPES[activation])
    present = random.integers(-8, 8, (rows, columns)).astype(np.float32)
    storage = Bytes()
    storage.put("activation", 64, packed)
    storage.put("weight", 32, pack_weights(weights, 4, 2, WEIGHT_TYPES[weight], "codes"))
    storage.put("accumulator", 16, present)
    lmma_of(weight, activation, "activation", mode, (1, 4, 2), (rows, columns, depth), packed.shape[1]).execute(
        storage, AT
    )
    found = storage.get("accumulator", 16, rows * columns * 4, "<f4").reshape(rows, columns)
    assert np.array_equal(found, codes @ weights.T + (present if mode == "accumulate" else 0))


def test_infinities_and_numbers_that_are_none_pass_without_warnings():
    storage = Bytes()
    storage.put("activation", 64, np.array([np.inf, np.inf], np.float16))
    storage.put("weight", 32, np.array([0, 65504], np.float16))
    storage.put("accumulator", 16, np.array([-np.inf], np.float32))
    lmma_of("fp16", "fp16", "activation", "accumulate", (1, 1, 1), (1, 1, 2), 4).execute(storage, AT)
    assert np.isnan(storage.get("accumulator", 16, 4, "<f4")[0])


def scaled(sums, column_scales, row_scales, granularity, rule, scale="fp32", present=None):
    """What `scale` makes of accumulators [rows, columns]."""
    rows, columns = sums.shape
    storage = Bytes()
    storage.put("accumulator", 16, sums.astype(np.int32))
    storage.put("scale", 8, column_scales.astype(np.float16 if scale == "fp16" else np.float32))
    storage.put("scale", 4096, row_scales.astype(np.float32))
    if present is not None:
        storage.put("accumulator", 8192, present)
    instruction = Scale(
        granularity=granularity, rule=rule, scale=scale, columns_have="each" if column_scales.size > 1 else "one",
        source=0, target=1, column_scales=2, row_scales=3, rows=rows,
        columns=columns,
    )  # fmt: skip
    instruction.execute(storage, {"source": 16, "target": 8192, "column_scales": 8, "row_scales": 4096})
    return storage.get("accumulator", 8192, sums.size * 4, "<f4").reshape(rows, columns).copy()


def outputs_of(x, weights: Format, activations: Format, matrix):
    """Outputs of the golden model's projection, and the operands of both sides."""
    operand = weights.quantize(matrix)
    projections = prepare_projections("x", {"p": operand}, activations, BACKENDS["reference"])
    codes = projections.quantize(x)
    (outputs,) = projections(x, codes)
    return outputs, codes.integer_terms()[0], operand.integer_terms()[0]


@pytest.mark.parametrize(("weights", "activations", "scale"), [
    ("ternary", "int8-token", "fp32"), ("ternary-absmax", "int4-token", "fp32"), ("int4", "int8-token", "fp16"),
    ("int8", "int8", "fp16"), ("fp4", "int8-token", "fp16"),
])  # fmt: skip
def test_row_scales_give_the_golden_outputs_bit_by_bit(weights, activations, scale):
    random = np.random.default_rng(5)
    x, matrix = (random.standard_normal(shape).astype(np.float32) for shape in ((3, 32), (8, 32)))
    outputs, left, right = outputs_of(x, FORMATS[weights], FORMATS[activations], matrix)
    rule = "divide" if FORMATS[activations].scale_rule == "divide" else "multiply"
    sums = left.codes.astype(np.int64) @ right.codes.astype(np.int64).T
    columns = right.scales.reshape(-1)
    assert np.array_equal(scaled(sums, columns, left.scales.reshape(-1), "row", rule, scale), outputs)


def test_group_scales_add_up_to_the_golden_outputs_bit_by_bit():
    random = np.random.default_rng(6)
    x, matrix = (random.standard_normal(shape).astype(np.float32) for shape in ((3, 96), (8, 96)))
    activations = FORMATS["int8-token"]
    outputs, left, right = outputs_of(x, format_named("int4-g32"), activations, matrix)
    total = None
    for group in range(3):
        part = slice(32 * group, 32 * group + 32)
        sums = left.codes[:, part].astype(np.int64) @ right.codes[:, part].astype(np.int64).T
        granularity = "row" if total is None else "group"
        scales = right.scales[:, group], left.scales.reshape(-1)
        total = scaled(sums, *scales, granularity, "divide", "fp16", present=total)
    assert np.array_equal(total, outputs)


def test_an_accumulator_that_float32_cannot_hold_is_rounded_first():
    sums = np.array([[2**24 + 1, -(2**31)]])
    found = scaled(sums, np.array([3.0, 3.0]), np.array([1.0]), "row", "multiply")
    assert found.tolist() == [[np.float32(2**24) * 3, -(2**31) * 3.0]]


def test_a_scale_of_zero_divides_without_a_warning():
    found = scaled(np.array([[5, 0]]), np.array([1.0, 1.0]), np.array([0.0]), "row", "divide")
    assert np.isinf(found[0, 0])
    assert np.isnan(found[0, 1])
