"""Loss of a model on a token file, in windows that are each predicted from their own context only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import InputError
from sim.functional.model import GoldenModel

__all__ = ["Perplexity", "measure_perplexity"]


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
    model: GoldenModel,
    token_ids: NDArray[np.integer[Any]],
    window: int,
    progress: Callable[[int], object] = lambda _: None,
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
