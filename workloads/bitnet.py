"""The weights of a BitNet b1.58 model in the form that golden inference uses: integer codes, multipliers, float tables.

Three ways of storing a ternary projection occur in Hugging Face checkpoints, and all end in the same `Operand`
(int8 codes, one float32 multiplier):

* `offline`, `autobitlinear`: packed codes, `weight_scale` is the multiplier mean|W|;
* `offline`, `bitlinear`: packed codes, `weight_scale` is its reciprocal;
* `online`: float masters, quantized when loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa import FORMATS, InputError, Operand, unpack_hf_ternary
from workloads.architecture import Architecture
from workloads.checkpoint import Checkpoint

__all__ = ["BitNetLayer", "BitNetWeights", "load_bitnet"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class BitNetLayer:
    """One decoder layer: norm gains float32 [hidden or ffn], and projections by their name in the architecture."""

    input_norm: Float32
    attention_sub_norm: Float32
    post_attention_norm: Float32
    ffn_sub_norm: Float32
    projections: Mapping[str, Operand]


@dataclass(frozen=True)
class BitNetWeights:
    """A whole model: embedding and head float32 [vocabulary, hidden] (the same array when tied)."""

    architecture: Architecture
    sha256: str
    embedding: Float32
    layers: tuple[BitNetLayer, ...]
    final_norm: Float32
    head: Float32


def load_bitnet(checkpoint: Checkpoint) -> BitNetWeights:
    """Read every tensor of a BitNet checkpoint.

    Raises
    ------
    InputError
        If the model is no BitNet, or a tensor is missing, of wrong shape or type, or holds codes that are not ternary.
    """
    architecture = checkpoint.architecture
    if architecture.family != "bitnet":
        raise InputError(
            checkpoint.folder / "config.json",
            "model_type",
            architecture.family,
            "bitnet, the family that golden inference computes (others have shape-only traces)",
        )
    for field, found, right in (
        ("partial_rotary_factor", architecture.rotary_fraction, architecture.rotary_fraction == 1),
        ("hidden_act", architecture.activation, architecture.activation == "relu2"),
        ("head_dim", architecture.head_dim, architecture.head_dim % 2 == 0),
    ):
        if not right:
            raise InputError(checkpoint.folder / "config.json", field, found, "1, relu2 and even for a BitNet model")
    vocabulary_shape = (architecture.vocabulary_size, architecture.hidden_size)
    embedding = checkpoint.floats("model.embed_tokens.weight", vocabulary_shape)
    return BitNetWeights(
        architecture=architecture,
        sha256=checkpoint.sha256,
        embedding=embedding,
        layers=tuple(_load_layer(checkpoint, index) for index in range(architecture.layers)),
        final_norm=checkpoint.floats("model.norm.weight", (architecture.hidden_size,)),
        head=embedding if architecture.tied_head else checkpoint.floats("lm_head.weight", vocabulary_shape),
    )


def _load_layer(checkpoint: Checkpoint, index: int) -> BitNetLayer:
    architecture = checkpoint.architecture
    prefix = f"model.layers.{index}."
    hidden, heads_width = architecture.hidden_size, architecture.heads * architecture.head_dim

    def norm(name: str, size: int) -> Float32:
        return checkpoint.floats(f"{prefix}{name}.weight", (size,))

    return BitNetLayer(
        input_norm=norm("input_layernorm", hidden),
        attention_sub_norm=norm("self_attn.attn_sub_norm", heads_width),
        post_attention_norm=norm("post_attention_layernorm", hidden),
        ffn_sub_norm=norm("mlp.ffn_sub_norm", architecture.ffn_size),
        projections={
            name: _load_projection(checkpoint, f"{prefix}{name}.weight", shape)
            for name, shape in architecture.projections.items()
        },
    )


def _load_projection(checkpoint: Checkpoint, name: str, shape: tuple[int, int]) -> Operand:
    ternary = FORMATS["ternary"]
    if checkpoint.architecture.quantization_mode == "online":
        return ternary.quantize(checkpoint.floats(name, shape))
    outputs, inputs = shape
    if outputs % 4:
        raise InputError(checkpoint.folder, name, f"{outputs} output rows", "a multiple of 4, four rows share a byte")
    packed = checkpoint.packed(name, (outputs // 4, inputs))
    try:
        codes = unpack_hf_ternary(packed)
    except ValueError as error:
        raise InputError(checkpoint.folder, name, str(error), "packed ternary codes") from None
    scale = checkpoint.floats(f"{name}_scale", (1,))
    if not 1e-30 < scale[0] < 1e30:
        raise InputError(checkpoint.folder, f"{name}_scale", float(scale[0]), "a positive number of sensible size")
    multiplier = scale if checkpoint.architecture.linear_class == "autobitlinear" else np.float32(1) / scale
    return Operand(codes, multiplier, ternary)
