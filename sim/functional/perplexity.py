"""Loss of a model on a token file, in windows that are each predicted from their own context only."""

from __future__ import annotations

import lzma
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa import InputError
from sim.functional.model import GoldenModel

__all__ = ["Perplexity", "measure_perplexity", "read_tokens"]

# Two bytes a token: 2 GiB of them is more than any evaluation set, and what a small .xz file may unpack to at most.
_LARGEST_TOKENS = 1 << 30


@dataclass(frozen=True)
class Perplexity:
    """Mean loss over all predicted tokens."""

    nats_per_token: float
    tokens: int
    seconds: float
    argmax_ids: NDArray[np.int64]

    @property
    def perplexity(self) -> float:
        """e to the mean loss."""
        return float(np.exp(self.nats_per_token))

    @property
    def tokens_per_second(self) -> float:
        """Predicted tokens per second."""
        return self.tokens / self.seconds


def measure_perplexity(
    model: GoldenModel, token_ids: NDArray[np.int64], window: int, progress: Callable[[int], object] = lambda _: None
) -> Perplexity:
    """Loss over non-overlapping windows: inputs [i·window, (i+1)·window), targets one further.

    Parameters
    ----------
    model : GoldenModel
    token_ids : int [tokens], at least 2
    window : int
        Tokens of context at most, up to the model's own context.
    progress : called with the number of tokens predicted after each window
    """
    context = model.architecture.context_tokens
    if not 1 <= window <= context:
        raise InputError("command line", "--windows", window, f"1 to {context}, the model's context")
    if len(token_ids) < 2:
        raise InputError("tokens", "length", f"{len(token_ids)} tokens", "at least 2")
    started, losses, best = time.perf_counter(), [], []
    for start in range(0, len(token_ids) - 1, window):
        targets = token_ids[start + 1 : start + window + 1]
        logits = model.logits(token_ids[start : start + len(targets)])
        shifted = logits - logits.max(axis=-1, keepdims=True)
        normalizer = np.log(np.exp(shifted).sum(axis=-1, dtype=np.float64))
        losses.append(normalizer - shifted[np.arange(len(targets)), targets])
        best.append(logits.argmax(axis=-1))
        progress(len(targets))
    loss = np.concatenate(losses)
    return Perplexity(float(loss.mean()), len(loss), time.perf_counter() - started, np.concatenate(best))


def read_tokens(path: Path, vocabulary_size: int) -> NDArray[np.int64]:
    """Token ids of a file of little-endian 16-bit integers (`.u16`), or of such a file compressed (`.u16.xz`).

    Raises
    ------
    InputError
        If the file cannot be read, has an odd length, is too large, or holds an id outside the vocabulary.
    """
    limit = 2 * _LARGEST_TOKENS
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise InputError(path, "file", str(error), "a readable .u16 or .u16.xz file") from None
    if len(data) > limit or len(data) % 2:
        raise InputError(path, "length", f"{len(data)} bytes", f"an even number of bytes, at most {limit}")
    ids = np.frombuffer(data, "<u2").astype(np.int64)
    if len(ids) and ids.max() >= vocabulary_size:
        raise InputError(path, "token id", int(ids.max()), f"0 to {vocabulary_size - 1}, the model's vocabulary")
    return ids
