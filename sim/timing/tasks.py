"""Tasks: what an instruction costs the machine that executes it, in cycles of its engine and transfers of its memory.

    Program ──front end──► instruction + addresses ──`Costs.task`──► Task ──► event model ──► timeline

The event model sees a program only as tasks, so that a new instruction or array is a new cost there and nothing else.
The closed form has the same laws over arrays (`sim.timing.totals`). What is no matrix product has no instructions;
`sim.timing.streams` writes its tasks directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from isa.front_end import Dispatched
from isa.instructions import EngineInstruction, Lmma, Load, LutGen, Region, Scale, Store, Sync
from isa.instructions.types import WEIGHT_TYPES, Engine, Space
from sim.timing.dram import MemoryModel, Transfer
from sim.timing.machine import Machine
from sim.timing.units import ArrayUnit, LutArray

__all__ = ["BankAccess", "Costs", "Task"]


class BankAccess(NamedTuple):
    """Cycles for which a task needs the port of one bank of a scratchpad."""

    scratchpad: Space
    bank: int
    cycles: int


@dataclass(frozen=True)
class Task:
    """What an engine does once.

    Parameters
    ----------
    engine : str
    name : str
        For people: `load.weight`, `lmma`.
    cycles : int
        For how long it holds its engine, besides the transfer; 1 or more.
    transfer : Transfer or None
        What it moves over the memory channel; the engine is held until the channel has moved it.
    passes_over : int
        How often the channel carries the transfer (2 where memory is read and written).
    latency_cycles : int
        From when the engine is free again to when the result is there and tokens are given.
    accesses : tuple of BankAccess
        Ports that it needs. An array whose banks are filled meanwhile takes as long as their ports need for both.
    wait, signal : frozenset of int
        Token counters.
    """

    engine: Engine
    name: str
    cycles: int
    transfer: Transfer | None = None
    passes_over: int = 1
    latency_cycles: int = 0
    accesses: tuple[BankAccess, ...] = ()
    wait: frozenset[int] = frozenset()
    signal: frozenset[int] = frozenset()

    @property
    def works(self) -> bool:
        """Whether it does anything but take and give tokens."""
        return self.name != Sync.MNEMONIC


@dataclass(frozen=True)
class Costs:
    """What instructions cost on a machine.

    Parameters
    ----------
    machine : Machine
    unit : ArrayUnit
        The array that the program was made for.
    memory : MemoryModel
        For its latency.
    """

    machine: Machine
    unit: ArrayUnit
    memory: MemoryModel

    def task(self, dispatched: Dispatched) -> Task:
        """The task of an engine's instruction; ValueError for instructions of the front end."""
        instruction, at = dispatched.instruction, dispatched.addresses
        if not isinstance(instruction, EngineInstruction):
            raise ValueError(f"{instruction.MNEMONIC} is executed by the front end")
        cycles, transfer, latency, passes_over = self._work(instruction, dispatched)
        regions = (*instruction.reads(at), *instruction.writes(at))
        accesses = [access for region in regions for access in self._accesses(region)]
        return Task(
            instruction.engine,
            name_of(instruction),
            max(1, cycles),
            transfer,
            passes_over,
            latency,
            tuple(accesses),
            instruction.wait,
            instruction.signal,
        )

    def _work(self, instruction: EngineInstruction, dispatched: Dispatched) -> tuple[int, Transfer | None, int, int]:
        """Cycles, transfer, latency, and how often the transfer is carried."""
        match instruction:
            case Load():
                region = instruction.reads(dispatched.addresses)[0]
                return 0, _transfer(region), self.memory.latency_cycles, 1
            case Store() if instruction.space == "memory":
                region = instruction.writes(dispatched.addresses)[0]
                latency = self.machine.buffers.store_pipeline_cycles
                return 0, _transfer(region), latency, 2 if instruction.mode == "accumulate" else 1
            case Store():
                size_bytes = instruction.writes(dispatched.addresses)[0].size_bytes
                latency = self.machine.buffers.store_pipeline_cycles
                return -(-size_bytes // self.machine.buffers.move_bytes), None, latency, 1
            case LutGen():
                rate = self.unit.tables_per_cycle if isinstance(self.unit, LutArray) else 1
                return instruction.rows * -(-instruction.groups // rate), None, self.unit.pipeline_cycles, 1
            case Lmma():
                each = self.unit.pass_cycles(WEIGHT_TYPES[instruction.weight].bits)
                return instruction.passes * each, None, self.unit.pipeline_cycles, 1
            case Scale():
                vector = self.machine.vector
                step = vector.divide_cycles if instruction.rule == "divide" else 1
                steps = instruction.rows * -(-instruction.columns // vector.n)
                return steps * step, None, vector.pipeline_cycles, 1
            case Sync():
                return 0, None, 0, 1
        raise ValueError(f"no cost of {instruction.MNEMONIC} is known")

    def _accesses(self, region: Region) -> list[BankAccess]:
        """Port cycles of a region, by bank; none where ports are as wide as the array needs."""
        width = self.machine.buffers.port_bytes
        if region.space == "memory" or width is None:
            return []
        bank_bytes = max(1, self.machine.scratchpad_bytes(region.space) // self.machine.buffers.banks)
        first, last = region.address // bank_bytes, max(region.address, region.end - 1) // bank_bytes
        # Regions that no scratchpad holds are the interpreter's error; here they are at every bank.
        all_banks = range(self.machine.buffers.banks)
        banks = range(first, last + 1) if last - first < len(all_banks) else all_banks
        cycles = -(-region.size_bytes // (width * len(banks)))
        return [BankAccess(region.space, bank, cycles) for bank in banks]


def name_of(instruction: EngineInstruction) -> str:
    """What a timeline calls an instruction."""
    space = getattr(instruction, "space", None)
    return f"{instruction.MNEMONIC}.{space}" if isinstance(instruction, Load | Store) else instruction.MNEMONIC


def _transfer(region: Region) -> Transfer:
    return Transfer(region.address, region.rows, region.row_bytes, region.pitch_bytes)
