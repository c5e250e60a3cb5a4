"""Projections in every pair of formats: what is exact is exact, and scales belong where the formats say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa import FORMATS, format_named
from sim.functional import BACKENDS
from sim.functional.projections import prepare_projections, runs_in_integers

WEIGHTS = [
    *(name for name, value in FORMATS.items() if value.quantizer and value.kind != "complex" and name[-6:] != "-token"),
    *("ternary-g16", "int2-g8", "int4-g16", "int4-asym-g16", "int8-tensor", "fp4-g16", "bitmod-fp3-g24", "bcq3-g16"),
]
INTEGER_WEIGHTS = [
    name
    for name in WEIGHTS
    if format_named(name).scale_rule == "multiply" and runs_in_integers(format_named(name), FORMATS["int8-token"])
]
ACTIVATIONS = ["int8-token", "int4-token", "int8", "int8-g32", "int4-asym", "int4-asym-g24"]


def projected(weights, activations, x, matrices, backend="blas"):
    """Outputs of some matrices in a pair of formats, and the dequantized operands."""
    operands = {f"p{index}": format_named(weights).quantize(matrix) for index, matrix in enumerate(matrices)}
    group = prepare_projections("input", operands, format_named(activations), BACKENDS[backend])
    operand = group.quantize(x)
    values = x if operand is None else operand.dequantize()
    return group(x, operand), values, [each.dequantize() for each in operands.values()]


@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("weights", INTEGER_WEIGHTS)
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32 - 1), inputs=st.integers(1, 90), outputs=st.integers(1, 12))
def test_outputs_are_the_product_of_the_dequantized_operands(weights, activations, seed, inputs, outputs):
    random = np.random.default_rng(seed)
    x = random.normal(size=(3, inputs)).astype(np.float32)
    matrices = [random.normal(size=(size, inputs)).astype(np.float32) for size in (outputs, 5)]
    found, values, dequantized = projected(weights, activations, x, matrices)
    for outputs_of_one, matrix in zip(found, dequantized, strict=True):
        wanted = values.astype(np.float64) @ matrix.astype(np.float64).T
        # float32 rounding of scales and sums; integer accumulation itself adds none.
        largest = np.abs(values).max() * np.abs(matrix).max() * inputs
        np.testing.assert_allclose(outputs_of_one, wanted, atol=1e-6 * float(largest) + 1e-6)


@pytest.mark.parametrize("weights", ["ternary", "int4-g16", "int4-asym-g16"])
@pytest.mark.parametrize("activations", ["int8-token", "int4-asym-g24"])
def test_every_exact_backend_gives_the_very_same_floats(weights, activations):
    random = np.random.default_rng(5)
    x = random.normal(size=(4, 75)).astype(np.float32)
    matrices = [random.normal(size=(7, 75)).astype(np.float32)]
    (wanted,), _, _ = projected(weights, activations, x, matrices, "reference")
    for name, backend in BACKENDS.items():
        takes = backend.accepts(format_named(weights)) and backend.activation_codes[0] == -128
        if backend.exact and takes and name != "rtl":
            (found,), _, _ = projected(weights, activations, x, matrices, name)
            assert (found == wanted).all(), name


@pytest.mark.parametrize(
    "weights", [name for name, value in FORMATS.items() if value.quantizer and value.kind != "complex"]
)
def test_weight_only_quantization_multiplies_the_dequantized_weights(weights):
    random = np.random.default_rng(6)
    x = random.normal(size=(4, 70)).astype(np.float32)
    matrices = [random.normal(size=(9, 70)).astype(np.float32)]
    (found,), _, (matrix,) = projected(weights, "fp16", x, matrices)
    rounded = x.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(found, rounded @ matrix.astype(np.float64).T, rtol=1e-4, atol=1e-4)


def test_integers_are_used_where_both_sides_have_codes_of_8_bits():
    assert runs_in_integers(FORMATS["ternary"], FORMATS["int8-token"])
    assert runs_in_integers(FORMATS["int4-asym"], FORMATS["int4-asym"])
    assert not runs_in_integers(FORMATS["int4"], FORMATS["fp16"])
    assert not runs_in_integers(FORMATS["fp16"], FORMATS["int8-token"])


def test_neighbours_of_one_format_are_one_product_and_others_are_not():
    random = np.random.default_rng(7)
    matrices = [random.normal(size=(size, 32)).astype(np.float32) for size in (3, 4, 5)]
    operands = {
        "a": FORMATS["ternary"].quantize(matrices[0]),
        "b": FORMATS["ternary"].quantize(matrices[1]),
        "c": matrices[2],
    }
    group = prepare_projections("input", operands, FORMATS["int8-token"], BACKENDS["blas"])
    assert len(group.parts) == 2
    x = random.normal(size=(2, 32)).astype(np.float32)
    a, b, c = group(x, group.quantize(x))
    assert (a.shape, b.shape, c.shape) == ((2, 3), (2, 4), (2, 5))
    np.testing.assert_allclose(c, group.quantize(x).dequantize() @ matrices[2].T, rtol=1e-5, atol=1e-5)


def test_weights_too_large_to_be_held_in_float32_give_the_same_outputs(monkeypatch):
    random = np.random.default_rng(8)
    x = random.normal(size=(4, 70)).astype(np.float32)
    matrices = [random.normal(size=(size, 70)).astype(np.float32) for size in (9, 5)]
    held, _, _ = projected("int4-g16", "fp16", x, matrices)
    monkeypatch.setattr("sim.functional.projections._MOST_DENSE", 100)
    anew, _, _ = projected("int4-g16", "fp16", x, matrices)
    for one, other in zip(held, anew, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
