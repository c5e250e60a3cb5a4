"""The memory port (AXI4) and the control port (AXI4-Lite) as signatures, with the signal names of the standard.

What the hardware needs of AXI4 and no more: incrementing bursts of whole beats that stay within 4 KiB, answers in order
for each identifier.
"""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.decoder import DECODER

__all__ = ["BOUNDARY_BYTES", "INCREMENTING", "MOST_BEATS", "RESPONSE_OKAY", "Axi4", "Axi4Lite"]

BOUNDARY_BYTES = 4096
"""No burst crosses a multiple of this."""
MOST_BEATS = 64
"""Beats of the longest burst that is asked for: a turn of the memory channel."""
RESPONSE_OKAY = 0
INCREMENTING = 1
"""The kind of every burst."""


class Axi4(wiring.Signature):
    """A manager's memory port.

    Parameters
    ----------
    data_bytes : int
    address_bits, id_bits : int
    """

    def __init__(self, data_bytes: int, address_bits: int = DECODER.address_bits, id_bits: int = 2) -> None:
        self.data_bytes, self.address_bits, self.id_bits = data_bytes, address_bits, id_bits
        address = {"id": id_bits, "addr": address_bits, "len": 8, "size": 3, "burst": 2, "valid": 1}
        members = dict[str, wiring.Member]()
        for channel in ("aw", "ar"):
            members |= {channel + name: Out(width) for name, width in address.items()}
            members[channel + "ready"] = In(1)
        members |= {"wdata": Out(8 * data_bytes), "wstrb": Out(data_bytes), "wlast": Out(1), "wvalid": Out(1)}
        members |= {"wready": In(1), "bid": In(id_bits), "bresp": In(2), "bvalid": In(1), "bready": Out(1)}
        members |= {"rid": In(id_bits), "rdata": In(8 * data_bytes), "rresp": In(2), "rlast": In(1)}
        super().__init__(members | {"rvalid": In(1), "rready": Out(1)})


class Axi4Lite(wiring.Signature):
    """A manager's control port, 32 bits wide.

    Parameters
    ----------
    address_bits : int
    """

    def __init__(self, address_bits: int) -> None:
        self.address_bits = address_bits
        members = dict[str, wiring.Member]()
        for channel in ("aw", "ar"):
            members |= {f"{channel}addr": Out(address_bits), f"{channel}prot": Out(3), f"{channel}valid": Out(1)}
            members[channel + "ready"] = In(1)
        members |= {"wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1)}
        members |= {"bresp": In(2), "bvalid": In(1), "bready": Out(1)}
        super().__init__(members | {"rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1)})
