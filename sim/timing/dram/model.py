"""What every memory model is asked: a two-dimensional transfer, and for how many cycles it holds the memory.

The models themselves stand beside this file: `BankModel` (compact, ours) and `RamulatorModel` (an adapter).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["MemoryModel", "Transfer"]


class Transfer(NamedTuple):
    """A request of a DMA engine: `rows` runs of `row_bytes`, their starts `pitch_bytes` apart.

    Parameters
    ----------
    address : int
        Of the first byte.
    rows, row_bytes : int
        Where either is 0, nothing is transferred.
    pitch_bytes : int
        From the start of a row to the start of the next; rows may touch or overlap. Without meaning for one row.
    """

    address: int
    rows: int
    row_bytes: int
    pitch_bytes: int

    @property
    def size_bytes(self) -> int:
        """Bytes asked for; whole bursts are moved."""
        return self.rows * self.row_bytes


class MemoryModel(Protocol):
    """How long transfers hold a memory."""

    @property
    def latency_cycles(self) -> int:
        """From a request to its first byte, in clock cycles of the machine."""

    def service_cycles(self, transfer: Transfer) -> int:
        """Clock cycles from the first byte of the transfer to its last, alone on all channels."""
