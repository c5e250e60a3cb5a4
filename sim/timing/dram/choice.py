"""Which memory model a machine is simulated with."""

from __future__ import annotations

from sim.timing.dram.banks import BankModel
from sim.timing.dram.description import Dram
from sim.timing.dram.model import MemoryModel
from sim.timing.dram.ramulator import RamulatorModel

__all__ = ["memory_model"]


def memory_model(dram: Dram, clock_ghz: float) -> MemoryModel:
    """The model that a machine file names, in cycles of the machine's clock.

    Raises
    ------
    InputError
        If it is Ramulator, and that is not installed or cannot be this memory.
    """
    return RamulatorModel(dram, clock_ghz) if dram.model == "ramulator" else BankModel(dram, clock_ghz)
