"""From plain text to token files: documents, the tokenizer's training, and encoding.

    text files ──train_tokenizer──► tokenizer.json
    text files ──encode_documents──► NAME.u16 (uint16 little endian, one <|endoftext|> after each document)

A file is one document, or several that are separated by lines holding only <|endoftext|>. Text is tokenized line by
line, so that no token spans a line break. What a training does with the tokens is the subject of
`workloads.training.corpus`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from isa import InputError
from workloads.files import whole_file
from workloads.tokens import STORED_TOKEN

__all__ = [
    "END_OF_TEXT",
    "EncodedText",
    "encode_documents",
    "end_of_text_id",
    "read_documents",
    "read_tokenizer",
    "train_tokenizer",
]

END_OF_TEXT = "<|endoftext|>"

_FEWEST_TOKENS = 257  # the 256 bytes and <|endoftext|>
_MOST_TOKENS = 1 << 16  # what uint16 holds
_LARGEST_TOKENIZER_BYTES = 64 << 20


def _ignore(_: int) -> None:
    """Progress that nobody watches."""


def read_documents(path: Path) -> Iterator[list[str]]:
    """Read a text file document by document, each as its lines.

    Lines keep their line break, except the last of a document; documents without text are skipped.

    Raises
    ------
    InputError
        If the file cannot be read, is not UTF-8, or holds <|endoftext|> inside a line.
    """
    lines: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if line.rstrip("\n") == END_OF_TEXT:
                    yield from _finished(lines)
                    lines = []
                elif END_OF_TEXT in line:
                    raise InputError(path, f"line {number}", line.strip(), f"{END_OF_TEXT} on a line of its own only")
                else:
                    lines.append(line)
    except OSError as error:
        raise InputError(path, "file", error.strerror or str(error), "a readable text file") from None
    except UnicodeDecodeError as error:
        raise InputError(path, "text", str(error), "UTF-8") from None
    yield from _finished(lines)


def _finished(lines: list[str]) -> Iterator[list[str]]:
    if any(line.strip() for line in lines):
        yield [*lines[:-1], lines[-1].removesuffix("\n")]


def train_tokenizer(
    paths: Sequence[Path], vocabulary_size: int, on_bytes: Callable[[int], None] = _ignore
) -> Tokenizer:
    """Train a byte-level BPE tokenizer (every text can be encoded; <|endoftext|> is token 0).

    Parameters
    ----------
    paths : sequence of Path
        Text files, as `read_documents` reads them.
    vocabulary_size : int
        257 (the bytes and <|endoftext|>) to 65,536 (what uint16 holds).
    on_bytes : callable, optional
        Told the number of bytes of text after each document.

    Raises
    ------
    InputError
        If a text cannot be read, the size is out of bounds, or the texts are too small for so many tokens.
    """
    if not _FEWEST_TOKENS <= vocabulary_size <= _MOST_TOKENS:
        expected = f"{_FEWEST_TOKENS} to {_MOST_TOKENS}"
        raise InputError("--vocabulary-size", "vocabulary size", vocabulary_size, expected)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def lines() -> Iterator[str]:
        for path in paths:
            for document in read_documents(path):
                yield from document
                on_bytes(_bytes(document))

    tokenizer.train_from_iterator(lines(), trainer)
    known = tokenizer.get_vocab_size()
    if known != vocabulary_size:
        source = ", ".join(str(path) for path in paths)
        raise InputError(source, "text", f"words for {known} tokens", f"enough text for {vocabulary_size} tokens")
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json` that knows <|endoftext|>; `InputError` if the file is anything else."""
    try:
        size = path.stat().st_size
        if size > _LARGEST_TOKENIZER_BYTES:
            raise InputError(path, "size", f"{size} bytes", f"at most {_LARGEST_TOKENIZER_BYTES} bytes")
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except OSError as error:
        raise InputError(path, "file", error.strerror or str(error), "a readable tokenizer.json") from None
    except Exception as error:  # noqa: BLE001  (the library raises plain Exception for a malformed file)
        raise InputError(path, "tokenizer", str(error), "a tokenizer.json of the tokenizers library") from None
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        raise InputError(path, "tokens", f"no {END_OF_TEXT}", f"a tokenizer with the token {END_OF_TEXT}")
    if tokenizer.get_vocab_size() > _MOST_TOKENS:
        raise InputError(path, "tokens", tokenizer.get_vocab_size(), f"at most {_MOST_TOKENS}, what uint16 holds")
    return tokenizer


def end_of_text_id(tokenizer: Tokenizer) -> int:
    """The id of <|endoftext|> in a tokenizer of `train_tokenizer` or `read_tokenizer`."""
    token_id = tokenizer.token_to_id(END_OF_TEXT)
    if token_id is None:
        raise ValueError(f"the tokenizer has no {END_OF_TEXT}")
    return int(token_id)


@dataclass(frozen=True)
class EncodedText:
    """What a token file holds: numbers of documents, of tokens (one <|endoftext|> a document included) and of bytes."""

    documents: int
    tokens: int
    text_bytes: int


def encode_documents(
    tokenizer: Tokenizer, paths: Sequence[Path], destination: Path, on_bytes: Callable[[int], None] = _ignore
) -> EncodedText:
    """Encode text files into one token file, written whole or not at all.

    Parameters
    ----------
    tokenizer : Tokenizer
        With at most 65,536 tokens, <|endoftext|> among them.
    paths : sequence of Path
        Text files, as `read_documents` reads them.
    destination : Path
        The `.u16` file.
    on_bytes : callable, optional
        Told the number of bytes of text after each document.

    Raises
    ------
    InputError
        If a text cannot be read, there is no text at all, or the destination cannot be written.
    """
    end = end_of_text_id(tokenizer)
    documents = tokens = text_bytes = 0
    with whole_file(destination) as partial, partial.open("wb") as stream:
        for path in paths:
            for lines in read_documents(path):
                ids = [token for line in tokenizer.encode_batch(lines) for token in line.ids]
                np.array([*ids, end], STORED_TOKEN).tofile(stream)
                documents, tokens, text_bytes = documents + 1, tokens + len(ids) + 1, text_bytes + _bytes(lines)
                on_bytes(_bytes(lines))
        if not documents:
            raise InputError(", ".join(str(path) for path in paths), "text", "no documents", "at least one")
    return EncodedText(documents, tokens, text_bytes)


def _bytes(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) for line in lines)
