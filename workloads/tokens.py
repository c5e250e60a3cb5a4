"""Reads token files: little-endian 16-bit ids, plain (`.u16`) or compressed (`.u16.xz`).

`workloads.training.data` writes them; training and perplexity read them.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa import InputError

__all__ = ["STORED_TOKEN", "Tokens", "read_tokens"]

Tokens = NDArray[np.uint16]

STORED_TOKEN = np.dtype("<u2")

# Tokens of text compress two- to fourfold. A file that grows beyond this is damaged or hostile.
_MOST_EXPANSION = 100
_ALWAYS_ALLOWED_BYTES = 16 << 20


def read_tokens(path: Path, vocabulary_size: int) -> Tokens:
    """Read a token file, `.u16` (mapped, not loaded) or `.u16.xz`, as uint16 [tokens].

    Raises
    ------
    InputError
        If the file cannot be read or decompressed, has an odd length, is empty, or holds an id outside the vocabulary.
    """
    try:
        size = path.stat().st_size
        tokens = _decompressed(path, size) if path.suffix == ".xz" else _mapped(path, size)
    except OSError as error:
        raise InputError(path, "file", error.strerror or str(error), "a readable token file") from None
    largest = int(tokens.max())
    if largest >= vocabulary_size:
        raise InputError(path, "token ids", f"id {largest}", f"ids below the vocabulary size {vocabulary_size}")
    return tokens


def _mapped(path: Path, size: int) -> Tokens:
    _check_length(path, size)
    return np.memmap(path, dtype=STORED_TOKEN, mode="r")


def _decompressed(path: Path, size: int) -> Tokens:
    most = max(_ALWAYS_ALLOWED_BYTES, _MOST_EXPANSION * size)
    try:
        with lzma.open(path) as stream:
            content = stream.read(most + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise InputError(path, "xz", str(error), "a whole xz file") from None
    if len(content) > most:
        raise InputError(path, "xz", f"more than {most} bytes when decompressed", "the tokens of a text")
    _check_length(path, len(content))
    return np.frombuffer(content, STORED_TOKEN)


def _check_length(path: Path, size: int) -> None:
    if size == 0 or size % 2:
        raise InputError(path, "length", f"{size} bytes", "an even number of bytes above 0, two a token")
