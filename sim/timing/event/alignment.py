"""Which addresses of a program matter to its timing: the reason why loops over ever new addresses are still steady.

Two executions of an instruction take equally long if the addresses that decide the time agree. In a scratchpad, those
decide which banks are used, if ports are counted at all. In memory, they decide how rows and banks are met, modulo the
span of the memory model; and where the service time has a shorter period over the addresses that a pointer can ever
reach, as with aligned tiles, modulo that.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from isa.front_end import Dispatched, Pointer
from isa.instructions import Addresses, EngineInstruction, SetPointer, Step, operands_of
from isa.instructions.operands import ADDRESS_BITS
from isa.program import Program
from sim.timing.dram import MemoryModel
from sim.timing.tasks import Costs

__all__ = ["Alignment", "RepeatingMemory"]

_ADDRESSES = 1 << ADDRESS_BITS
# Addresses whose service times are compared in search of a period; a pointer that reaches more repeats with the span.
_MOST_COMPARED = 256

Relevant = tuple[tuple[str, int], ...]


@runtime_checkable
class RepeatingMemory(MemoryModel, Protocol):
    """A memory model whose times repeat over the addresses."""

    @property
    def span_bytes(self) -> int:
        """Addresses that are equal modulo this take the same time."""


@dataclass
class _Reach:
    """Where a pointer can point: `base` plus multiples of `grain_bytes`, if it is not 0."""

    base: int
    grain_bytes: int = 0

    def set(self, base: int) -> None:
        self.step(base - self.base)

    def step(self, stride_bytes: int) -> None:
        self.grain_bytes = math.gcd(self.grain_bytes, stride_bytes)


class Alignment:
    """The moduli of a program's addresses.

    Parameters
    ----------
    program : Program
    costs : Costs
    memory : MemoryModel
        Its span, if it is a `RepeatingMemory`; otherwise all addresses differ.
    """

    def __init__(self, program: Program, costs: Costs, memory: MemoryModel) -> None:
        self._costs, self._memory = costs, memory
        self._span = memory.span_bytes if isinstance(memory, RepeatingMemory) else _ADDRESSES
        self._reaches = _reaches(program)
        self._relevant: dict[int, Relevant] = {}
        # Modulus of each pointer that matters; 0: all of its address does.
        self._moduli: dict[int, int] = {}
        for position, instruction in enumerate(program.instructions):
            if isinstance(instruction, EngineInstruction):
                self._relevant[position] = tuple(self._moduli_of(position, instruction))
        self._pointers = tuple(self._moduli.items())

    def relevant(self, position: int) -> Relevant:
        """Names and moduli of the addresses of an instruction that decide its time; modulus 0: all of it does."""
        return self._relevant[position]

    def representative(self, position: int, addresses: Addresses) -> Addresses:
        """Addresses of equal time that are no less than 0 in memory."""
        inside = {name: addresses[name] % modulus for name, modulus in self._relevant[position] if modulus}
        return {**addresses, **inside}

    def pointers(self, pointers: Sequence[Pointer]) -> Hashable:
        """The state of all pointers as far as it matters."""
        return tuple(_state(pointers[number], modulus) for number, modulus in self._pointers)

    def _moduli_of(self, position: int, instruction: EngineInstruction) -> list[tuple[str, int]]:
        found = []
        for name, space in _spaces(instruction).items():
            if space == "memory":
                modulus = self._memory_modulus(position, instruction, name)
            elif self._costs.machine.buffers.port_bytes is not None:
                modulus = 0
            else:
                continue
            number = getattr(instruction, name)
            self._moduli[number] = math.lcm(self._moduli.get(number, modulus), modulus)
            found.append((name, modulus))
        return found

    def _memory_modulus(self, position: int, instruction: EngineInstruction, name: str) -> int:
        """The span, or the period of the service time over what the pointer can reach, if it is shorter."""
        reach = self._reaches[getattr(instruction, name)]
        grain = math.gcd(reach.grain_bytes, self._span)
        count = self._span // grain
        if not 1 < count <= _MOST_COMPARED:
            return self._span
        transfer = self._costs.task(Dispatched(position, instruction, dict.fromkeys(_spaces(instruction), 0))).transfer
        if transfer is None:
            return self._span
        addresses = range(reach.base % grain, self._span, grain)
        times = [self._memory.service_cycles(transfer._replace(address=address)) for address in addresses]
        periods = (period for period in range(1, count + 1) if count % period == 0)
        return grain * next(period for period in periods if times == times[:period] * (count // period))


def _reaches(program: Program) -> dict[int, _Reach]:
    """Where each pointer that is stepped, set or used can point; before it is set, it holds 0."""
    reaches: dict[int, _Reach] = {}
    for instruction in program.instructions:
        match instruction:
            case SetPointer():
                reach = reaches.setdefault(instruction.target, _Reach(instruction.base))
                reach.set(instruction.base)
                reach.step(instruction.ring_bytes)
            case Step():
                reaches.setdefault(instruction.target, _Reach(0)).step(instruction.stride_bytes)
            case EngineInstruction():
                for name in _spaces(instruction):
                    reaches.setdefault(getattr(instruction, name), _Reach(0))
    return reaches


def _spaces(instruction: EngineInstruction) -> dict[str, str]:
    """The space that each pointer operand of an instruction points into."""
    names = [name for name, operand in operands_of(type(instruction)).items() if operand.kind == "pointer"]
    marks = {name: mark for mark, name in enumerate(names)}
    regions = (*instruction.reads(marks), *instruction.writes(marks))
    return {names[region.address]: region.space for region in regions}


def _state(pointer: Pointer, modulus: int) -> Hashable:
    if pointer.ring_bytes:
        base = pointer.base % modulus if modulus else pointer.base
        return base, pointer.offset, pointer.ring_bytes
    return pointer.address % modulus if modulus else pointer.address
