"""Lines of assembly as tokens that know their columns; what they mean is the subject of `isa.assembler`.

    word = word , word = { ... }   # comment

A word is anything without blanks and the signs `, = { } " #`; a string stands in double quotes, with the escapes of
JSON; a set of counters in braces is one token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from isa.errors import InputError

__all__ = ["LONGEST_LINE", "MOST_LINES", "Line", "Pair", "Token", "lines_of"]

MOST_LINES = 1 << 19
LONGEST_LINE = 1 << 12
"""Characters."""

_TOKEN = re.compile(
    r"(?P<blank>[ \t]+|#.*)"
    r'|(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<set>\{[^{}]*\})"
    r'|(?P<word>[^\s,={}"#]+)'
    r"|(?P<sign>[,=])"
)


@dataclass(frozen=True)
class Token:
    """A piece of a line; `kind` is string, set, word or sign, `column` counts characters from 1."""

    kind: str
    text: str
    column: int


@dataclass(frozen=True)
class Pair:
    """`name=value`."""

    name: Token
    value: Token


@dataclass(frozen=True)
class Line:
    """A line that says something.

    Parameters
    ----------
    source : str
        What is read, for messages.
    number : int
        Counted from 1.
    tokens : tuple of Token
        At least one.
    """

    source: str
    number: int
    tokens: tuple[Token, ...]

    @property
    def end(self) -> int:
        """The column behind the last token."""
        return self.tokens[-1].column + len(self.tokens[-1].text)

    def error(self, column: int, found: object, expected: object) -> InputError:
        """The error that names this line."""
        return InputError(self.source, f"line {self.number}, column {column}", found, expected)

    def pairs(self, separator: str) -> dict[str, Pair]:
        """What stands behind the first token: `name=value`, separated by a sign, or by blanks if it is empty.

        Raises
        ------
        InputError
            If something else stands there, or a name twice.
        """
        found: dict[str, Pair] = {}
        position = 1
        while position < len(self.tokens):
            if separator and found:
                self._take(position, ("sign",), f"{separator!r} or the end of the line", separator)
                position += 1
            name = self._take(position, ("word",), "name=value")
            self._take(position + 1, ("sign",), f"'=' behind {name.text}", "=")
            value = self._take(position + 2, ("word", "string", "set"), f"the value of {name.text}")
            if name.text in found:
                raise self.error(name.column, f"{name.text} again", "every name once")
            found[name.text] = Pair(name, value)
            position += 3
        return found

    def _take(self, position: int, kinds: tuple[str, ...], expected: str, text: str | None = None) -> Token:
        if position >= len(self.tokens):
            raise self.error(self.end, "the end of the line", expected)
        token = self.tokens[position]
        if token.kind not in kinds or (text is not None and token.text != text):
            raise self.error(token.column, token.text, expected)
        return token


def lines_of(text: str, source: str) -> Iterator[Line]:
    """The lines of a text that are not empty.

    Raises
    ------
    InputError
        At the first sign that begins no token, and where a line is too long or one too many.
    """
    start, number = 0, 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        number += 1
        if number > MOST_LINES:
            raise InputError(
                source, f"line {number}, column 1", f"more than {MOST_LINES} lines", f"at most {MOST_LINES}"
            )
        if end - start > LONGEST_LINE:
            place, found = f"line {number}, column {LONGEST_LINE + 1}", f"{end - start} characters"
            raise InputError(source, place, found, f"the end of the line: it has at most {LONGEST_LINE}")
        tokens = tuple(_tokens(text[start:end].removesuffix("\r"), number, source))
        if tokens:
            yield Line(source, number, tokens)
        start = end + 1


def _tokens(content: str, number: int, source: str) -> Iterator[Token]:
    position = 0
    while position < len(content):
        match = _TOKEN.match(content, position)
        if match is None:
            expected = {'"': "a closing quote", "{": "a closing brace"}.get(content[position], "a word, '=' or ','")
            raise InputError(source, f"line {number}, column {position + 1}", content[position:], expected)
        kind = match.lastgroup or ""
        if kind != "blank":
            yield Token(kind, match.group(), position + 1)
        position = match.end()
