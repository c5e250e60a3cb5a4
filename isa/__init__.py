"""The ground floor of bitloom: number formats, packings and operands.

What lives here is what every other package must agree on: which values a code stands for, how codes are laid out
in bytes, how a tensor of codes carries its scales, and the one error type for bad input. Nothing here knows of
models, machines or files; `isa` imports numpy alone.
"""

from isa.errors import InputError
from isa.formats import FORMATS, Format, Operand, format_named
from isa.packing import bit_planes, pack_hf_ternary, unpack_hf_ternary

__all__ = [
    "FORMATS",
    "Format",
    "InputError",
    "Operand",
    "bit_planes",
    "format_named",
    "pack_hf_ternary",
    "unpack_hf_ternary",
]
