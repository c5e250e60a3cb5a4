"""The golden model: BitNet b1.58's forward pass, every ternary projection an exact integer product.

Arithmetic as in the BitNet b1.58 2B4T report (arXiv 2504.12285) and transformers' `BitNetForCausalLM`:

    q, k, v  = projections of input_layernorm(x)
    x       += o_proj(attn_sub_norm(attention(rope(q), rope(k), v)))
    gate, up = projections of post_attention_layernorm(x)
    x       += down_proj(ffn_sub_norm(relu(gate)² · up))
    logits   = norm(x) · headᵀ

    projection(x) = accumulators · (weight_scale / s), accumulators = weight codes × activation codes (int32)

Everything but the projections is float32. A batch is a list of sequences of any lengths: projections run over the
rows of all sequences at once, attention over each sequence with its own KV cache, so that nothing is ever padded.
Generation is the subject of `sim.functional.generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isa import FORMATS, InputError, Operand
from sim.functional.backends import Product, backend_named
from sim.functional.cache import KeyValueCache
from workloads.architecture import Architecture
from workloads.bitnet import BitNetLayer, BitNetWeights, load_bitnet
from workloads.catalog import resolve_checkpoint
from workloads.operations import NO_LAYER, Kind

__all__ = ["GoldenModel", "Observer", "load_model"]

Float32 = NDArray[np.float32]
TokenIds = NDArray[np.int64]

ACTIVATION_FORMAT = FORMATS["int8-token"]

# Scores of this many queries at a time bound the memory of attention over a long prompt.
_QUERY_BLOCK = 512


class Observer(Protocol):
    """Is told of every operation as it is performed: see `workloads.operations` for the meaning of the sizes."""

    def operation(self, layer: int, name: str, kind: Kind, m: int, k: int, n: int, batch: int = 1) -> None:
        """One operation."""

    def quantized(self, layer: int, name: str, operand: Operand) -> None:
        """The integer operand that a quantization gave."""


class _NoObserver:
    def operation(self, *_: object) -> None:
        pass

    def quantized(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class _Projections:
    """Projections that read one input: their weights stacked, so that codes and product are computed once."""

    quantization: str
    product: Product
    names: tuple[str, ...]
    columns: tuple[slice, ...]
    scales: tuple[np.float32, ...]


@dataclass(frozen=True)
class _PreparedLayer:
    weights: BitNetLayer
    qkv: _Projections
    output: _Projections
    gate_up: _Projections
    down: _Projections


@dataclass
class GoldenModel:
    """A model ready to run.

    Parameters
    ----------
    weights : BitNetWeights
    backend : str
        Name of the mpGEMM backend.
    """

    weights: BitNetWeights
    backend: str = "blas"
    _layers: list[_PreparedLayer] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._layers = [self._prepare(layer) for layer in self.weights.layers]
        self._head = np.ascontiguousarray(self.weights.head.T)
        architecture = self.architecture
        exponents = np.arange(0, architecture.head_dim, 2, dtype=np.float32) / np.float32(architecture.head_dim)
        self._frequencies: Float32 = np.float32(1) / np.float32(architecture.rope_theta) ** exponents

    @property
    def architecture(self) -> Architecture:
        """The model's shape."""
        return self.weights.architecture

    def logits(self, token_ids: Sequence[int] | NDArray[np.integer[Any]]) -> Float32:
        """Logits float32 [tokens, vocabulary] after every token of one sequence."""
        ids = self.checked_ids(token_ids)
        return self.head(self.hidden_states([ids], [KeyValueCache.empty(self.architecture)])[0])

    def checked_ids(self, token_ids: Sequence[int] | NDArray[np.integer[Any]]) -> TokenIds:
        """Token ids as an array; `InputError` if empty, outside the vocabulary or longer than the context."""
        ids = np.asarray(token_ids, np.int64)
        size, context = self.architecture.vocabulary_size, self.architecture.context_tokens
        if ids.ndim != 1 or not 1 <= len(ids) <= context:
            raise InputError("prompt", "length", f"{ids.size} tokens", f"1 to {context}, the model's context")
        if ids.min() < 0 or ids.max() >= size:
            raise InputError(
                "prompt",
                "token id",
                int(ids.min() if ids.min() < 0 else ids.max()),
                f"0 to {size - 1}, the model's vocabulary",
            )
        return ids

    def head(self, hidden: Float32) -> Float32:
        """Logits float32 [rows, vocabulary] of final hidden states float32 [rows, hidden]."""
        return hidden @ self._head

    def hidden_states(
        self, sequences: Sequence[TokenIds], caches: Sequence[KeyValueCache], observer: Observer | None = None
    ) -> list[Float32]:
        """One forward pass over new tokens of several sequences.

        Parameters
        ----------
        sequences : the new token ids of each sequence, int64 [tokens]
        caches : their caches, which grow by these tokens
        observer : told of every operation

        Returns
        -------
        The final normed hidden states of each sequence, float32 [tokens, hidden].
        """
        observer = observer or _NoObserver()
        lengths = [len(ids) for ids in sequences]
        bounds = np.cumsum(lengths)[:-1]
        positions = np.concatenate(
            [np.arange(cache.tokens, cache.tokens + length) for cache, length in zip(caches, lengths, strict=True)]
        )
        rotation = self._rotation(positions)
        x = self.weights.embedding[np.concatenate(sequences)]
        rows, hidden = x.shape
        observer.operation(NO_LAYER, "embedding", "embedding", rows, 1, hidden)
        for index, layer in enumerate(self._layers):
            x = x + self._attention(index, layer, x, rotation, bounds, caches, observer)
            observer.operation(index, "self_attn.residual", "residual", rows, 2 * hidden, hidden)
            x = x + self._feed_forward(index, layer, x, observer)
            observer.operation(index, "mlp.residual", "residual", rows, 2 * hidden, hidden)
        for cache, length in zip(caches, lengths, strict=True):
            cache.tokens += length
        x = self._norm(NO_LAYER, "norm", x, self.weights.final_norm, observer)
        return np.split(x, bounds)

    def _attention(
        self,
        index: int,
        layer: _PreparedLayer,
        x: Float32,
        rotation: tuple[Float32, Float32],
        bounds: NDArray[np.int64],
        caches: Sequence[KeyValueCache],
        observer: Observer,
    ) -> Float32:
        head_dim, rows = self.architecture.head_dim, len(x)
        normed = self._norm(index, "input_layernorm", x, layer.weights.input_norm, observer)
        q, k, v = (y.reshape(rows, -1, head_dim) for y in self._project(index, layer.qkv, normed, observer))
        q, k = _rotate(q, *rotation), _rotate(k, *rotation)
        for name, heads in (("rope_q", q), ("rope_k", k)):
            width = heads.shape[1] * head_dim
            observer.operation(index, f"self_attn.{name}", "rope", rows, width, width)
        cached = 2 * k.shape[1] * head_dim
        observer.operation(index, "self_attn.kv_cache", "cache", rows, cached, cached)
        parts = zip(np.split(q, bounds), np.split(k, bounds), np.split(v, bounds), caches, strict=True)
        mixed = [_attend(queries, *cache.extend(index, keys, values)) for queries, keys, values, cache in parts]
        self._report_attention(index, [len(part) for part in mixed], caches, observer)
        joined = np.concatenate(mixed)
        normed = self._norm(index, "self_attn.attn_sub_norm", joined, layer.weights.attention_sub_norm, observer)
        return self._project(index, layer.output, normed, observer)[0]

    def _feed_forward(self, index: int, layer: _PreparedLayer, x: Float32, observer: Observer) -> Float32:
        normed = self._norm(index, "post_attention_layernorm", x, layer.weights.post_attention_norm, observer)
        gate, up = self._project(index, layer.gate_up, normed, observer)
        positive = np.maximum(gate, 0)
        hidden = positive * positive * up
        observer.operation(index, "mlp.activation", "elementwise", len(hidden), 2 * hidden.shape[1], hidden.shape[1])
        normed = self._norm(index, "mlp.ffn_sub_norm", hidden, layer.weights.ffn_sub_norm, observer)
        return self._project(index, layer.down, normed, observer)[0]

    def _project(self, index: int, group: _Projections, x: Float32, observer: Observer) -> list[Float32]:
        """Quantize once, multiply once, scale each projection: y = accumulators · (weight_scale / s)."""
        operand = ACTIVATION_FORMAT.quantize(x)
        rows, inputs = x.shape
        observer.operation(index, group.quantization, "quantize", rows, inputs, inputs)
        observer.quantized(index, group.quantization, operand)
        stacked = group.product(operand.codes)
        accumulators = [stacked[:, columns] for columns in group.columns]
        divisor = operand.scales[:, None]
        for name, part in zip(group.names, accumulators, strict=True):
            observer.operation(index, name, "mpgemm", rows, inputs, part.shape[1])
        return [
            part.astype(np.float32) * (scale / divisor) for part, scale in zip(accumulators, group.scales, strict=True)
        ]

    def _norm(self, layer: int, name: str, x: Float32, gain: Float32, observer: Observer) -> Float32:
        observer.operation(layer, name, "norm", len(x), x.shape[1], x.shape[1])
        mean_square: Float32 = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
        root: Float32 = np.sqrt(mean_square + np.float32(self.architecture.norm_epsilon))
        return gain * (x * (np.float32(1) / root))

    def _rotation(self, positions: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """Cosines and sines float32 [tokens, 1, head_dim] of rotate-half RoPE."""
        half = positions.astype(np.float32)[:, None] * self._frequencies
        angles: Float32 = np.concatenate((half, half), axis=-1)[:, None]
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _report_attention(
        self, index: int, tokens: list[int], caches: Sequence[KeyValueCache], observer: Observer
    ) -> None:
        """Equal neighbours are one batched operation, as `workloads.operations` counts them."""
        architecture = self.architecture
        lengths = [(count, cache.tokens + count) for count, cache in zip(tokens, caches, strict=True)]
        for (queries, context), group in groupby(lengths):
            batch = sum(1 for _ in group) * architecture.kv_heads
            rows = queries * (architecture.heads // architecture.kv_heads)
            observer.operation(index, "self_attn.scores", "attention", rows, architecture.head_dim, context, batch)
            observer.operation(index, "self_attn.softmax", "softmax", rows, context, context, batch)
            observer.operation(index, "self_attn.values", "attention", rows, context, architecture.head_dim, batch)

    def _prepare(self, layer: BitNetLayer) -> _PreparedLayer:
        return _PreparedLayer(
            layer,
            self._stack(layer, "self_attn.input", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            self._stack(layer, "self_attn.output", "self_attn.o_proj"),
            self._stack(layer, "mlp.input", "mlp.gate_proj", "mlp.up_proj"),
            self._stack(layer, "mlp.hidden", "mlp.down_proj"),
        )

    def _stack(self, layer: BitNetLayer, quantization: str, *names: str) -> _Projections:
        operands = [layer.projections[name] for name in names]
        codes = np.concatenate([operand.codes for operand in operands])
        product = backend_named(self.backend).prepare(codes, operands[0].format)
        ends = np.cumsum([operand.shape[0] for operand in operands]).tolist()
        columns = tuple(slice(start, end) for start, end in pairwise([0, *ends]))
        scales = tuple(np.float32(operand.scales[0]) for operand in operands)
        return _Projections(quantization, product, names, columns, scales)


def _rotate(x: Float32, cosines: Float32, sines: Float32) -> Float32:
    half = x.shape[-1] // 2
    return x * cosines + np.concatenate((-x[..., half:], x[..., :half]), axis=-1) * sines


def _attend(queries: Float32, keys: Float32, values: Float32) -> Float32:
    """Causal attention of the newest tokens of one sequence.

    Parameters
    ----------
    queries : float32 [tokens, heads, head_dim]
    keys, values : float32 [KV heads, context, head_dim], whose last `tokens` entries belong to the queries

    Returns
    -------
    float32 [tokens, heads · head_dim]
    """
    tokens, heads, head_dim = queries.shape
    kv_heads, context, _ = keys.shape
    grouped = queries.reshape(tokens, kv_heads, heads // kv_heads, head_dim).transpose(1, 2, 0, 3)
    mixed = np.empty((kv_heads, heads // kv_heads, tokens, head_dim), np.float32)
    for start in range(0, tokens, _QUERY_BLOCK):
        block = grouped[:, :, start : start + _QUERY_BLOCK]
        scores = block @ keys[:, None].swapaxes(-1, -2) * np.float32(head_dim**-0.5)
        if tokens > 1:
            positions = np.arange(context - tokens + start, context - tokens + start + block.shape[2])
            scores[..., np.arange(context)[None] > positions[:, None]] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed[:, :, start : start + _QUERY_BLOCK] = scores @ values[:, None]
    return mixed.transpose(2, 0, 1, 3).reshape(tokens, heads * head_dim)


def load_model(model: str | Path, backend: str = "blas") -> GoldenModel:
    """The golden model of a shipped name or a checkpoint folder; `InputError` if it cannot be read."""
    backend_named(backend)
    return GoldenModel(load_bitnet(resolve_checkpoint(str(model))), backend)
