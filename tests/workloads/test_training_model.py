"""The trained model: the names of Hugging Face, the quantizers of the golden model, gradients through the rounding."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402

from isa import FORMATS  # noqa: E402
from workloads.training.model import BitLinear, BitNetForCausalLM, int8_codes, ternary_codes  # noqa: E402
from workloads.training.recipe import read_recipe  # noqa: E402

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def test_parameters_have_the_names_and_shapes_of_the_shipped_checkpoint() -> None:
    trained = BitNetForCausalLM(read_recipe("tern-18m").model, seed=0)
    with safe_open(REPOSITORY / "workloads/models/tern-18m/model.safetensors", framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  (no mapping)
    scales = {name for name in shapes if name.endswith("weight_scale")}
    packed = {name.removesuffix("_scale") for name in scales}
    assert len(packed) == 42
    stored = {
        name: [4 * shape[0], shape[1]] if name in packed else shape
        for name, shape in shapes.items()
        if name not in scales
    }
    assert {name: list(parameter.shape) for name, parameter in trained.named_parameters()} == stored
    assert sum(parameter.numel() for parameter in trained.parameters()) == 20_204_032


def test_quantizers_equal_those_of_the_golden_model() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((512, 96), np.float32) * np.exp(random.uniform(-20, 20, (512, 1))).astype(np.float32)
    rows[0] = 0
    golden = FORMATS["int8-token"].quantize(rows)
    codes, divisor = int8_codes(torch.from_numpy(rows))
    np.testing.assert_array_equal(codes.numpy(), golden.codes)
    np.testing.assert_array_equal(divisor.numpy()[:, 0], golden.scales)
    # Quarters add up exactly in any order, so both sides see the same mean; 96 · 512 is no power of two.
    weight = (random.integers(-9, 10, (512, 96)) / 4).astype(np.float32)
    golden = FORMATS["ternary"].quantize(weight)
    weight_codes, absmean = ternary_codes(torch.from_numpy(weight))
    np.testing.assert_array_equal(weight_codes.numpy(), golden.codes)
    assert absmean.item() == golden.scales[0]


def test_the_gradient_passes_the_rounding_unchanged() -> None:
    projection = BitLinear(24, 8)
    inputs = torch.randn(5, 24, generator=torch.Generator().manual_seed(0), requires_grad=True)
    upstream = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    projection(inputs).backward(upstream)
    weight_codes, absmean = ternary_codes(projection.weight.detach())
    codes, divisor = int8_codes(inputs.detach())
    torch.testing.assert_close(inputs.grad, upstream @ (weight_codes * absmean))
    torch.testing.assert_close(projection.weight.grad, upstream.T @ (codes / divisor))


def test_products_of_codes_are_exact_under_bfloat16_up_to_the_final_rounding() -> None:
    projection = BitLinear(512, 16)
    inputs = torch.randn(6, 512, generator=torch.Generator().manual_seed(0))
    exact, _ = projection.accumulate(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = projection.accumulate(inputs)
    assert exact.abs().max() > 256, "otherwise every sum fits bfloat16 anyway"
    assert torch.equal(rounded, exact.bfloat16())
