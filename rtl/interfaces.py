"""The interfaces between the components of the unit: commands of engines, ports of scratchpads, steps of arrays.

Every interface is a signature as the side sees it that asks: an engine has it as `Out`, a scratchpad or an array as
`In`. What travels over the memory port is the subject of `rtl.axi`.
"""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.instructions.types import Engine
from rtl.commands import command_layout
from rtl.configuration import Configuration
from rtl.errors import ErrorCode

__all__ = [
    "SCRATCHPAD_ADDRESS_BITS",
    "LaneRead",
    "LaneWrite",
    "ScratchpadRead",
    "ScratchpadWrite",
    "engine_signature",
    "step_layout",
    "sums_layout",
]

SCRATCHPAD_ADDRESS_BITS = 32
"""Bits of an address within a scratchpad: `LARGEST_SCRATCHPAD_BYTES` fits."""


def engine_signature(engine: Engine) -> dict[str, wiring.Member]:
    """Ports that every engine has, as a component sees its own.

    `command` (in): what to do; `sync` is never set here, `wait` and `signal` are not looked at. It is accepted in the
    last cycle in which the engine works on the one before, so that commands follow each other without a gap.
    `done` (out): one cycle for every command, in their order: its results are in place, so that whoever reads them from
    the next cycle on finds them. Of a command that is accepted in cycle a and works for P cycles (a + 1 to a + P) it
    comes in cycle a + P + pipeline_cycles - 1; of transfers when they have ended.
    `working` (out): whether it works on a command in this cycle, what it is still waiting for included.
    `error` (out): not `NONE` for one cycle when a command cannot be executed; it then ends like any other (`done`),
    with undefined results that lie within the scratchpads.
    """
    return {
        "command": In(stream.Signature(command_layout(engine))),
        "done": Out(1),
        "working": Out(1),
        "error": Out(ErrorCode),
    }


class ScratchpadRead(wiring.Signature):
    """Reads `width_bytes` bytes: `address` in one cycle with `enable`, `data` from the next on, until the next read.

    Parameters
    ----------
    width_bytes : int
    """

    def __init__(self, width_bytes: int) -> None:
        self.width_bytes = width_bytes
        super().__init__({"enable": Out(1), "address": Out(SCRATCHPAD_ADDRESS_BITS), "data": In(8 * width_bytes)})


class ScratchpadWrite(wiring.Signature):
    """Writes bytes of an aligned line of `width_bytes`: `index` counts such lines, `mask` has a bit a byte.

    Parameters
    ----------
    width_bytes : int
    """

    def __init__(self, width_bytes: int) -> None:
        self.width_bytes = width_bytes
        super().__init__(
            {
                "enable": Out(1),
                "index": Out(SCRATCHPAD_ADDRESS_BITS),
                "data": Out(8 * width_bytes),
                "mask": Out(width_bytes),
            }
        )


class LaneRead(wiring.Signature):
    """Reads consecutive elements of 32 bits from any one on: `index` of the first in one cycle with `enable`, `data`
    from the next on, until the next read.

    Parameters
    ----------
    lanes : int
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        members = {"enable": Out(1), "index": Out(SCRATCHPAD_ADDRESS_BITS), "data": In(data.ArrayLayout(32, lanes))}
        super().__init__(members)


class LaneWrite(wiring.Signature):
    """Writes some of so many consecutive elements of 32 bits, from any one on: `mask` has a bit a lane.

    Parameters
    ----------
    lanes : int
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "enable": Out(1),
                "index": Out(SCRATCHPAD_ADDRESS_BITS),
                "data": Out(data.ArrayLayout(32, lanes)),
                "mask": Out(lanes),
            }
        )


def step_layout(configuration: Configuration) -> data.StructLayout:
    """What an array takes at a time: the operands of M rows, N columns and K inputs, of one bit plane or of all bits.

    `first`, `last`: of the M x N sums: they begin anew, they are complete. `first_plane`, `last_plane`: of the bit
    planes of K inputs, the highest first (both set where there is one step for all bits). `odd`: how codes are meant
    (`WeightType.coding`; else two's complement). `inputs`: a row each, the half table of `isa.layouts` (entry 0 lowest)
    or K activations of 8 bits, of which those beyond the depth are 0. `weights`: a bit plane or K codes of N columns,
    as `isa.layouts` has them.
    """
    table_bits, activation_bits = 8 * configuration.table_bytes, 8 * configuration.unit.k
    inputs = table_bits if configuration.looks_up_tables else activation_bits
    return data.StructLayout(
        {
            "first": 1,
            "last": 1,
            "first_plane": 1,
            "last_plane": 1,
            "odd": 1,
            "inputs": data.ArrayLayout(inputs, configuration.unit.m),
            "weights": configuration.plane_bits,
        }
    )


def sums_layout(configuration: Configuration) -> data.ArrayLayout:
    """Complete sums [M][N] of an array, int32."""
    return data.ArrayLayout(data.ArrayLayout(signed(32), configuration.unit.n), configuration.unit.m)
