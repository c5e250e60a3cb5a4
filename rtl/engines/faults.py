"""Which error of a command comes first, where there are several."""

from __future__ import annotations

from amaranth.hdl import Mux, Value

from rtl.errors import ErrorCode

__all__ = ["first_error"]


def first_error(*, illegal: Value, misaligned: Value, outside: Value) -> Value:
    """The code of the first of these that is set: instruction, alignment, address; `NONE` without any."""
    address = Mux(outside, ErrorCode.ILLEGAL_ADDRESS, ErrorCode.NONE)
    alignment = Mux(misaligned, ErrorCode.MISALIGNED_ADDRESS, address)
    return Mux(illegal, ErrorCode.ILLEGAL_INSTRUCTION, alignment)
