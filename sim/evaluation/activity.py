"""What an operation did: bytes at each memory level and actions of each component, and the energy that they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from isa import InputError
from sim.timing.machine import Machine

__all__ = ["MEMORIES", "Activity", "energy_per_action_pj", "total_energy_pj"]

MEMORIES = ("dram", "activation_buffer", "weight_buffer", "output_buffer")


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

    def memory_bytes(self) -> dict[str, int]:
        """Bytes read and written at each level, by the names of the result's columns."""
        return {
            f"{memory}_{action}_bytes": self.actions[f"{memory}.{action}_byte"]
            for memory in MEMORIES
            for action in ("read", "write")
        }


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
