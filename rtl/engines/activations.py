"""Activations as engines read them: fields of 1 to 8 bits that begin anywhere in a byte, as K-tuples of 8 bits. Which
bytes are read is the subject of the engines.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.instructions.types import ACTIVATION_TYPES, Engine
from rtl.commands import code_of
from rtl.configuration import ACTIVATION_BITS

__all__ = ["ActivationUnpacker", "activation_codes", "read_bytes"]

BITS_OF = {name: item.bits for name, item in ACTIVATION_TYPES.items() if not item.floating}
"""Widths of the integer activation types."""


def activation_codes(engine: Engine) -> dict[int, int]:
    """Bits of an activation by the code of its type in the field `activation` of an engine's instruction."""
    return {code_of(engine, "activation", name): bits for name, bits in BITS_OF.items()}


def read_bytes(count: int) -> int:
    """Bytes that hold so many activations of any width that follow a multiple of as many: a power of two."""
    needed = count if count % 8 == 0 else count + 1
    return 1 << (needed - 1).bit_length()


class ActivationUnpacker(wiring.Component):
    """Takes activations out of the bytes that they were packed in (`isa.layouts.unpack_activations`).

    Latency: none (combinational). Throughput: `count` activations a cycle.

    Parameters
    ----------
    count : int
        Activations at a time.

    Attributes
    ----------
    packed : Signal, in
        `read_bytes(count)` bytes, the lowest first.
    bit : Signal, in
        Where the first activation begins in the first byte.
    bits : Signal, in
        Bits of an activation, 1 to 8.
    last : Signal, in
        The last that counts; those behind it are 0.
    activations : Signal, out
        [count], 8 bits, sign-extended.

    Raises
    ------
    ValueError
        If there are none.
    """

    def __init__(self, *, count: int) -> None:
        if count < 1:
            raise ValueError(f"count is {count}, must be at least 1")
        self._count = count
        super().__init__(
            {
                "packed": In(8 * read_bytes(count)),
                "bit": In(range(8)),
                "bits": In(range(ACTIVATION_BITS + 1)),
                "last": In(range(count)) if count > 1 else In(unsigned(1)),
                "activations": Out(data.ArrayLayout(signed(ACTIVATION_BITS), count)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """A shift of less than a byte, then for each activation a choice among the widths."""
        m = Module()
        # As many as make whole bytes begin at a byte, whatever their width.
        begins: Value = self.packed if self._count % 8 == 0 else self.packed >> self.bit
        with m.Switch(self.bits):
            for bits in BITS_OF.values():
                with m.Case(bits):
                    for index in range(self._count):
                        field = begins[index * bits : (index + 1) * bits].as_signed()
                        counted = Mux(self.last >= index, field, 0) if index else field
                        m.d.comb += self.activations[index].eq(counted)
        return m
