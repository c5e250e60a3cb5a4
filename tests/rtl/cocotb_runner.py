"""Runs a cocotb testbench on an Amaranth component: Verilog, simulation, verdict. Testbenches are modules beside this one.

The simulation is built once for one Verilog text, and Verilator's own runtime, most of the work for a small unit, once
for all. A testbench sees the ports of the component and nothing inside it. What a testbench needs to know of the
component comes as `parameters`, read there with `stream_agents.parameters()`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from shutil import copy
from subprocess import PIPE, STDOUT, run
from tempfile import TemporaryDirectory
from typing import Any, Literal
from xml.etree import ElementTree

import cocotb_tools.config
import pytest
from amaranth.back import verilog
from amaranth.lib import wiring
from cocotb_tools.runner import get_runner

from rtl.toolchain import cached_folder, content_key, verilator_environment

__all__ = ["run_cocotb"]

_TOP = "top"
_LIBRARIES = cocotb_tools.config.libs_dir
_MAIN = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
_RUNTIME = ("verilated", "verilated_cov", "verilated_dpi", "verilated_vpi", "verilated_threads")
_FLAGS = (
    *("--cc", "--exe", "--vpi", "--public-depth", "1", "--prefix", "Vtop", "--top-module", _TOP, "-o", _TOP),
    *("--timescale", "1ns/1ps", "-Wno-lint", "-Wno-style", "--output-split", "20000"),
    *("-LDFLAGS", f"-Wl,-rpath,{_LIBRARIES} -L{_LIBRARIES} -lcocotbvpi_verilator"),
)
_COVERAGE_FLAGS = ("--coverage-line", "--coverage-toggle")
_SPEED = "OPT_FAST=-O1", "OPT_GLOBAL=-O1", "OPT_SLOW=-O0"

# Warnings are errors inside the simulator too, but for those of these modules, whose new names cocotb 2 wants.
_OLD_STYLE = ("cocotbext.axi.axi_channels", "cocotbext.axi.stream", "cocotbext.axi.reset", "cocotb_bus.bus")


def run_cocotb(
    component: wiring.Component,
    bench: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    tests: str = "",
    seed: int = 1,
    simulator: Literal["verilator", "icarus"] = "verilator",
    coverage: Path | None = None,
) -> list[str]:
    """Run the cocotb tests of a module on a component; pytest's test fails if one of them does, or if there is none.

    Parameters
    ----------
    component : wiring.Component
        What is tested; its module is called `top`.
    bench : str
        Name of the module with the `@cocotb.test()` functions.
    parameters : mapping, optional
        What the testbench is told; anything that JSON can hold.
    tests : str
        A regular expression for the names of the tests to run; all by default.
    seed : int
        Seed of Python's random numbers in the testbench.
    simulator : {"verilator", "icarus"}
    coverage : Path, optional
        Where Verilator's counts of lines and toggles are written (`coverage.read_coverage`).

    Returns
    -------
    list of str
        The tests that passed.
    """
    text = verilog.convert(component, name=_TOP, emit_src=False, strip_internal_attrs=True)
    with TemporaryDirectory(prefix="bitloom-cocotb-") as name:
        work = Path(name)
        if simulator == "verilator":
            build = _verilated(text, _COVERAGE_FLAGS if coverage else ())
        else:
            build = _interpreted(text, work)
        environment = {
            "BENCH_PARAMETERS": json.dumps(parameters or {}),
            "COCOTB_ANSI_OUTPUT": "0",
            "PYTHONWARNINGS": ",".join(["error", *(f"ignore::DeprecationWarning:{name}" for name in _OLD_STYLE)]),
        }
        passed, failed, log = _simulate(simulator, build, bench, work, environment, tests, seed)
        if failed or not passed:
            pytest.fail(f"{bench}: {', '.join(failed) or 'no test ran'}\n{log}", pytrace=False)
        if coverage:
            copy(work / "coverage.dat", coverage)
        return passed


def _simulate(
    simulator: str, build: Path, bench: str, work: Path, environment: Mapping[str, str], tests: str, seed: int
) -> tuple[list[str], list[str], str]:
    """Names of the tests that passed, of those that failed, and the simulator's output."""
    results, log = work / "results.xml", work / "log.txt"
    try:
        get_runner(simulator).test(
            *(bench, _TOP),
            hdl_toplevel_lang="verilog",
            build_dir=build,
            test_dir=work,
            results_xml=str(results),
            log_file=log,
            extra_env=environment,
            test_filter=tests or None,
            seed=seed,
        )
    except SystemExit:  # how the runner says that a test failed; which ones is in the results
        pass
    cases = list(ElementTree.parse(results).iter("testcase")) if results.is_file() else []
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    passed = [case for case in cases if case not in failed and case.find("skipped") is None]
    return [case.attrib["name"] for case in passed], [case.attrib["name"] for case in failed], log.read_text()


def _interpreted(text: str, work: Path) -> Path:
    (work / "top.v").write_text(text)
    runner = get_runner("icarus")
    runner.build(
        sources=[work / "top.v"],
        hdl_toplevel=_TOP,
        build_dir=work / "build",
        timescale=("1ns", "1ps"),
        log_file=work / "build.txt",
    )
    return work / "build"


def _verilated(text: str, more: tuple[str, ...]) -> Path:
    """The folder of a simulation of this Verilog."""
    key = content_key(text, *_FLAGS, *more, *_SPEED, _MAIN)
    return cached_folder(f"cocotb-{key}", partial(_build, text, more))


def _build(text: str, more: tuple[str, ...], folder: Path) -> None:
    runtime = cached_folder(f"cocotb-runtime-{content_key(*_FLAGS, *more, *_SPEED)}", partial(_compile_runtime, more))
    with TemporaryDirectory(prefix="bitloom-build-") as name:
        work = Path(name)
        _verilate(text, more, work)
        for compiled in runtime.iterdir():
            copy(compiled, work)
        _run("make", "-j2", "-C", name, "-f", "Vtop.mk", *_SPEED)
        copy(work / _TOP, folder)


def _compile_runtime(more: tuple[str, ...], folder: Path) -> None:
    """What every simulation is linked with, compiled beside the smallest design."""
    with TemporaryDirectory(prefix="bitloom-build-") as name:
        work = Path(name)
        _verilate(f"module {_TOP}(input clk); endmodule", more, work)
        parts = [f"{part}.o" for part in _RUNTIME if part in (work / "Vtop_classes.mk").read_text()]
        _run("make", "-j2", "-C", name, "-f", "Vtop.mk", *_SPEED, *parts)
        for part in parts:
            copy(work / part, folder)


def _verilate(text: str, more: tuple[str, ...], work: Path) -> None:
    source = work / "top.v"
    source.write_text(text)
    _run("verilator", *_FLAGS, *more, "--Mdir", str(work), str(_MAIN), str(source))


def _run(*command: str) -> None:
    done = run(command, env=verilator_environment(), stdout=PIPE, stderr=STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
