"""Generation: greedy equals the recorded run, seeds decide samples, sequences end where they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError
from sim.functional import Sampler, generate, load_model


def test_greedy_continuations_of_small_models_equal_transformers(fixtures):
    for mode in ("offline-autobitlinear", "offline-bitlinear", "online-float32", "online-bfloat16"):
        folder = fixtures / f"tiny-bitnet-{mode}"
        expected = np.load(folder / "expected.npz")
        prompts = [expected[f"prompt-{index}/token_ids"].ravel() for index in range(2)]
        wanted = [expected[f"prompt-{index}/greedy_ids"].ravel().tolist() for index in range(2)]
        generation = generate(load_model(folder), prompts, len(wanted[0]), Sampler.greedy())
        assert [list(ids) for ids in generation.token_ids] == wanted


def test_greedy_continuation_of_the_shipped_model_is_the_recorded_one(fixtures, tern_18m):
    recorded = np.load(fixtures / "tern-18m-reference.npz")
    prompt = recorded["prompt_ids"][0][: recorded["prompt_len"][0]]
    generation = generate(tern_18m, [prompt], 40, Sampler.greedy())
    # Its smallest margin between the two best logits is 0.14: the first prompt cannot flip by float noise.
    assert list(generation.token_ids[0]) == recorded["greedy_ids"][0].tolist()


def test_equal_seeds_give_equal_text_and_sequences_of_a_batch_differ(tern_18m):
    prompt = [3690, 532, 259, 573]
    first = generate(tern_18m, [prompt, prompt], 12, Sampler(seed=3))
    second = generate(tern_18m, [prompt, prompt], 12, Sampler(seed=3))
    assert first.token_ids == second.token_ids
    assert first.token_ids[0] != first.token_ids[1]
    assert generate(tern_18m, [prompt], 12, Sampler(seed=4)).token_ids[0] != first.token_ids[0]


def test_a_sequence_ends_at_the_end_token(fixtures):
    model = load_model(fixtures / "tiny-bitnet-offline-autobitlinear")
    free = generate(model, [[5, 6, 7]], 10, Sampler.greedy()).token_ids[0]
    end = free[3]
    architecture = model.architecture.model_copy(update={"end_token_ids": (end,)})
    object.__setattr__(model.weights, "architecture", architecture)
    stopped = generate(model, [[5, 6, 7], [8, 9]], 10, Sampler.greedy())
    assert stopped.token_ids[0] == free[: free.index(end) + 1]
    assert len(stopped.token_ids[1]) > 1


@pytest.mark.parametrize(("prompt_tokens", "tokens"), [(512, 1), (500, 13), (513, 1), (0, 1), (3, 0), (3, -1)])
def test_more_than_the_context_or_nothing_to_do_is_refused(tern_18m, prompt_tokens, tokens):
    with pytest.raises(InputError):
        generate(tern_18m, [[1] * prompt_tokens], tokens, Sampler.greedy())


@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=30),
    top_k=st.integers(0, 40),
    top_p=st.floats(0.01, 1),
    temperature=st.floats(0.05, 10),
    seed=st.integers(0, 1000),
)
def test_sampling_stays_among_the_allowed_tokens(logits, top_k, top_p, temperature, seed):
    values = np.array(logits, np.float32)
    token = Sampler(temperature, top_k, top_p).choose(values, np.random.default_rng(seed))
    rank = int((values > values[token]).sum())
    assert rank < (top_k or len(values))
    likelier = np.exp((values.astype(float) - values.max()) / temperature)
    assert likelier[values > values[token]].sum() / likelier.sum() <= top_p + 1e-9


def test_sampling_follows_the_probabilities():
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    random = np.random.default_rng(0)
    drawn = [Sampler(1.0, 0, 1.0).choose(logits, random) for _ in range(4000)]
    # Three standard deviations of a share of 0.5 over 4,000 draws are 0.024.
    np.testing.assert_allclose(np.bincount(drawn) / 4000, [0.5, 0.3, 0.2], atol=0.025)


@pytest.mark.parametrize(
    "arguments", [{"temperature": -1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0}, {"seed": -1}]
)
def test_impossible_sampling_is_refused(arguments):
    with pytest.raises(InputError, match="--"):
        Sampler(**arguments)
