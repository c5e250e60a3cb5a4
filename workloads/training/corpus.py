"""The token sets of a run, as its recipe wants them, and the windows that training and evaluation take from them.

How texts become token files is the subject of `workloads.training.data`; what is computed from the windows that of
`workloads.training.loop`. Nothing here needs PyTorch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa import InputError
from workloads.tokens import Tokens, read_tokens
from workloads.training.data import end_of_text_id, read_tokenizer
from workloads.training.recipe import Recipe, TokenSet

__all__ = ["TOKENIZER", "Batch", "Corpus", "WindowSampler", "held_out_windows", "leave_out_documents", "load_corpus"]

# The name of the tokenizer in a data folder and in a run folder.
TOKENIZER = "tokenizer.json"

Windows = NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """Everything that a run reads.

    Parameters
    ----------
    train, held_out : mapping of set name to uint16 [tokens]
    sha256 : mapping of str to str
        Identity of each training set (of the tokens, in hexadecimal).
    tokenizer_json : str
        The tokenizer's file, to travel with the run.
    """

    train: Mapping[str, Tokens]
    held_out: Mapping[str, Tokens]
    sha256: Mapping[str, str]
    tokenizer_json: str


def load_corpus(recipe: Recipe, data_folder: Path) -> Corpus:
    """Read the tokenizer and the token sets of a recipe from a data folder.

    Raises
    ------
    InputError
        If a file cannot be read or is damaged, does not belong to the recipe's vocabulary, or is shorter than a window.
    """
    tokenizer = read_tokenizer(data_folder / TOKENIZER)
    known = tokenizer.get_vocab_size()
    if known != recipe.model.vocab_size:
        expected = f"{recipe.model.vocab_size}, the vocab_size of the recipe {recipe.name}"
        raise InputError(data_folder / TOKENIZER, "vocabulary", known, expected)
    end_of_text = end_of_text_id(tokenizer)

    def load(entry: TokenSet) -> Tokens:
        path = data_folder / entry.file
        tokens = read_tokens(path, recipe.model.vocab_size)
        tokens = leave_out_documents(tokens, end_of_text, entry.leave_out_documents, path)
        window = recipe.schedule.window_tokens
        if len(tokens) <= window:
            raise InputError(path, "length", f"{len(tokens)} tokens", f"more than window_tokens = {window}")
        return tokens

    train = {entry.name: load(entry) for entry in recipe.data.train}
    return Corpus(
        train=train,
        held_out={entry.name: load(entry) for entry in recipe.data.held_out},
        sha256={name: hashlib.sha256(tokens.tobytes()).hexdigest() for name, tokens in train.items()},
        tokenizer_json=(data_folder / TOKENIZER).read_text(encoding="utf-8"),
    )


def leave_out_documents(tokens: Tokens, end_of_text: int, numbers: Sequence[int], source: Path) -> Tokens:
    """The tokens without the documents of those numbers (from 0), each of which ends with `end_of_text`.

    Raises
    ------
    InputError
        If there is no document of such a number; it names `source`.
    """
    if not numbers:
        return tokens
    ends = np.flatnonzero(tokens == end_of_text) + 1
    if max(numbers) >= len(ends):
        raise InputError(source, "leave_out_documents", max(numbers), f"numbers of its {len(ends)} documents, from 0")
    starts = np.concatenate(([0], ends[:-1]))
    keep = np.ones(len(tokens), bool)
    for number in numbers:
        keep[starts[number] : ends[number]] = False
    return tokens[keep]


@dataclass(frozen=True)
class Batch:
    """Windows of one step, int64 [sequences, window_tokens + 1], and how many of them each set gave."""

    windows: Windows
    sequences: Mapping[str, int]


class WindowSampler:
    """Draws the windows of a training step at random places of the training sets.

    What step `n` gets is a function of the seed, `n` and the mixture alone, so that a resumed run goes on with exactly
    the windows of an uninterrupted one.

    Parameters
    ----------
    token_sets : mapping of str to uint16 [tokens]
        Each longer than `window_tokens`.
    window_tokens : int
        Tokens that are predicted; a window holds one more.
    seed : int
    """

    def __init__(self, token_sets: Mapping[str, Tokens], window_tokens: int, seed: int) -> None:
        self._sets = token_sets
        self._offsets = np.arange(window_tokens + 1)
        self._seed = seed

    def batch(self, step: int, shares: Mapping[str, float], sequences: int) -> Batch:
        """The windows of a step: `shares` (adding up to 1) of each set on average, in the order of the sets."""
        random = np.random.default_rng((self._seed, step))
        wanted = np.array([shares[name] for name in self._sets])
        counts = dict(zip(self._sets, random.multinomial(sequences, wanted / wanted.sum()).tolist(), strict=True))
        windows = []
        for name, tokens in self._sets.items():
            starts = random.integers(0, len(tokens) - len(self._offsets) + 1, counts[name])
            windows.append(tokens[starts[:, None] + self._offsets])
        return Batch(np.concatenate(windows).astype(np.int64), counts)


def held_out_windows(tokens: Tokens, window_tokens: int, most: int | None = None) -> Windows:
    """The first `most` (default: all) non-overlapping windows of a held-out set, int64 [windows, window_tokens + 1].

    The last token of a window is only predicted; it is the first of the next window.
    """
    count = (len(tokens) - 1) // window_tokens
    count = count if most is None else min(count, most)
    places = np.arange(count)[:, None] * window_tokens + np.arange(window_tokens + 1)
    windows: Windows = tokens[places].astype(np.int64)
    return windows
