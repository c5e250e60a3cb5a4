"""Runs a whole program: checks that it can be run at all, lays out memory and scratchpads, and hands back what is in
them at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isa.instructions import EngineInstruction, Instruction, Lmma, Region
from isa.instructions.base import Bytes
from isa.instructions.types import SCRATCHPADS, Space
from isa.program import Program, Unit
from sim.functional.interpreter.accesses import MOST_TIMES, Accesses
from sim.functional.interpreter.counts import Counts, counts_of, operations_of, working_bytes
from sim.functional.interpreter.engines import Engines, Order, producers_first
from sim.functional.interpreter.errors import Place, ProgramError
from sim.functional.interpreter.spaces import Spaces

__all__ = ["MOST_INSTRUCTIONS", "MOST_OPERATIONS", "Execution", "run_program"]

MOST_INSTRUCTIONS = 1 << 22
MOST_OPERATIONS = 1 << 36

LARGEST_SCRATCHPADS_BYTES = 1 << 26
"""Of all scratchpads together; the records of accesses take up to 26 times as much, if every engine goes everywhere."""
LARGEST_WORKING_BYTES = 1 << 29


@dataclass(frozen=True, eq=False)
class Execution:
    """A program that has been run.

    Parameters
    ----------
    program : Program
    spaces : mapping of Space to uint8 [size_bytes]
        Memory and scratchpads after the run.
    tokens : tuple of int
        What is left in each counter.
    counts : Counts
    """

    program: Program
    spaces: Mapping[Space, Bytes]
    tokens: tuple[int, ...]
    counts: Counts

    @property
    def memory(self) -> Bytes:
        """The memory image after the run, uint8 [size_bytes]."""
        return self.spaces["memory"]

    def contents(self, name: str) -> Bytes:
        """The bytes of a buffer, uint8 [size_bytes]; KeyError if there is none of that name."""
        buffer = self.program.buffer(name)
        return self.spaces[buffer.space][buffer.address : buffer.address + buffer.size_bytes]


def run_program(
    program: Program,
    memory: Bytes,
    *,
    scratchpads: Mapping[str, Bytes] | None = None,
    order: Order = producers_first,
    most_instructions: int = MOST_INSTRUCTIONS,
    most_operations: int = MOST_OPERATIONS,
    source: str = "program",
) -> Execution:
    """Run a program on a memory image.

    Parameters
    ----------
    program : Program
    memory : uint8 [size_bytes]
        The image, with inputs, weights and scales in their buffers; it is copied.
    scratchpads : mapping of buffer name to uint8 [size_bytes], optional
        Contents of the buffers of these roles that lie in a scratchpad.
    order : Order
        Who takes the next turn; the result of a right program does not depend on it.
    most_instructions : int
        Instructions to execute at most, those of the front end included.
    most_operations : int
        Bytes to move and products or lookups to add up at most; some hundred million take a second.
    source : str
        What errors call the program: its file, for example.

    Raises
    ------
    ProgramError
        If the program is wrong or exceeds a limit. It is found for every order or for none, except that the kind and
        the instruction may differ and that counters overflow only where an engine runs ahead.
    ValueError
        If the image is no flat array of bytes, or a limit is beyond what can be told apart.
    """
    if memory.dtype != np.uint8 or memory.ndim != 1:
        raise ValueError(f"a memory image is uint8 [size_bytes], found {memory.dtype} {list(memory.shape)}")
    if most_instructions > MOST_TIMES:
        raise ValueError(f"at most {MOST_TIMES} instructions can be told apart, found {most_instructions}")
    _check_scratchpads(program.unit, source)
    _check_work(program, source, most_instructions, most_operations)
    if len(memory) < program.memory_bytes:
        found = f"a memory image of {len(memory)} bytes"
        raise ProgramError(source, "out of bounds", None, found, f"{program.memory_bytes} bytes, to hold all buffers")
    spaces: dict[Space, Bytes] = {"memory": memory.copy()}
    spaces |= {space: np.zeros(program.unit.size_bytes(space), np.uint8) for space in SCRATCHPADS}
    accesses = Accesses({space: len(contents) for space, contents in spaces.items()})
    _fill_buffers(program, spaces, accesses, scratchpads or {}, source)
    engines = Engines(program, source, Spaces(spaces), accesses)
    with np.errstate(all="ignore"):
        engines.run(order)
    return Execution(program, spaces, engines.clocks.tokens(), counts_of(program))


def _check_scratchpads(unit: Unit, source: str) -> None:
    sizes = [unit.size_bytes(space) for space in SCRATCHPADS]
    if sum(sizes) > LARGEST_SCRATCHPADS_BYTES:
        found = f"scratchpads of {sizes} bytes"
        raise ProgramError(source, "too large", None, found, f"at most {LARGEST_SCRATCHPADS_BYTES} bytes in all")


def _check_work(program: Program, source: str, most_instructions: int, most_operations: int) -> None:
    """Refuse what would take too long or too much memory, and what the unit does not have."""
    repetitions = program.repetitions()
    if sum(repetitions) > most_instructions:
        raise ProgramError(
            source, "too large", None, f"{sum(repetitions)} instructions to execute", f"at most {most_instructions}"
        )
    operations = 0
    for position, (times, instruction) in enumerate(zip(repetitions, program.instructions, strict=True)):
        if not isinstance(instruction, EngineInstruction):
            continue
        place = Place(position, instruction)
        _check_lmma(instruction, program.unit, place, source)
        if (needed := working_bytes(instruction)) > LARGEST_WORKING_BYTES:
            found = f"up to {needed} bytes to execute it"
            raise ProgramError(source, "too large", place, found, f"at most {LARGEST_WORKING_BYTES}")
        operations += times * operations_of(instruction)
    if operations > most_operations:
        found = f"{operations} bytes and products"
        raise ProgramError(source, "too large", None, found, f"at most {most_operations}")


def _check_lmma(instruction: Instruction, unit: Unit, place: Place, source: str) -> None:
    if not isinstance(instruction, Lmma):
        return
    found, expected = (instruction.m, instruction.n, instruction.k), (unit.m, unit.n, unit.k)
    if found != expected:
        shown = "m{}n{}k{}"
        raise ProgramError(source, "illegal instruction", place, shown.format(*found), shown.format(*expected))
    if instruction.inputs == "table" and unit.kind != "lut":
        raise ProgramError(source, "illegal instruction", place, f"tables on a {unit.kind} unit", "a lut unit")


def _fill_buffers(
    program: Program, spaces: Mapping[Space, Bytes], accesses: Accesses, given: Mapping[str, Bytes], source: str
) -> None:
    """Put the given contents where they belong, and mark what is there before the program runs."""
    present = [buffer for buffer in program.buffers if buffer.role in ("input", "weights", "scales", "row_scales")]
    on_chip = {buffer.name for buffer in present if buffer.space != "memory"}
    if on_chip != set(given):
        found = f"contents of {sorted(given)}"
        raise ProgramError(source, "uninitialized read", None, found, f"of the buffers on chip, {sorted(on_chip)}")
    for buffer in present:
        if not buffer.size_bytes:
            continue
        if buffer.name in on_chip:
            contents = given[buffer.name]
            if contents.dtype != np.uint8 or contents.shape != (buffer.size_bytes,):
                raise ValueError(f"buffer {buffer.name} is uint8 [{buffer.size_bytes}], found {contents.shape}")
            spaces[buffer.space][buffer.address : buffer.address + buffer.size_bytes] = contents
        accesses.mark_written(Region.contiguous(buffer.space, buffer.address, buffer.size_bytes))
