"""How a wrong program is reported: the one exception, with the kind of the fault and the instruction that it was found
at. What counts as a fault is decided where it is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isa import InputError
from isa.disassembler import instruction_text
from isa.instructions import Instruction

__all__ = ["ErrorKind", "Place", "ProgramError", "Violation"]

ErrorKind = Literal[
    "out of bounds",
    "uninitialized read",
    "overlapping write",
    "deadlock",
    "token overflow",
    "shared counter",
    "illegal instruction",
    "too large",
]
"""What is wrong with a program. `overlapping write`: an access of bytes that another engine writes, or a write of bytes
that it reads, in no fixed order. `shared counter`: two engines that signal it, or wait for it, in no fixed order, so
that it is open whose token is taken. `too large`: more work or memory than the limits of whoever runs it."""


@dataclass(frozen=True)
class Place:
    """Where in a program: the position of an instruction, and the iteration of each loop around it from the outermost
    to the innermost, from 0."""

    position: int
    instruction: Instruction
    iterations: tuple[int, ...] = ()

    def __str__(self) -> str:
        """`instruction 7 (sync.load wait={1}), iteration 0.3`."""
        shown = f"instruction {self.position} ({instruction_text(self.instruction)})"
        return f"{shown}, iteration {'.'.join(map(str, self.iterations))}" if self.iterations else shown


class ProgramError(InputError):
    """A program that cannot be executed, or whose result would depend on timing.

    Parameters
    ----------
    source : str
        The program's file or name.
    kind : ErrorKind
    place : Place or None
        The instruction; None where the program as a whole is meant.
    found, expected : object
    """

    def __init__(self, source: str, kind: ErrorKind, place: Place | None, found: object, expected: object) -> None:
        self.kind, self.place = kind, place
        super().__init__(source, kind if place is None else f"{kind} at {place}", found, expected)

    def __reduce__(self) -> tuple[type[ProgramError], tuple[str, ErrorKind, Place | None, object, object]]:  # type: ignore[override]
        """Survive the way back from a worker process."""
        return type(self), (self.source, self.kind, self.place, self.found, self.expected)


class Violation(Exception):  # noqa: N818 - never leaves the interpreter, which adds the place to it
    """A rule that the instruction in execution breaks."""

    def __init__(self, kind: ErrorKind, found: str, expected: str) -> None:
        super().__init__(kind, found, expected)
        self.kind, self.found, self.expected = kind, found, expected
