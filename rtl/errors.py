"""Why the unit stopped: the codes that its status register shows. What raises which is said where it is raised."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ErrorCode"]


class ErrorCode(IntEnum):
    """The code of the first error since the start; 0 where there is none."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    """A word that is no instruction, or one that this unit was not built for (its types, its shape)."""
    ILLEGAL_ADDRESS = 2
    """Beyond the end of a scratchpad."""
    MISALIGNED_ADDRESS = 3
    """Weights or tables that do not begin where a line of theirs begins, accumulators that do not where one does."""
    READ_FAILED = 4
    """The memory answered a read with an error."""
    WRITE_FAILED = 5
    """The memory answered a write with an error."""
    TOO_MANY_TOKENS = 6
    """A token counter would have overflown."""
    DEADLOCK = 7
    """No engine works and every engine waits for a token."""
    PROGRAM_TOO_LONG = 8
    """The instruction store does not hold the program."""
    ABORTED = 9
    """The host asked for it."""
