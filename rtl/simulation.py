"""Verilator's simulations, built once: a Verilog design and the C++ that drives it, as a program or a shared library.

What is built lies in the user's cache folder, named by everything that it is made of. Verilator's own runtime, most of
the work for a small design, is compiled once for all designs. The drivers and the Python side of them live elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory

from isa import InputError
from rtl.toolchain import run_tool, tool_versions
from workloads.files import whole_folder

__all__ = ["LIBRARY", "SimulationKind", "build_library", "build_simulation", "cached_folder"]

_BASE_OPTIONS = ("--cc", "--exe", "--prefix", "Vtop", "-o", "simulation", "-Wno-lint", "-Wno-style", "-Wno-fatal")


@dataclass(frozen=True)
class SimulationKind:
    """How simulations are built.

    Parameters
    ----------
    options : tuple of str
        For Verilator.
    variables : tuple of str
        For its makefile: compiler flags of code that runs often, of the runtime and of code that runs once.
    """

    options: tuple[str, ...]
    variables: tuple[str, ...]


# Nothing is traced and unknown values are zero: as fast as can be.
LIBRARY = SimulationKind(
    options=(
        *("--no-timing", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--output-split", "20000"),
        *("-CFLAGS", "-fPIC", "-LDFLAGS", "-shared -s"),
    ),
    variables=("OPT_FAST=-O3", "OPT_GLOBAL=-O3", "OPT_SLOW=-O1"),
)


def build_library(sources: Sequence[Path], top: str, driver: Path) -> Path:
    """A shared library of a Verilog design and the C++ file that drives it.

    The driver includes `Vtop.h`, whatever the name of the top module; the model's class is `Vtop`, and a port's `__`
    reads `___05F` in it.

    Parameters
    ----------
    sources : sequence of Path
        Verilog files.
    top : str
        Name of the top module.
    driver : Path
        One C++ file, whose `extern "C"` functions the library offers.

    Returns
    -------
    Path
        The library in the user's cache folder, built if it was not there.

    Raises
    ------
    InputError
        If a tool is missing or the cache folder cannot be written.
    RuntimeError
        If Verilator or the compiler refuses; the message holds what it said.
    """
    return build_simulation(sources, top, driver, LIBRARY)


def build_simulation(sources: Sequence[Path], top: str, driver: Path, kind: SimulationKind) -> Path:
    """What `kind` makes of a design and its driver; otherwise as `build_library`."""

    def fill(folder: Path) -> None:
        runtime = _runtime(kind)
        # Where the cache lies may have a space in its path, with which make cannot build.
        with TemporaryDirectory(prefix="bitloom-build-") as work:
            _verilate([*sources, driver], top, kind, work)
            for compiled in runtime.iterdir():
                copy(compiled, work)
            _make(kind, work)
            copy(Path(work) / "simulation", folder)

    return cached_folder(f"simulation-{_key(kind, top, *sources, driver)}", fill) / "simulation"


def cached_folder(name: str, fill: Callable[[Path], None]) -> Path:
    """A folder of the user's cache, filled at the first call; a second process waits until the first has filled it.

    Parameters
    ----------
    name : str
        What the contents depend on, as a hash.
    fill : function
        Gets an empty folder and fills it. If it raises, nothing is kept.

    Raises
    ------
    InputError
        If the cache folder cannot be written.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitloom"
    path = root / name
    if path.is_dir():
        return path
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f"{name}.lock").open("w")
    except OSError as error:
        raise InputError(root, "cache folder", error.strerror or str(error), "a place that can be written") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_dir():
            with whole_folder(path) as partial:
                fill(partial)
    return path


def _runtime(kind: SimulationKind) -> Path:
    """The object files that every simulation of a kind is linked with, compiled beside the smallest design."""

    def fill(folder: Path) -> None:
        with TemporaryDirectory(prefix="bitloom-build-") as work:
            source = Path(work) / "smallest.v"
            source.write_text("module smallest(input clk); endmodule\n")
            _verilate([source], "smallest", kind, work)
            classes = (Path(work) / "Vtop_classes.mk").read_text().split()
            objects = [f"{word}.o" for word in classes if word.startswith("verilated")]
            _make(kind, work, *objects)
            for compiled in objects:
                copy(Path(work) / compiled, folder)

    return cached_folder(f"runtime-{_key(kind)}", fill)


def _verilate(files: Sequence[Path], top: str, kind: SimulationKind, work: str) -> None:
    paths = [str(path.resolve()) for path in files]
    run_tool("verilator", *_BASE_OPTIONS, *kind.options, "--top-module", top, "--Mdir", work, *paths)


def _make(kind: SimulationKind, work: str, *targets: str) -> None:
    run_tool("make", "-j2", "-C", work, "-f", "Vtop.mk", *kind.variables, *targets)


def _key(kind: SimulationKind, *parts: str | Path) -> str:
    """A name for what is made of these texts and files by this machine's tools."""
    digest = hashlib.sha256()
    for part in (tool_versions(), *_BASE_OPTIONS, *kind.options, *kind.variables, *parts):
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()[:32]
