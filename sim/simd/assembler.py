"""Writes programs: `Assembler` holds the loops that are open, checks every instruction against what
`sim.simd.semantics` knows, and numbers registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sim.simd.program import Address, Instruction, Loop, Offset, Register, Variable, VectorProgram
from sim.simd.semantics import SEMANTICS

__all__ = ["Assembler"]

Where = Offset | Variable | int


class Assembler:
    """Takes a program down, instruction by instruction.

    Parameters
    ----------
    name : str
        Of the program.
    vector_bytes : {16, 32, 64}
        Width of its vectors, where an instruction does not say another.
    buffer_bytes : mapping of str to int
        Sizes of the buffers in memory.
    alignment_bytes : mapping of str to int, optional
        See `VectorProgram`.

    Examples
    --------
    >>> a = Assembler("sum", 32, {"in": 128, "out": 32})
    >>> total = a.op("vpxor")
    >>> with a.loop("block", 4) as block:
    ...     _ = a.into(total, "vpaddw", total, memory=a.at("in", block * 32))
    >>> a.store("out", 0, total)
    >>> len(list(a.program().instructions()))
    3
    """

    def __init__(
        self,
        name: str,
        vector_bytes: int,
        buffer_bytes: Mapping[str, int],
        alignment_bytes: Mapping[str, int] | None = None,
    ) -> None:
        self._name, self.vector_bytes = name, vector_bytes
        self._buffer_bytes, self._alignment_bytes = dict(buffer_bytes), dict(alignment_bytes or {})
        self._open: list[list[Instruction | Loop]] = [[]]
        self._registers = 0

    def at(self, buffer: str, offset: Where, size_bytes: int | None = None) -> Address:
        """A place in memory, of a vector's size unless another is given; ValueError if there is no such buffer."""
        if buffer not in self._buffer_bytes:
            raise ValueError(f"no buffer {buffer} in {self._name}; there are {', '.join(self._buffer_bytes)}")
        whole = Offset(offset) if isinstance(offset, int) else offset + 0
        return Address(buffer, whole, size_bytes or self.vector_bytes)

    def op(
        self,
        name: str,
        *sources: Register,
        memory: Address | None = None,
        imm: int | None = None,
        size_bytes: int | None = None,
    ) -> Register:
        """An instruction whose result goes to a new register."""
        self._registers += 1
        width = size_bytes or self.vector_bytes
        target = Register(self._registers, SEMANTICS[name].result_bytes or width)
        return self.into(target, name, *sources, memory=memory, imm=imm, size_bytes=width)

    def into(
        self,
        target: Register,
        name: str,
        *sources: Register,
        memory: Address | None = None,
        imm: int | None = None,
        size_bytes: int | None = None,
    ) -> Register:
        """An instruction whose result goes to a register that is there already.

        Raises
        ------
        KeyError
            If nobody has said what the instruction computes.
        ValueError
            If it takes another number of operands.
        """
        semantics = SEMANTICS[name]
        operands = len(sources) + (memory is not None)
        if operands != semantics.operands:
            raise ValueError(f"{name} takes {semantics.operands} operands, found {operands}")
        width = size_bytes or self.vector_bytes
        self._open[-1].append(Instruction(name, width, target, sources, memory, imm))
        return target

    def load(self, buffer: str, offset: Where, size_bytes: int | None = None) -> Register:
        """A vector from memory."""
        width = size_bytes or self.vector_bytes
        return self.op("load", memory=self.at(buffer, offset, width), size_bytes=width)

    def store(self, buffer: str, offset: Where, source: Register, size_bytes: int | None = None) -> None:
        """A register, or its first bytes, to memory."""
        width = size_bytes or source.size_bytes
        self._open[-1].append(Instruction("store", width, None, (source,), self.at(buffer, offset, width)))

    @contextmanager
    def loop(self, name: str, count: int, overhead: int = 2) -> Iterator[Variable]:
        """What is written inside is done `count` times; see `Loop` for the overhead."""
        variable = Variable(name, count)
        self._open.append([])
        yield variable
        body = tuple(self._open.pop())
        if count > 0:
            self._open[-1].append(Loop(variable, body, overhead))

    def program(self) -> VectorProgram:
        """All that was written."""
        if len(self._open) != 1:
            raise ValueError("a loop is still open")
        return VectorProgram(self._name, tuple(self._open[0]), self._buffer_bytes, self._alignment_bytes)
