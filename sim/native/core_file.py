"""Writes the file of a core: TOML, an instruction in each line. `sim.timing.cpu.core` reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sim.timing.cpu.core import Core

__all__ = ["core_text"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def core_text(core: Core) -> str:
    """The contents of a core's file, without the fields that have their default value.

    Examples
    --------
    >>> from sim.timing.cpu.core import load_core
    >>> core_text(load_core("zen4")).splitlines()[0]
    'name = "zen4"'
    """
    document = core.model_dump(exclude_defaults=True)
    tables = {key: value for key, value in document.items() if isinstance(value, Mapping) or _is_tables(value)}
    lines = [_line(key, value) for key, value in document.items() if key not in tables]
    for key, value in tables.items():
        for table in [value] if isinstance(value, Mapping) else value:
            lines += ["", f"[{key}]" if isinstance(value, Mapping) else f"[[{key}]]"]
            lines += [_line(field, inner) for field, inner in table.items()]
    return "\n".join(lines) + "\n"


def _is_tables(value: object) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, Mapping) for item in value)
    )


def _line(key: str, value: Any) -> str:
    return f"{key if _BARE_KEY.fullmatch(key) else _string(key)} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_line(key, inner) for key, inner in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for the one control character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
