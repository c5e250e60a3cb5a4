"""What `bench_load` and `bench_guard` simulate: a load engine with everything between it and the memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.instructions.types import SCRATCHPADS
from isa.program import Unit
from rtl.axi import Axi4
from rtl.commands import WORK_OF, command_layout
from rtl.configuration import Configuration
from rtl.engines.load import LoadEngine
from rtl.errors import ErrorCode
from rtl.guard import MemoryGuard
from rtl.interfaces import ScratchpadWrite
from rtl.read_port import ReadClient, ReadPort

__all__ = ["MemoryPath", "path_parameters"]

UNIT = Unit(
    kind="lut",
    m=2,
    n=8,
    k=4,
    activation_bytes=1000,
    weight_bytes=2048,
    table_bytes=512,
    accumulator_bytes=1024,
    scale_bytes=8,
)
CONFIGURATION = Configuration(unit=UNIT, weight_bits=2, bus_bytes=8, outstanding_reads=64)


class WriteChannels(wiring.Signature):
    """The channels AW, W and B of `rtl.axi.Axi4`."""

    def __init__(self, data_bytes: int) -> None:
        members = Axi4(data_bytes).members
        super().__init__({name: members[name] for name in members if name.startswith(("aw", "w", "b"))})


class MemoryPath(wiring.Component):
    """A load engine and another reader on a port, a writer beside them, and a guard before the memory."""

    def __init__(self) -> None:
        bus = CONFIGURATION.bus_bytes
        super().__init__(
            {
                "command": In(stream.Signature(command_layout("load"))),
                "done": Out(1),
                "working": Out(1),
                "error": Out(ErrorCode),
                "write": Out(ScratchpadWrite(bus)),
                "space": Out(WORK_OF["load"].field("space").width),
                "other": In(ReadClient(bus)),
                "store": In(WriteChannels(bus)),
                "engine_reset": In(1),
                "stop": In(1),
                "quiet": Out(1),
                "m_axi": Out(Axi4(bus)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        bus, outstanding = CONFIGURATION.bus_bytes, CONFIGURATION.outstanding_reads
        engine, port = LoadEngine(CONFIGURATION), ReadPort(bus_bytes=bus, clients=2, outstanding=outstanding)
        guard = MemoryGuard(bus_bytes=bus, outstanding=outstanding)
        m.submodules.engine = ResetInserter(self.engine_reset)(engine)
        m.submodules.port = ResetInserter(self.engine_reset)(port)
        m.submodules.guard = guard
        wiring.connect(m, wiring.flipped(self.command), engine.command)
        wiring.connect(m, engine.read, port.clients[0])
        wiring.connect(m, wiring.flipped(self.other), port.clients[1])
        wiring.connect(m, guard.outside, wiring.flipped(self.m_axi))
        m.d.comb += [guard.stop.eq(self.stop), self.quiet.eq(guard.quiet)]
        for name in ("done", "working", "error", "space"):
            m.d.comb += getattr(self, name).eq(getattr(engine, name))
        for name in ("enable", "index", "data", "mask"):
            m.d.comb += getattr(self.write, name).eq(getattr(engine.write, name))
        for name, member in Axi4(bus).members.items():
            inside, engines = getattr(guard.inside, name), port.memory if name.startswith(("ar", "r")) else self.store
            pair = (inside, getattr(engines, name)) if member.flow == Out else (getattr(engines, name), inside)
            m.d.comb += pair[0].eq(pair[1])
        return m


def path_parameters() -> dict[str, Any]:
    """What the testbenches need to know of it."""
    return {
        "fields": {name: field.offset for name, field in command_layout("load")},
        "sizes": [UNIT.size_bytes(space) for space in SCRATCHPADS],
        "errors": {code.name: code.value for code in ErrorCode},
        "bus_bytes": CONFIGURATION.bus_bytes,
        "outstanding": CONFIGURATION.outstanding_reads,
    }
