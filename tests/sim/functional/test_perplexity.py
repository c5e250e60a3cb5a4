"""Loss on the recorded 8,192 tokens, and token files that are no token files."""

import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError
from sim.functional import measure_perplexity
from sim.functional.perplexity import read_tokens


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


@pytest.mark.parametrize("compressed", [False, True])
def test_token_files_are_read_plain_and_compressed(tmp_path, compressed):
    ids = np.array([0, 1, 4095], np.uint16)
    path = tmp_path / ("a.u16.xz" if compressed else "a.u16")
    path.write_bytes(lzma.compress(ids.tobytes()) if compressed else ids.tobytes())
    assert read_tokens(path, 4096).tolist() == [0, 1, 4095]


def test_a_small_file_that_unpacks_to_a_large_one_is_refused_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.functional.perplexity._LARGEST_TOKENS", 1000)
    path = tmp_path / "bomb.u16.xz"
    path.write_bytes(lzma.compress(bytes(10_000_000)))
    with pytest.raises(InputError, match="length"):
        read_tokens(path, 4096)


@given(content=st.binary(max_size=40), suffix=st.sampled_from([".u16", ".u16.xz"]))
def test_any_bytes_are_tokens_of_the_vocabulary_or_refused(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("tokens") / f"a{suffix}"
    path.write_bytes(content)
    try:
        ids = read_tokens(path, 300)
    except InputError:
        return
    assert ((ids >= 0) & (ids < 300)).all()


def test_a_missing_token_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="file"):
        read_tokens(tmp_path / "none.u16", 4096)
