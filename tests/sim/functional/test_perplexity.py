"""Loss on the recorded 8,192 tokens, and what a window is."""

import numpy as np
import pytest

from isa import InputError
from sim.functional import measure_perplexity


def test_loss_and_argmax_on_8192_tokens_are_the_recorded_ones(fixtures, tern_18m):
    recorded = np.load(fixtures / "tern-18m-reference.npz")
    measured = measure_perplexity(tern_18m, recorded["token_ids"].astype(np.int64), 512)
    assert measured.tokens == 8192
    # Whole-model floats are chaotic at int8 rounding: compared by loss and argmax, never logit by logit.
    assert measured.nats_per_token == pytest.approx(3.241, abs=0.005)
    assert (measured.argmax_ids == recorded["argmax_ids"].ravel()).mean() >= 0.96


def test_windows_are_predicted_from_their_own_context_only(tern_18m):
    ids = np.arange(1, 42) * 7 % 4096
    whole = measure_perplexity(tern_18m, ids, 20)
    parts = [measure_perplexity(tern_18m, ids[start : start + 21], 20) for start in (0, 20)]
    assert whole.tokens == 40
    assert whole.nats_per_token == pytest.approx(np.mean([part.nats_per_token for part in parts]), abs=1e-3)


@pytest.mark.parametrize(("length", "window"), [(1, 8), (0, 8), (9, 0), (9, 513), (9, -1)])
def test_impossible_windows_are_refused(tern_18m, length, window):
    with pytest.raises(InputError):
        measure_perplexity(tern_18m, np.ones(length, np.int64), window)
