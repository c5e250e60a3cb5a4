"""Measures golden inference: the shipped model, a model of two billion weights, and the backends beside each other.

The large model has the shapes of BitNet b1.58 2B4T and random weights, which take the same time and memory as trained
ones. What others have measured on it is data (`published_speeds.toml`), and appears only below the line of a ratio.
"""

from __future__ import annotations

import math
import resource
import sys
import time
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from isa import FORMATS, PACKINGS, InputError, PackedOperand
from sim.functional import BACKENDS, Backend, GoldenModel, Precision, Sampler, generate, load_model
from sim.study.stopwatch import best_seconds
from workloads import Architecture, load_model_architecture, load_weights
from workloads.weights import dequantized

__all__ = ["backends", "large_model", "shipped_model"]

_SHIPPED = "tern-18m"
_LARGE = "bitnet-2b4t"
_REPEATS = 3
_TURNS_SECONDS = 0.2
_TERNARY = FORMATS["ternary"]
# The projections of one layer that are multiplied as one matrix, because they read one input.
_STACKED = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)


def _peak_memory_mb() -> float:
    """Peak resident memory of this process, 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def shipped_model() -> dict[str, Any]:
    """Prefill and decode of the shipped model, against the bare products and against the integer reference."""
    model = load_model(_SHIPPED)
    prompt = np.random.default_rng(0).integers(1, model.architecture.vocabulary_size, 512)
    prefill = best_seconds(_REPEATS, lambda: model.logits(prompt))
    decode = min(_decode_seconds(model, prompt[:4], 128) for _ in range(_REPEATS))
    memory = _peak_memory_mb()
    matrices = [*_dense_weights(model), np.ascontiguousarray(model.weights.head.T)]
    vectors = [np.ones((1, len(matrix)), np.float32) for matrix in matrices]
    bare = best_seconds(
        10 * _REPEATS, lambda: [vector @ matrix for vector, matrix in zip(vectors, matrices, strict=True)]
    )
    reference = load_model(_SHIPPED, "reference")
    few = prompt[:32]
    blas_seconds = best_seconds(_REPEATS, lambda: model.logits(few))
    return {
        "prefill_tokens_per_second": len(prompt) / prefill,
        "decode_tokens_per_second": 1 / decode,
        "peak_memory_mb": memory,
        "decode_over_bare_products": decode / bare,
        "reference_over_blas_prefill_32": best_seconds(1, lambda: reference.logits(few)) / blas_seconds,
    }


def large_model() -> dict[str, Any]:
    """Prefill of 128 and decode of 32 tokens at two billion packed weights, against published speeds."""
    weights = load_weights(_RandomWeights(load_model_architecture(_LARGE)))
    model = GoldenModel(weights, "packed", Precision(FORMATS["int8-token"]))
    prompt = np.random.default_rng(0).integers(1, model.architecture.vocabulary_size, 128)
    model.logits(prompt[:5])  # compiles
    prefill = best_seconds(_REPEATS, lambda: model.head(model.hidden_states([prompt], [model.empty_cache()])[0][-1:]))
    decode = min(_decode_seconds(model, prompt, 32) for _ in range(_REPEATS))
    weight_bytes = sum(
        projection.data.nbytes
        for layer in weights.layers
        for projection in layer.projections.values()
        if isinstance(projection, PackedOperand)
    )
    speeds = {"prefill": len(prompt) / prefill, "decode": 1 / decode}
    figures = {
        "prefill_tokens_per_second": speeds["prefill"],
        "decode_tokens_per_second": speeds["decode"],
        "peak_memory_mb": _peak_memory_mb(),
        "packed_weight_bytes": weight_bytes,
        "head_bytes": weights.head.nbytes,
        "decode_read_gb_per_second": (weight_bytes + weights.head.nbytes) / decode / 1e9,
    }
    ratios = {
        f"{phase}_speed_over_{published['name']}": speeds[phase] / published[f"{phase}_{tokens}_tokens_per_second"]
        for published in tomllib.loads(Path(__file__).with_name("published_speeds.toml").read_text())["speed"]
        for phase, tokens in (("prefill", 128), ("decode", 32))
    }
    return {f"bitnet_2b4t_{key}": value for key, value in (figures | ratios).items()}


def backends() -> dict[str, Any]:
    """Every exact backend for ternary weights and 8-bit activations, on the products of one layer of the shipped model.

    Seconds are over those of `blas`, measured in turns with it: for one token as in decoding, for 16 as in a prompt.
    """
    layer = load_model(_SHIPPED).weights.layers[0]
    matrices = [np.concatenate([_codes(layer.projections[name]) for name in names]) for names in _STACKED]
    random = np.random.default_rng(0)
    inputs = {
        tokens: [random.integers(-128, 128, (tokens, matrix.shape[1])).astype(np.int8) for matrix in matrices]
        for tokens in (1, 16)
    }
    blas = _LayerProducts(BACKENDS["blas"], matrices)
    rows = []
    for name, backend in BACKENDS.items():
        # Hardware in simulation is thousands of times slower, and has a benchmark of its own.
        if not backend.exact or not backend.accepts(_TERNARY) or len(backend.activation_codes) < 256 or name == "rtl":
            continue
        try:
            layer_products = _LayerProducts(backend, matrices)
        except InputError:
            continue  # a kernel in C that this processor or computer cannot run
        ratios = {tokens: _seconds_over(layer_products, blas, activations) for tokens, activations in inputs.items()}
        rows.append({"name": name, "decode_seconds_over_blas": ratios[1], "prefill_16_seconds_over_blas": ratios[16]})
    return {"backends": rows}


class _LayerProducts:
    """The products of one layer, by one backend."""

    def __init__(self, backend: Backend, matrices: list[NDArray[np.int8]]) -> None:
        self._products = [backend.prepare(matrix, _TERNARY) for matrix in matrices]

    def __call__(self, activations: list[NDArray[np.int8]]) -> None:
        for product, codes in zip(self._products, activations, strict=True):
            product(codes)


def _seconds_over(one: _LayerProducts, other: _LayerProducts, activations: list[NDArray[np.int8]]) -> float:
    """Ratio of the least times, taken in turns, so that what slows the computer down slows both down."""
    best = {one: math.inf, other: math.inf}
    for products in (one, other):
        products(activations)
    started = time.perf_counter()
    while time.perf_counter() - started < _TURNS_SECONDS:
        for products in (one, other):
            best[products] = min(best[products], best_seconds(1, partial(products, activations)))
    return best[one] / best[other]


class _RandomWeights:
    """A `WeightSource` without a file: random ternary weights, packed from the start, and random bfloat16 numbers."""

    path = Path("random weights")
    sha256 = "0" * 64
    names = ()

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self._random = np.random.default_rng(0)

    def has(self, _: str) -> bool:
        return True

    def floats(self, _: str, shape: tuple[int, ...]) -> NDArray[Any]:
        patterns = self._random.integers(0, 1 << 16, shape, np.uint16)
        # Any sign and mantissa, one exponent: sizes from 2^-7 to 2^-6.
        patterns &= 0x807F
        patterns |= 0x3C00
        return patterns.view(ml_dtypes.bfloat16)

    def projection(self, _: str, shape: tuple[int, int]) -> PackedOperand:
        packing = PACKINGS["hf-bitnet"]
        data = self._random.integers(0, 1 << 8, packing.size(*shape), np.uint8)
        data &= ~(data >> 1 & 0x55)  # a field of 3 stands for no code and becomes 2
        return PackedOperand(data, packing, shape, np.array([0.02], np.float32))

    def parts_of(self, name: str) -> tuple[str, ...]:
        return (name,)


def _decode_seconds(model: GoldenModel, prompt: NDArray[np.int64], tokens: int) -> float:
    """Seconds of one token after the first, which belongs to the prompt."""
    run = generate(model, [prompt], tokens + 1, Sampler.greedy())
    return run.decode_seconds / (len(run.token_ids[0]) - 1)


def _codes(projection: Any) -> NDArray[np.int8]:
    codes: NDArray[np.int8] = projection.unpack().codes
    return codes


def _dense_weights(model: GoldenModel) -> Iterator[NDArray[np.float32]]:
    """The weights of every product of one decode step, in the order of memory that suits a vector."""
    for layer in model.weights.layers:
        for names in _STACKED:
            stacked = np.concatenate([dequantized(layer.projections[name]) for name in names])
            yield stacked.T.astype(np.float32, order="C" if len(stacked) >= stacked.shape[1] else "F")
