"""The ground floor of bitloom: number formats, packings, operands, and the mpGEMM instruction set.

What lives here is what every other package must agree on: which values a code stands for, how codes are laid out
in bytes, how a tensor of codes carries its scales, what an instruction does and how a program is written, and the one
error type for bad input. Nothing here knows of models or machines; `isa` imports numpy and `ml_dtypes` alone.
"""

from isa.assembler import assemble, assemble_program
from isa.disassembler import disassemble, disassemble_program, instruction_text
from isa.errors import InputError
from isa.formats import FORMATS, Format, Operand, format_named
from isa.packings import (
    PACKINGS,
    PackedOperand,
    Packing,
    bit_planes,
    check_hf_ternary,
    pack_hf_ternary,
    unpack_hf_ternary,
)
from isa.program import Buffer, Program, Unit
from isa.program_file import program_bytes, program_of, read_program

__all__ = [
    "FORMATS",
    "PACKINGS",
    "Buffer",
    "Format",
    "InputError",
    "Operand",
    "PackedOperand",
    "Packing",
    "Program",
    "Unit",
    "assemble",
    "assemble_program",
    "bit_planes",
    "check_hf_ternary",
    "disassemble",
    "disassemble_program",
    "format_named",
    "instruction_text",
    "pack_hf_ternary",
    "program_bytes",
    "program_of",
    "read_program",
    "unpack_hf_ternary",
]
