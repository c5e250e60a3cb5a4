"""Runs a cocotb testbench on an Amaranth component: Verilog, simulation, verdict. Testbenches are modules beside it.

The simulation is built once for one Verilog text (`rtl.simulation`). A testbench sees the ports of the component and
nothing inside it. What it needs to know of the component comes as `parameters`, read there with
`stream_agents.parameters()`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from pkgutil import iter_modules
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any, Literal
from unittest.mock import patch
from xml.etree import ElementTree

import cocotb_tools.config
import cocotbext.axi
import pytest
from amaranth.back import verilog
from amaranth.lib import wiring
from cocotb_tools.runner import get_runner

from rtl.simulation import SimulationKind, build_simulation

__all__ = ["run_cocotb"]

_TOP = "top"
_LIBRARIES = cocotb_tools.config.libs_dir
_MAIN = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"

# Built fast rather than fast to run: a testbench in Python is slower than any simulation.
_PLAIN = SimulationKind(
    options=(
        *("--vpi", "--public-depth", "1", "--timescale", "1ns/1ps", "--output-split", "20000"),
        *("-LDFLAGS", f"-Wl,-rpath,{_LIBRARIES} -L{_LIBRARIES} -lcocotbvpi_verilator"),
    ),
    variables=("OPT_FAST=-O1", "OPT_GLOBAL=-O1", "OPT_SLOW=-O0"),
)
_COUNTING = replace(_PLAIN, options=(*_PLAIN.options, "--coverage-line", "--coverage-toggle"))

# Warnings are errors inside the simulator too, but for these: cocotbext-axi still calls what cocotb 2 has renamed.
_OLD_STYLE = [f"ignore::DeprecationWarning:cocotbext.axi.{part.name}" for part in iter_modules(cocotbext.axi.__path__)]
_WARNINGS = ",".join(["error", *_OLD_STYLE])


def run_cocotb(
    component: wiring.Component,
    bench: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    tests: str = "",
    seed: int = 1,
    simulator: Literal["verilator", "icarus"] = "verilator",
    coverage: Path | None = None,
    limit_seconds: int = 300,
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
        Where Verilator's counts of lines, branches and toggles are written (`verilator_coverage.read_coverage`).
    limit_seconds : int
        The simulation is ended, and so fails, after this time.

    Returns
    -------
    list of str
        The tests that passed.
    """
    text = verilog.convert(component, name=_TOP, emit_src=False, strip_internal_attrs=True)
    with TemporaryDirectory(prefix="bitloom-cocotb-") as name:
        work = Path(name)
        source = work / "top.v"
        source.write_text(text)
        build = work / "build"
        if simulator == "verilator":
            build.mkdir()
            kind = _COUNTING if coverage else _PLAIN
            (build / _TOP).symlink_to(build_simulation([source], _TOP, _MAIN, kind))
        else:
            get_runner(simulator).build(
                sources=[source],
                hdl_toplevel=_TOP,
                build_dir=build,
                timescale=("1ns", "1ps"),
                # Processes of later versions of the language do not begin at time zero.
                build_args=["-g2005"],
                log_file=work / "build.txt",
            )
        environment = {
            "BENCH_PARAMETERS": json.dumps(parameters or {}),
            "COCOTB_ANSI_OUTPUT": "0",
            "PYTHONWARNINGS": _WARNINGS,
        }
        passed, failed, log = _simulate(
            simulator, bench, work, limit_seconds, extra_env=environment, test_filter=tests or None, seed=seed
        )
        if failed or not passed:
            pytest.fail(f"{bench}: {', '.join(failed) or 'no test ran'}\n{log}", pytrace=False)
        if coverage:
            copy(work / "coverage.dat", coverage)
        return passed


def _simulate(
    simulator: str, bench: str, work: Path, limit_seconds: int, **options: Any
) -> tuple[list[str], list[str], str]:
    """Names of the tests that passed, of those that failed, and the simulator's output."""
    results, log = work / "results.xml", work / "log.txt"
    places = {"build_dir": work / "build", "test_dir": work, "results_xml": str(results), "log_file": log}
    # The runner leaves by an exit where a test failed, and by an error where the simulator did; the files tell more.
    with patch.dict(os.environ, SIM_CMD_PREFIX=f"timeout {limit_seconds}"), suppress(SystemExit, RuntimeError):
        get_runner(simulator).test(bench, _TOP, hdl_toplevel_lang="verilog", **places, **options)
    cases = list(ElementTree.parse(results).iter("testcase")) if results.is_file() else []  # noqa: S314 - cocotb's
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    passed = [case for case in cases if case not in failed and case.find("skipped") is None]
    return [case.attrib["name"] for case in passed], [case.attrib["name"] for case in failed], log.read_text()
