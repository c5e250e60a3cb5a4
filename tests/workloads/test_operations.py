"""The operations of a step: counts and sizes follow from the architecture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads import load_model_architecture, shipped_models
from workloads.operations import KINDS, NO_LAYER, Step, step_operations


@pytest.mark.parametrize("name", shipped_models())
def test_products_of_one_token_are_the_models_weights(name):
    architecture = load_model_architecture(name)
    operations = list(step_operations(architecture, Step.uniform("decode", 1, 1, 1), "int2", "int8-token"))
    assert sum(op.macs for op in operations if op.kind == "mpgemm") == architecture.projection_weights
    head = [op for op in operations if op.name == "head"]
    assert [op.macs for op in head] == [architecture.hidden_size * architecture.vocabulary_size]


@given(batch=st.integers(1, 5), tokens=st.integers(1, 9), earlier=st.integers(0, 30))
def test_attention_counts_every_query_head_over_the_whole_context(batch, tokens, earlier):
    architecture = load_model_architecture("llama-2-70b")
    step = Step.uniform("prefill", tokens, earlier + tokens, batch)
    operations = [op for op in step_operations(architecture, step, "int2", "int8-token") if op.layer == 7]
    products = {op.name: op for op in operations if op.kind == "attention"}
    expected = batch * tokens * 64 * (earlier + tokens) * 128
    assert products["self_attn.scores"].macs == products["self_attn.values"].macs == expected
    assert products["self_attn.scores"].batch == batch * 8


def test_float_weights_have_no_quantization_and_run_as_gemm():
    architecture = load_model_architecture("llama-2-7b")
    operations = list(step_operations(architecture, Step.uniform("decode", 1, 9, 1), "fp16", "int8-token"))
    assert {op.kind for op in operations}.isdisjoint({"mpgemm", "quantize"})
    assert sum(op.macs for op in operations if "_proj" in op.name) == architecture.projection_weights


@pytest.mark.parametrize("name", shipped_models())
def test_layers_are_alike_and_kinds_are_known(name):
    architecture = load_model_architecture(name)
    operations = list(step_operations(architecture, Step.uniform("decode", 1, 4, 2), "ternary", "int8-token"))
    assert {op.kind for op in operations} <= set(KINDS)
    layers = {op.layer for op in operations}
    assert layers == {NO_LAYER, *range(architecture.layers)}
    sizes = [[(op.name, op.m, op.k, op.n, op.batch) for op in operations if op.layer == layer] for layer in (0, 1)]
    assert sizes[0] == sizes[1]
    assert ("self_attn.rope_q" in {op.name for op in operations}) == (architecture.position == "rope")
    assert ("mlp.ffn_sub_norm" in {op.name for op in operations}) == architecture.sub_norms


def test_families_differ_where_their_models_do():
    def names(model: str) -> dict[str, int]:
        architecture = load_model_architecture(model)
        return {
            op.name: op.n for op in step_operations(architecture, Step.uniform("decode", 1, 1, 1), "int4", "int8-token")
        }

    phi, bloom, llama = names("phi-2"), names("bloom-176b"), names("llama-2-7b")
    assert "post_attention_layernorm" not in phi, "Phi's blocks are parallel"
    assert phi["self_attn.rope_q"] == 0.4 * 2560, "Phi rotates two fifths of each head"
    assert "embedding_norm" in bloom
    assert "self_attn.rope_q" not in bloom
    assert {"post_attention_layernorm", "mlp.gate_proj"} <= set(llama)
    assert "embedding_norm" not in llama
