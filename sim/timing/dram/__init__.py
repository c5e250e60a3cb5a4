"""Off-chip memory: what a machine file says of it, and how long transfers hold it.

`Dram` is the description, `Timings` the same in clock cycles. A `MemoryModel` says how long a `Transfer` takes:
`BankModel` walks it through channels and banks, `RamulatorModel` asks Ramulator 2.1 where that is installed, and
`service_cycles_bound` is the law of `BankModel` over arrays. Who shares the memory with whom, and what waits for what,
is the event simulation's; energy is that of `cost_models`.
"""

from sim.timing.dram.banks import BankModel
from sim.timing.dram.closed_form import service_cycles_bound
from sim.timing.dram.description import Dram, TimingArrays, Timings, timing_arrays
from sim.timing.dram.model import MemoryModel, Transfer
from sim.timing.dram.ramulator import RamulatorModel
from sim.timing.dram.technologies import TECHNOLOGIES, Technology, TechnologyName

__all__ = [
    "TECHNOLOGIES",
    "BankModel",
    "Dram",
    "MemoryModel",
    "RamulatorModel",
    "Technology",
    "TechnologyName",
    "TimingArrays",
    "Timings",
    "Transfer",
    "service_cycles_bound",
    "timing_arrays",
]
