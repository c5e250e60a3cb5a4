"""Finding the tools, lint, and simulations as libraries that are built once."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import verilog

from isa import InputError
from rtl.simulation import build_library, cached_folder
from rtl.streams import StreamQueue
from rtl.toolchain import lint, require_amaranth, verilator_environment

ADDER = "module adder(input [7:0] a, input [7:0] b, output [7:0] sum); assign sum = a + b; endmodule\n"
DRIVER = """#include "Vtop.h"
extern "C" int add(int a, int b) { Vtop top; top.a = a; top.b = b; top.eval(); return top.sum; }
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, in a folder whose name make could not build in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    return tmp_path / "a cache" / "bitloom"


def _hide_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtl.toolchain.find_spec", lambda _name: None)


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def test_missing_amaranth_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_amaranth()
    _hide_modules(monkeypatch)
    with pytest.raises(InputError, match=re.escape("pip install 'bitloom[rtl]'")):
        require_amaranth()


def test_missing_compiler_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"g\+\+"):
        verilator_environment()


def test_rtl_package_needs_no_amaranth() -> None:
    program = "import sys; sys.modules['amaranth'] = None; import rtl, rtl.simulation"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("says", "fits"), [("Verilator 5.036 2025", True), ("Verilator 5.006 2023", False), ("?", False)]
)
def test_verilator_of_the_system_serves_if_it_is_new_enough(
    says: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hide_modules(monkeypatch)
    _program(tmp_path / "verilator", f"echo '{says}'")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if fits:
        assert verilator_environment()["PATH"].startswith(str(tmp_path))
    else:
        with pytest.raises(InputError, match=r"5\.036 or newer"):
            verilator_environment()


def test_verilog_of_a_component_is_free_of_lint(tmp_path: Path) -> None:
    source = tmp_path / "stream_queue.v"
    source.write_text(verilog.convert(StreamQueue(8, depth=3), name="stream_queue"))
    assert lint([source], "stream_queue") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("module top(input [7:0] a, output [3:0] b); assign b = a; endmodule\n", "%Warning-WIDTHTRUNC"),
        ("module top(input a, output b); assign b = ; endmodule\n", "%Error"),
        ("module other; endmodule\n", "%Error"),
    ],
)
def test_lint_finds(text: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / "top.v"
    source.write_text(text)
    assert any(found.startswith(message) for found in lint([source], "top"))


def test_library_computes_what_the_verilog_says_and_is_built_once(tmp_path: Path, cache: Path) -> None:
    source, driver = tmp_path / "adder.v", tmp_path / "driver.cpp"
    source.write_text(ADDER)
    driver.write_text(DRIVER)
    path = build_library([source], "adder", driver)
    library = ctypes.CDLL(str(path))
    assert [library.add(a, b) for a, b in [(1, 2), (200, 100)]] == [3, 44]
    built = path.stat().st_mtime_ns
    assert build_library([source], "adder", driver) == path
    assert path.stat().st_mtime_ns == built
    driver.write_text(DRIVER + "this is no C++")
    with pytest.raises(RuntimeError, match="this is no C"):
        build_library([source], "adder", driver)
    assert [entry for entry in cache.glob("simulation-*") if entry.is_dir()] == [path.parent]


@pytest.mark.usefixtures("cache")
def test_a_folder_that_processes_want_at_once_is_filled_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = (
        "import sys, time, pathlib; from rtl.simulation import cached_folder\n"
        "def fill(folder):\n"
        f"    with open({str(log)!r}, 'a') as log: log.write('filled\\n')\n"
        "    time.sleep(0.5); (folder / 'whole').touch()\n"
        "assert (cached_folder('shared', fill) / 'whole').exists()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert log.read_text() == "filled\n"


def test_a_folder_whose_filling_fails_is_not_kept(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        cached_folder("broken", fail)
    assert not (cache / "broken").exists()
    assert cached_folder("broken", lambda folder: (folder / "whole").touch()).is_dir()


def test_an_unwritable_cache_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cache folder"):
        cached_folder("any", lambda _folder: None)
