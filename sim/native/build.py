"""Compiles a C file of this folder into a shared library and loads it.

What is built lies in the user's cache folder, named by everything that it is made of: the file, the header that all
share, the options, the compiler's version. Options name the instructions that a file needs and nothing else, so that
a library is the same whatever processor it was built on.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import subprocess
from functools import cache
from pathlib import Path
from shutil import which

from isa import InputError

__all__ = ["library_of"]

_FOLDER = Path(__file__).parent
_HEADER = _FOLDER / "product.h"
_COMPILERS = ("cc", "gcc", "clang")
_OPTIONS = ("-std=c11", "-O3", "-fPIC", "-shared")
_LIBRARY = "library.so"


@cache
def library_of(source: str, features: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The functions of a C file, compiled if they are not in the cache.

    Parameters
    ----------
    source : str
        Name of the file in this folder, without its suffix.
    features : tuple of str
        Flags of /proc/cpuinfo whose instructions it uses.

    Raises
    ------
    InputError
        If there is no compiler, or the cache folder cannot be written, or what lies there cannot be loaded.
    RuntimeError
        If the compiler refuses; the message holds what it said.
    """
    from rtl.simulation import cached_folder  # needs file locks, which not every system has

    path = _FOLDER / f"{source}.c"
    compiler = _compiler()
    options = (*_OPTIONS, *(f"-m{feature.replace('_', '')}" for feature in features))
    parts = (_said_by(compiler, "--version"), platform.machine(), *options, _HEADER.read_text(), path.read_text())

    def fill(folder: Path) -> None:
        _said_by(compiler, *options, "-I", str(_FOLDER), str(path), "-o", str(folder / _LIBRARY))

    library = cached_folder(f"native-{source}-{_key(parts)}", fill) / _LIBRARY
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise InputError(library, "library", str(error), "what was compiled here; delete its folder") from error


def _compiler() -> str:
    found = next((path for name in _COMPILERS if (path := which(name))), None)
    if found is None:
        raise InputError(
            "PATH", "C compiler", "nothing", f"one of {', '.join(_COMPILERS)}; install gcc or clang (Debian: gcc)"
        )
    return found


def _said_by(*command: str) -> str:
    done = subprocess.run(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, errors="replace"
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def _key(parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()[:32]
