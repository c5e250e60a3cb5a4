"""Preparation of data: documents survive tokenizing, windows are drawn as the recipe says."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from isa import InputError
from workloads.tokens import read_tokens
from workloads.training.corpus import WindowSampler, held_out_windows, leave_out_documents
from workloads.training.data import (
    END_OF_TEXT,
    encode_documents,
    end_of_text_id,
    read_documents,
    read_tokenizer,
    train_tokenizer,
)

SENTENCE = "the river ran past the mill and the miller counted every sack that the river had carried away "
TEXT = "\n".join(SENTENCE[start:] + SENTENCE[:start] for start in range(len(SENTENCE))) + "\n"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "mill.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(text: Path) -> Tokenizer:
    return train_tokenizer([text], 300)


def documents_of(content: str, folder: Path) -> list[str]:
    path = folder / "documents.txt"
    path.write_bytes(content.encode())
    return ["".join(lines) for lines in read_documents(path)]


def test_only_a_line_of_its_own_separates_documents(tmp_path: Path) -> None:
    content = f"one\ntwo\n{END_OF_TEXT}\n\n  \n{END_OF_TEXT}\nthree\r\nfour\n"
    assert documents_of(content, tmp_path) == ["one\ntwo", "three\nfour"]
    with pytest.raises(InputError, match=r"line 2: found x <\|endoftext\|>"):
        documents_of(f"one\nx {END_OF_TEXT}\n", tmp_path)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert documents_of("\ufeffonce", tmp_path) == ["once"]


def test_text_that_is_not_utf8_is_refused_and_leaves_no_token_file(
    text: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes("naïve".encode("latin-1"))
    destination = tmp_path / "tokens.u16"
    with pytest.raises(InputError, match=r"latin.txt: text: .* expected UTF-8"):
        encode_documents(tokenizer, [text, latin], destination)
    assert list(tmp_path.iterdir()) == [latin]


def test_a_tokenizer_has_the_size_asked_for_and_knows_every_byte(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == 300
    assert end_of_text_id(tokenizer) == 0
    assert tokenizer.decode(tokenizer.encode("Þórr\t漢字 \u0000").ids) == "Þórr\t漢字 \u0000"
    assert len(tokenizer.encode("the river").ids) < len("the river")


@pytest.mark.parametrize("size", [0, 256, 65_537])
def test_a_vocabulary_outside_uint16_is_refused(text: Path, size: int) -> None:
    with pytest.raises(InputError, match="257 to 65536"):
        train_tokenizer([text], size)


def test_a_text_too_small_for_the_vocabulary_is_refused(text: Path) -> None:
    with pytest.raises(InputError, match="enough text for 4096 tokens"):
        train_tokenizer([text], 4096)


lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)
documents = st.lists(st.lists(lines, min_size=1).map("\n".join).filter(str.strip), min_size=1, max_size=5)


@given(documents)
def test_documents_survive_encoding_for_every_text(
    tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("round_trip")
    source, destination = folder / "texts.txt", folder / "texts.u16"
    # A separator first: otherwise a text that begins with U+FEFF would begin the file with a byte-order mark.
    source.write_bytes("".join(f"{END_OF_TEXT}\n{document}\n" for document in texts).encode())
    encoded = encode_documents(tokenizer, [source], destination)
    tokens = read_tokens(destination, 300)
    ends = np.flatnonzero(tokens == 0) + 1
    decoded = [tokenizer.decode(part[:-1].tolist()) for part in np.split(tokens, ends)[:-1]]
    assert decoded == texts
    assert (encoded.documents, encoded.tokens) == (len(texts), len(tokens))
    assert encoded.text_bytes == sum(len(document.encode()) for document in texts)


def test_encoding_nothing_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises(InputError, match="no documents"):
        encode_documents(tokenizer, [empty], tmp_path / "empty.u16")
    assert not (tmp_path / "empty.u16").exists()


def test_an_unwritable_folder_is_named(text: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"tokens.u16: output"):
        encode_documents(tokenizer, [text], tmp_path / "file" / "tokens.u16")


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for content in ("", "{}", '{"model": {"type": "BPE"}}'):
        path.write_text(content)
        with pytest.raises(InputError, match=r"tokenizer\.json"):
            read_tokenizer(path)
    Tokenizer.from_str('{"version":"1.0","added_tokens":[],"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}').save(
        str(path)
    )
    with pytest.raises(InputError, match=r"no <\|endoftext\|>"):
        read_tokenizer(path)


def test_documents_are_left_out_by_their_number() -> None:
    tokens = np.array([5, 0, 6, 7, 0, 8, 0, 9], np.uint16)
    assert leave_out_documents(tokens, 0, (1,), Path("set")).tolist() == [5, 0, 8, 0, 9]
    assert leave_out_documents(tokens, 0, (2, 0), Path("set")).tolist() == [6, 7, 0, 9]
    assert leave_out_documents(tokens, 0, (), Path("set")) is tokens
    with pytest.raises(InputError, match="numbers of its 3 documents"):
        leave_out_documents(tokens, 0, (3,), Path("set"))


@given(seed=st.integers(0, 2**63 - 1), step=st.integers(0, 10**9), share=st.floats(0, 1))
def test_windows_of_a_step_depend_on_seed_and_step_alone(seed: int, step: int, share: float) -> None:
    sets = {"low": np.arange(100, dtype=np.uint16), "high": np.arange(1000, 1050, dtype=np.uint16)}
    shares = {"low": share, "high": 1 - share}
    batch = WindowSampler(sets, 8, seed).batch(step, shares, 16)
    other = WindowSampler(sets, 8, seed)
    other.batch(step + 1, shares, 3)
    np.testing.assert_array_equal(batch.windows, other.batch(step, shares, 16).windows)
    assert batch.windows.shape == (16, 9)
    assert (np.diff(batch.windows) == 1).all(), "a window is a run of neighbouring tokens of one set"
    assert (batch.windows[:, 0] < 100).sum() == batch.sequences["low"] == 16 - batch.sequences["high"]


def test_the_mixture_is_the_one_asked_for_and_reaches_every_token() -> None:
    sets = {"a": np.arange(20, dtype=np.uint16), "b": np.arange(100, 120, dtype=np.uint16)}
    sampler = WindowSampler(sets, 4, seed=3)
    windows = np.concatenate([sampler.batch(step, {"a": 0.2, "b": 0.8}, 50).windows for step in range(100)])
    # 5,000 draws: the standard deviation of the share is 0.0057.
    assert (windows[:, 0] < 100).mean() == pytest.approx(0.2, abs=0.03)
    assert set(np.unique(windows)) == {*range(20), *range(100, 120)}


@given(length=st.integers(2, 60), window=st.integers(1, 20), most=st.none() | st.integers(1, 5))
def test_held_out_windows_predict_each_token_once(length: int, window: int, most: int | None) -> None:
    windows = held_out_windows(np.arange(length, dtype=np.uint16), window, most)
    complete = (length - 1) // window
    assert len(windows) == (complete if most is None else min(complete, most))
    assert windows[:, 1:].ravel().tolist() == list(range(1, 1 + window * len(windows)))
    assert windows[:, :-1].ravel().tolist() == list(range(window * len(windows)))
