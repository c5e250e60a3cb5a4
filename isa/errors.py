"""The one error that readers of outside data raise: it names source, field, what was found and what was expected."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

__all__ = ["InputError"]


class InputError(ValueError):
    """Input from outside (file, command line, configuration) that cannot be used.

    Parameters
    ----------
    source : str or Path
        The file or command-line option that was read.
    field : str
        The place inside the source: a key, a tensor name, a column.
    found, expected : object
        What stood there, and what would have been right. Long values are shortened in the message.
    """

    def __init__(self, source: str | Path, field: str, found: object, expected: object) -> None:
        self.source, self.field, self.found, self.expected = str(source), field, found, expected
        super().__init__(f"{source}: {field}: found {_shorten(found)}, expected {_shorten(expected, 400)}")

    @classmethod
    def first_of(cls, source: str | Path, problems: Sequence[Mapping[str, Any]]) -> Self:
        """The first problem of a pydantic validation (`ValidationError.errors()`), and how many more there are."""
        first = problems[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        found = "nothing" if first["type"] == "missing" else first["input"]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        expected = "no field of that name" if first["type"] == "extra_forbidden" else first["msg"]
        return cls(source, field, found, expected + more)

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, object, object]]:
        """Survive the way back from a worker process, which pickles exceptions by their arguments."""
        return type(self), (self.source, self.field, self.found, self.expected)


def _shorten(value: object, limit: int = 160) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 1] + "…"
