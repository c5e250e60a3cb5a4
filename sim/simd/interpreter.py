"""Runs vector programs on numpy: every instruction once for all iterations of an outermost loop side by side, so that
whole matrices are a matter of seconds.

Iterations of an outermost loop are independent, as threads share them out: what one writes, no other reads or writes.
The interpreter checks where they write.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sim.simd.program import Address, Instruction, Loop, Register, Variable, VectorProgram
from sim.simd.semantics import SEMANTICS

__all__ = ["run_vector_program"]

Bytes = NDArray[np.uint8]
Int64 = NDArray[np.int64]


def run_vector_program(program: VectorProgram, buffers: Mapping[str, Bytes]) -> dict[str, Bytes]:
    """The buffers after a program.

    Parameters
    ----------
    program : VectorProgram
    buffers : mapping of str to uint8 [size_bytes]
        Contents before; a buffer that is not named is zero.

    Raises
    ------
    ValueError
        If a buffer has another size, an address is outside of its buffer, a register is read that was never written, or
        two iterations of an outermost loop write to the same place.
    """
    memory = {name: np.zeros(size, np.uint8) for name, size in program.buffer_bytes.items()}
    for name, contents in buffers.items():
        if name not in memory or contents.shape != memory[name].shape:
            expected = memory[name].shape if name in memory else f"one of {', '.join(memory)}"
            raise ValueError(f"{program.name}: buffer {name} of {contents.shape}, expected {expected}")
        memory[name][:] = contents
    registers: dict[Register, Bytes] = {}
    for item in program.body:
        if isinstance(item, Loop):
            _Run(memory, registers, item.variable).all(item.body)
        else:
            _Run(memory, registers, Variable("once", 1)).execute(item)
    return memory


class _Run:
    """One outermost loop, all iterations side by side; registers are [iterations or 1, bytes]."""

    def __init__(self, memory: dict[str, Bytes], registers: dict[Register, Bytes], outermost: Variable) -> None:
        self._memory, self._registers, self._outermost = memory, registers, outermost
        self._numbers: dict[Variable, Int64 | int] = {outermost: np.arange(outermost.count)}

    def all(self, body: tuple[Instruction | Loop, ...]) -> None:
        """The whole loop. Afterwards its registers are those of the last iteration."""
        for item in body:
            self._do(item)
        for register, value in self._registers.items():
            self._registers[register] = value[-1:]

    def _do(self, item: Instruction | Loop) -> None:
        if isinstance(item, Instruction):
            self.execute(item)
            return
        for number in range(item.variable.count):
            self._numbers[item.variable] = number
            for inner in item.body:
                self._do(inner)

    def execute(self, instruction: Instruction) -> None:
        """One instruction."""
        operands = [self._read(register, instruction) for register in instruction.sources]
        address = instruction.address
        if address is not None and instruction.target is None:
            self._store(address, operands[0])
            return
        if address is not None:
            operands.append(self._memory[address.buffer][self._places(address)])
        if instruction.target is None:
            raise ValueError(f"{instruction.name} writes nothing")
        result = SEMANTICS[instruction.name].compute(
            *operands, immediate=instruction.immediate, size_bytes=instruction.size_bytes
        )
        if result.shape[-1] != instruction.target.size_bytes:
            raise ValueError(f"{instruction.name}: {result.shape[-1]} bytes for {instruction.target}")
        self._registers[instruction.target] = result if result.ndim == 2 else result[None]

    def _read(self, register: Register, instruction: Instruction) -> Bytes:
        if register not in self._registers:
            raise ValueError(f"{instruction.name} reads {register}, which nothing has written")
        # The lower part of a register has a name of its own on most cores.
        return self._registers[register][:, : instruction.size_bytes]

    def _store(self, address: Address, value: Bytes) -> None:
        places = self._places(address)
        if np.unique(places).size != places.size:
            raise ValueError(f"iterations of {self._outermost.name} write to the same {address.buffer}")
        self._memory[address.buffer][places] = np.broadcast_to(value[:, : address.size_bytes], places.shape)

    def _places(self, address: Address) -> Int64:
        """Indices [iterations or 1, bytes] in a buffer."""
        first: Int64 = np.atleast_1d(np.int64(address.offset.constant))
        for variable, stride in address.offset.strides:
            first = first + stride * self._numbers[variable]
        size = len(self._memory[address.buffer])
        if first.min() < 0 or first.max() + address.size_bytes > size:
            reach = f"{first.min()} to {first.max() + address.size_bytes}"
            raise ValueError(f"bytes {reach} of {address.buffer}, which has {size}")
        return first[:, None] + np.arange(address.size_bytes)
