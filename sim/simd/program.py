"""A program of vector instructions in nested loops, with affine addresses. It computes nothing by itself and knows no
core: `sim.simd.interpreter` runs it, `sim.timing.cpu` times it.

Registers are as many as a kernel likes and may be written again: renaming is a matter of the core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Address", "Instruction", "Loop", "Offset", "Register", "Variable", "VectorProgram"]


@dataclass(frozen=True, eq=False)
class Variable:
    """The number of the present iteration of a loop, from 0.

    Parameters
    ----------
    name : str
    count : int
        Iterations.
    """

    name: str
    count: int

    def __mul__(self, factor: int) -> Offset:
        return Offset(0, ((self, factor),))

    __rmul__ = __mul__

    def __add__(self, other: Offset | Variable | int) -> Offset:
        return self * 1 + other

    __radd__ = __add__


@dataclass(frozen=True)
class Offset:
    """A number of bytes: a constant, and so many for each iteration of some loops."""

    constant: int
    strides: tuple[tuple[Variable, int], ...] = ()

    def __add__(self, other: Offset | Variable | int) -> Offset:
        if isinstance(other, int):
            return Offset(self.constant + other, self.strides)
        more = other * 1 if isinstance(other, Variable) else other
        strides = dict(self.strides)
        for variable, stride in more.strides:
            strides[variable] = strides.get(variable, 0) + stride
        return Offset(self.constant + more.constant, tuple(strides.items()))

    __radd__ = __add__

    def __mul__(self, factor: int) -> Offset:
        return Offset(self.constant * factor, tuple((variable, stride * factor) for variable, stride in self.strides))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Address:
    """Where in a buffer so many bytes are read or written.

    Parameters
    ----------
    buffer : str
    offset : Offset
        From the buffer's beginning.
    size_bytes : int
    """

    buffer: str
    offset: Offset
    size_bytes: int


@dataclass(frozen=True)
class Register:
    """A register by number.

    Parameters
    ----------
    number : int
    size_bytes : int
        8 for one of integers, 16, 32 or 64 for a vector.
    """

    number: int
    size_bytes: int


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Parameters
    ----------
    name : str
        Its mnemonic, which `sim.simd.semantics` and the files of cores know.
    size_bytes : int
        Width of the vectors that it works on: what it takes from a core's pipes.
    target : Register or None
        What it writes; None for a store.
    sources : tuple of Register
    address : Address or None
        Of a load or store, or of the last operand where that comes from memory.
    immediate : int or None
    """

    name: str
    size_bytes: int
    target: Register | None
    sources: tuple[Register, ...] = ()
    address: Address | None = None
    immediate: int | None = None


@dataclass(frozen=True)
class Loop:
    """Instructions and loops, one after the other, so many times.

    Parameters
    ----------
    variable : Variable
    body : tuple of Instruction or Loop
    overhead : int
        Instructions on integers that an iteration takes beside: pointers, and the comparison that a branch is fused
        with. 0 for a loop that a compiler has unrolled.
    """

    variable: Variable
    body: tuple[Instruction | Loop, ...]
    overhead: int = 2


@dataclass(frozen=True)
class VectorProgram:
    """A whole program.

    Parameters
    ----------
    name : str
    body : tuple of Instruction or Loop
    buffer_bytes : mapping of str to int
        Sizes of the buffers in memory.
    alignment_bytes : mapping of str to int
        Where a buffer begins, modulo 64 bytes, if that is not at a cache line's beginning.
    """

    name: str
    body: tuple[Instruction | Loop, ...]
    buffer_bytes: dict[str, int]
    alignment_bytes: dict[str, int] = field(default_factory=dict)

    def instructions(self) -> Iterator[tuple[Instruction, tuple[Loop, ...]]]:
        """Every instruction once, with the loops around it from the outermost on."""
        yield from _walk(self.body, ())


def _walk(
    body: tuple[Instruction | Loop, ...], around: tuple[Loop, ...]
) -> Iterator[tuple[Instruction, tuple[Loop, ...]]]:
    for item in body:
        if isinstance(item, Loop):
            yield from _walk(item.body, (*around, item))
        else:
            yield item, around
