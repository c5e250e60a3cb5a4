"""Writes instructions: loops, and pointers that are where the loops want them.

Pointers of a program only go forward, so after inner loops a pointer has to be put where the next iteration needs it.
`Emitter` keeps account of how far each pointer has moved since the body of a loop began, and at its end writes the one
`step` that is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from isa.instructions import End, Instruction, Loop, SetPointer, Step

__all__ = ["Emitter"]


class Emitter:
    """A program in the making.

    Attributes
    ----------
    instructions : list of Instruction
    """

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self._moved: Counter[int] = Counter()
        self._pointers = 0

    def pointer(self, base: int, ring_bytes: int = 0) -> int:
        """A new pointer, set to an address."""
        number = self._pointers
        self._pointers += 1
        self.instructions.append(SetPointer(target=number, base=base, ring_bytes=ring_bytes))
        return number

    def emit(self, instruction: Instruction) -> None:
        """Append an instruction that moves no pointer."""
        self.instructions.append(instruction)

    def step(self, pointer: int, stride_bytes: int) -> None:
        """Move a pointer."""
        if stride_bytes:
            self.instructions.append(Step(target=pointer, stride_bytes=stride_bytes))
            self._moved[pointer] += stride_bytes

    def moved(self, pointer: int) -> int:
        """How far a pointer has moved since the body of the innermost loop began, in bytes."""
        return self._moved[pointer]

    @contextmanager
    def repeat(self, count: int, strides: Mapping[int, int]) -> Iterator[None]:
        """The body of a loop, at whose end each of some pointers is a stride behind where it was at its beginning.

        A body that is executed once is written without a loop.
        """
        outside, self._moved = self._moved, Counter()
        if count > 1:
            self.instructions.append(Loop(count=count))
        yield
        for pointer, stride in strides.items():
            self.step(pointer, stride - self._moved[pointer])
        if count > 1:
            self.instructions.append(End())
        for pointer, moved in self._moved.items():
            outside[pointer] += moved * count
        self._moved = outside
