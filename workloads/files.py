"""Files and folders that appear whole or not at all. What is written into them is the caller's business.

Both context managers yield a temporary path beside the final one (the same file system, so that the renaming at the
end is atomic) and remove it if the block raises, an interrupt included.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isa import InputError

__all__ = ["whole_file", "whole_folder"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield an empty file to write to; on success it replaces `path`, otherwise it vanishes.

    The file has the permissions that new files have, whatever the library that writes it makes of them.

    Raises
    ------
    InputError
        If the folder of `path` cannot be made or written to.
    """
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        permissions = partial.stat().st_mode
        yield partial
        partial.chmod(permissions)
        partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def whole_folder(path: Path, kind: str | None = None) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it becomes `path`.

    Parameters
    ----------
    path : Path
        Something new, an empty folder, or an older one of the same kind, which is replaced.
    kind : str, optional
        Name of a file that every folder of this kind holds; without it nothing is ever replaced.

    Raises
    ------
    InputError
        If `path` is anything else, or cannot be written.
    """
    older = kind is not None and (path / kind).is_file()
    if path.exists() and not older and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(path, "folder", "something else that exists", "a new or an empty folder")
    partial = _partial(path)
    aside = partial.with_suffix(".older")
    try:
        partial.mkdir(parents=True)
        yield partial
        if older:
            path.replace(aside)
        partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if aside.exists() and not path.exists():
            aside.replace(path)
        for leftover in (partial, aside):
            shutil.rmtree(leftover, ignore_errors=True)


def _partial(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.getpid()}.partial"


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(path, "output", error.strerror or str(error), "a place that can be written")
