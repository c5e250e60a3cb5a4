"""What an operation did: bytes at each memory level and actions of each component, and the energy that they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from isa import InputError
from isa.instructions import ANYWHERE, EngineInstruction, Lmma, Load, LutGen, Scale, Store
from isa.instructions.base import Region
from isa.program import Program
from sim.timing.machine import Machine

__all__ = ["MEMORIES", "Activity", "energy_per_action_pj", "total_energy_pj"]

MEMORIES = ("dram", "activation_buffer", "weight_buffer", "table_buffer", "output_buffer", "scale_buffer")
_COMPONENTS = {
    "memory": "dram",
    "activation": "activation_buffer",
    "weight": "weight_buffer",
    "table": "table_buffer",
    "accumulator": "output_buffer",
    "scale": "scale_buffer",
}


class Activity:
    """Counts of actions by `component.action`; bytes moved are the actions `read_byte` and `write_byte` of memories."""

    def __init__(self) -> None:
        self.actions: Counter[str] = Counter()

    def count(self, actions: Mapping[str, int]) -> None:
        """Some actions happened."""
        self.actions.update(actions)

    def read(self, memory: str, size_bytes: int) -> None:
        """Bytes were read."""
        self.actions[f"{memory}.read_byte"] += size_bytes

    def write(self, memory: str, size_bytes: int) -> None:
        """Bytes were written."""
        self.actions[f"{memory}.write_byte"] += size_bytes

    def move(self, source: str, target: str, size_bytes: int) -> None:
        """Bytes went from one memory to another."""
        self.read(source, size_bytes)
        self.write(target, size_bytes)

    def execute(self, program: Program) -> None:
        """Everything that a program reads and writes, tables and scaling included; not what its array does.

        An array reads its weights again for every M rows, and its inputs for every N columns.
        """
        for instruction, count in zip(program.instructions, program.repetitions(), strict=True):
            if isinstance(instruction, EngineInstruction):
                self._execute(instruction, count)

    def _execute(self, instruction: EngineInstruction, count: int) -> None:
        reads, writes = instruction.reads(ANYWHERE), instruction.writes(ANYWHERE)
        again = dict.fromkeys(reads, 1)
        match instruction:
            case Lmma():
                again[reads[0]] = -(-instruction.columns // instruction.n)
                again[reads[1]] = -(-instruction.rows // instruction.m)
            case LutGen():
                self.actions["precompute.table"] += count * instruction.tables
            case Scale():
                self.actions["vector_unit.operation"] += count * instruction.rows * instruction.columns
            case Load() | Store():
                pass
        for region in reads:
            self.read(_component(region), count * region.size_bytes * again[region])
        for region in writes:
            self.write(_component(region), count * region.size_bytes)

    def memory_bytes(self) -> dict[str, int]:
        """Bytes read and written at each level, by the names of the result's columns."""
        return {
            f"{memory}_{action}_bytes": self.actions[f"{memory}.{action}_byte"]
            for memory in MEMORIES
            for action in ("read", "write")
        }


def _component(region: Region) -> str:
    return _COMPONENTS[region.space]


def energy_per_action_pj(machine: Machine) -> Mapping[str, float]:
    """Energy of every action of the machine, pJ, by `component.action`."""
    return {
        f"{name}.{action}": energy
        for name, part in machine.parts.items()
        for action, energy in part.component.energy_pj.items()
    }


def total_energy_pj(energy: Mapping[str, float], actions: Mapping[str, int]) -> float:
    """Energy of counted actions; an action that no component knows is an error, never free."""
    unknown = actions.keys() - energy.keys()
    if unknown:
        raise InputError("machine", "actions", min(unknown), "one of " + ", ".join(energy))
    return sum(energy[name] * count for name, count in actions.items())
