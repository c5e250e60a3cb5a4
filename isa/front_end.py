"""The front end: executes a program's control instructions and hands the others out with their addresses.

It is the same for every executor: the interpreter, the event model and the RTL differ in what they do with what is
handed out, and in when. One call executes one instruction, which is one cycle of a machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from isa.instructions import Addresses, End, EngineInstruction, Halt, Instruction, Loop, SetPointer, Step, operands_of
from isa.instructions.operands import POINTERS
from isa.program import Program

__all__ = ["Dispatched", "FrontEnd", "OpenLoop"]


@dataclass(frozen=True)
class Dispatched:
    """An instruction that was executed or is to be executed by an engine.

    Parameters
    ----------
    position : int
        Its place in the program.
    instruction : Instruction
    addresses : mapping of pointer operand to byte address
        Empty for control instructions.
    """

    position: int
    instruction: Instruction
    addresses: Addresses


@dataclass
class OpenLoop:
    """A loop that is being executed: where its body begins, and how many iterations are left, this one included."""

    body: int
    remaining: int


@dataclass
class Pointer:
    """An address register."""

    base: int = 0
    offset: int = 0
    ring_bytes: int = 0

    @property
    def address(self) -> int:
        """The byte address that it holds; it may be negative or beyond every space, which is its user's error."""
        return self.base + self.offset

    def step(self, stride_bytes: int) -> None:
        """Add to the offset."""
        self.offset += stride_bytes
        if self.ring_bytes:
            self.offset %= self.ring_bytes


@dataclass
class FrontEnd:
    """The control state of a program in execution.

    Parameters
    ----------
    program : Program

    Attributes
    ----------
    position : int
        The instruction that comes next.
    loops : list of OpenLoop
        From the outermost to the innermost.
    pointers : list of Pointer
    halted : bool
    """

    program: Program
    position: int = 0
    loops: list[OpenLoop] = field(default_factory=list)
    pointers: list[Pointer] = field(default_factory=lambda: [Pointer() for _ in range(POINTERS)])
    halted: bool = False

    def execute(self) -> Dispatched:
        """Execute the next instruction, or hand it out if it is an engine's.

        Raises
        ------
        ValueError
            If the program has halted.
        """
        if self.halted:
            raise ValueError("the program has halted")
        position, instruction = self.position, self.program.instructions[self.position]
        self.position += 1
        match instruction:
            case EngineInstruction():
                return Dispatched(position, instruction, self._addresses(instruction))
            case SetPointer():
                self.pointers[instruction.target] = Pointer(instruction.base, 0, instruction.ring_bytes)
            case Step():
                self.pointers[instruction.target].step(instruction.stride_bytes)
            case Loop():
                self.loops.append(OpenLoop(self.position, instruction.count))
            case End():
                self._end()
            case Halt():
                self.halted = True
        return Dispatched(position, instruction, {})

    def _addresses(self, instruction: EngineInstruction) -> Addresses:
        names = _POINTER_OPERANDS.get(type(instruction))
        if names is None:
            operands = operands_of(type(instruction))
            names = tuple(name for name, operand in operands.items() if operand.kind == "pointer")
            _POINTER_OPERANDS[type(instruction)] = names
        return {name: self.pointers[getattr(instruction, name)].address for name in names}

    def _end(self) -> None:
        innermost = self.loops[-1]
        innermost.remaining -= 1
        if innermost.remaining:
            self.position = innermost.body
        else:
            self.loops.pop()


_POINTER_OPERANDS: dict[type[EngineInstruction], tuple[str, ...]] = {}
