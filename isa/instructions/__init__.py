"""The mpGEMM instruction set: every instruction with its fields and its meaning in numpy.

A decoupled access/execute machine in the manner of VTA (Moreau et al., arXiv 1807.04188: load, compute and store
queues that pass dependency tokens), with the table instructions of LUT Tensor Core (arXiv 2408.06003). Binary encoding,
assembler and manual read `INSTRUCTIONS`; a program with its buffers is the subject of `isa.program`.
"""

from isa.instructions.base import Addresses, EngineInstruction, Instruction, Region, Storage, operands_of
from isa.instructions.compute import Lmma, LutGen, Scale
from isa.instructions.control import DEEPEST_LOOP, End, Fence, Halt, Loop, SetPointer, Step, Sync
from isa.instructions.transfer import Load, Store

__all__ = [
    "ANYWHERE",
    "DEEPEST_LOOP",
    "INSTRUCTIONS",
    "Addresses",
    "End",
    "EngineInstruction",
    "Fence",
    "Halt",
    "Instruction",
    "Lmma",
    "Load",
    "Loop",
    "LutGen",
    "Region",
    "Scale",
    "SetPointer",
    "Step",
    "Storage",
    "Store",
    "Sync",
    "operands_of",
]

INSTRUCTIONS: tuple[type[Instruction], ...] = (
    SetPointer,
    Step,
    Loop,
    End,
    Fence,
    Halt,
    Sync,
    Load,
    Store,
    LutGen,
    Lmma,
    Scale,
)

ANYWHERE: Addresses = {
    name: 0 for item in INSTRUCTIONS for name, operand in operands_of(item).items() if operand.kind == "pointer"
}
"""Addresses for whoever asks an instruction for the sizes of its regions alone, which do not depend on them."""
