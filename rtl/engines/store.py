"""The store engine: results from a scratchpad to memory or to the activation scratchpad.

    command ─┬─► rows of elements ─► pieces of bytes ─► words of the target ─┬─► activation scratchpad
             ├─► bursts ─────────────────────────────────────────────────────┴─► memory
             └─► what is to end, in order ─► done

How elements are read and converted is the subject of `engines.store_source`, where words go of `engines.store_target`.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from rtl.commands import WORK_OF, any_of, code_of
from rtl.configuration import ACCUMULATOR_BYTES, Configuration
from rtl.engines.store_bursts import Axi4WriteChannels
from rtl.engines.store_source import StoreSource
from rtl.engines.store_target import StoreTarget, target_layout
from rtl.errors import ErrorCode
from rtl.interfaces import LaneRead, ScratchpadRead, ScratchpadWrite, engine_signature
from rtl.packer import BytePacker
from rtl.read_port import ReadClient
from rtl.streams import StreamQueue

__all__ = ["StoreEngine"]

# Commands whose words have not all been written: one in each stage that a piece goes through, at the least.
_COMMANDS_ON_THEIR_WAY = 8
# Commands that are not done: those on their way, and those that wait for answers of the memory.
_COMMANDS_IN_FLIGHT = 16


class StoreEngine(wiring.Component):
    """Executes `store`: accumulators (int32, fp32) and, where tables are looked up, their entries (int16), as any type
    that they can become.

    Addition (`accumulate`) is one element after the other, and asks for rows that begin at a multiple of their
    elements' size.

    Throughput: a word of `bus_bytes` a cycle, whole or not; commands follow each other without a gap. Latency: the
    first word is on offer 5 cycles after a command was accepted, a burst's address 1 cycle after. A command is done
    with its last word in the scratchpad, or with the memory's answer to its last burst.

    Parameters
    ----------
    configuration : Configuration
        Of it `bus_bytes`, `outstanding_reads` (as many bursts may wait for their answers) and the scratchpads.

    Attributes
    ----------
    command, done, working, error
        As `rtl.interfaces.engine_signature` has them. `ILLEGAL_INSTRUCTION`: elements that the place of origin does not
        have, floats to integers. `MISALIGNED_ADDRESS`: accumulators at no multiple of 4, or added rows as said above;
        in both cases nothing is done. `ILLEGAL_ADDRESS`: once a command that reaches beyond a scratchpad; rows that it
        writes to memory then hold anything. `READ_FAILED`, `WRITE_FAILED`: the memory says so.
    elements : LaneRead, out
    tables : ScratchpadRead, out
        At any byte; only where tables are looked up.
    activation_write : ScratchpadWrite, out
    activation_read : ScratchpadRead, out
        At multiples of `bus_bytes`.
    read : ReadClient, out
    write_port : Axi4WriteChannels, out
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration, bus = configuration, configuration.bus_bytes
        members = {
            **engine_signature("store"),
            "elements": Out(LaneRead(bus // 2)),
            "activation_write": Out(ScratchpadWrite(bus)),
            "activation_read": Out(ScratchpadRead(bus)),
            "read": Out(ReadClient(bus)),
            "write_port": Out(Axi4WriteChannels(bus)),
        }
        if configuration.looks_up_tables:
            members["tables"] = Out(ScratchpadRead(bus))
        super().__init__(members)

    def elaborate(self, _platform: object) -> Module:
        """Decode, hand on, and wait for ends in order."""
        m = Module()
        configuration = self._configuration
        m.submodules.source = source = StoreSource(configuration)
        m.submodules.packer = packer = BytePacker(bus_bytes=configuration.bus_bytes)
        m.submodules.target = target = StoreTarget(configuration)
        m.submodules.targets = targets = StreamQueue(target_layout(), depth=_COMMANDS_ON_THEIR_WAY)
        bursts = StreamQueue(target.bursts.payload.shape(), depth=_COMMANDS_ON_THEIR_WAY)
        m.submodules.bursts = bursts
        endings = data.StructLayout({"memory": 1, "activation": 1})
        m.submodules.endings = ending = StreamQueue(endings, depth=_COMMANDS_IN_FLIGHT)
        wiring.connect(m, source.pieces, packer.pieces)
        wiring.connect(m, packer.words, target.words)
        wiring.connect(m, targets.sink, target.rows)
        wiring.connect(m, bursts.sink, target.bursts)
        names = ["elements"] if "tables" not in self.signature.members else ["elements", "tables"]
        for name in names:
            wiring.connect(m, getattr(source, name), wiring.flipped(getattr(self, name)))
        for name in ("activation_write", "activation_read", "read", "write_port"):
            wiring.connect(m, getattr(target, name), wiring.flipped(getattr(self, name)))

        decoded = _Decoded(m, self.command.payload, configuration)
        queues = (source.rows, targets.source, bursts.source, ending.source)
        accepted = Signal()
        m.d.comb += [
            self.command.ready.eq(Cat(*(queue.ready for queue in queues)).all()),
            accepted.eq(self.command.valid & self.command.ready),
        ]
        works = accepted & ~decoded.error.any()
        m.d.comb += [
            source.rows.valid.eq(works),
            targets.source.valid.eq(works),
            bursts.source.valid.eq(works & decoded.memory),
            ending.source.valid.eq(accepted),
            ending.source.payload.memory.eq(works & decoded.memory),
            ending.source.payload.activation.eq(works & ~decoded.memory),
            *(port.eq(value) for port, value in decoded.hands_on(source.rows, targets.source, bursts.source)),
        ]
        self._end(m, ending.sink, target)
        refused = Signal(ErrorCode)
        m.d.sync += refused.eq(Mux(accepted, decoded.error, ErrorCode.NONE))
        with m.If(refused.any()):
            m.d.comb += self.error.eq(refused)
        with m.Elif(source.beyond | target.beyond):
            m.d.comb += self.error.eq(ErrorCode.ILLEGAL_ADDRESS)
        with m.Elif(target.read_failed):
            m.d.comb += self.error.eq(ErrorCode.READ_FAILED)
        with m.Elif(target.write_failed):
            m.d.comb += self.error.eq(ErrorCode.WRITE_FAILED)
        return m

    def _end(self, m: Module, ending: Any, target: StoreTarget) -> None:
        """Commands that end in memory and in the scratchpad end in the order in which they came."""
        done = Signal()
        refused = ~(ending.payload.memory | ending.payload.activation)
        may = [refused]
        for name in ("memory", "activation"):
            waiting, event = (
                Signal(range(_COMMANDS_IN_FLIGHT + 1), name=f"{name}_ended"),
                getattr(target, f"{name}_ends"),
            )
            mine = ending.payload[name]
            m.d.sync += waiting.eq(waiting + event - (done & mine))
            may.append(mine & (event | waiting.any()))
        m.d.comb += [
            done.eq(ending.valid & Cat(*may).any()),
            ending.ready.eq(done),
            self.done.eq(done),
            self.working.eq(ending.valid),
        ]


class _Decoded:
    """What a command means: its numbers as the parts of the engine take them, and whether it can be executed."""

    def __init__(self, m: Module, command: Any, configuration: Configuration) -> None:
        self._command, self._bus_bytes = command, configuration.bus_bytes

        def chosen(field: str, *choices: str) -> Value:
            return any_of(Value.cast(command[field]), (code_of("store", field, choice) for choice in choices))

        self.memory = chosen("space", "memory")
        self._adds, self._table = chosen("mode", "accumulate"), chosen("origin", "table")
        self._floats = chosen("element", "fp32")
        self._wide, self._floating = chosen("result", "int32", "fp32"), chosen("result", "fp16", "fp32")
        known = any_of(Value.cast(command.result), range(len(WORK_OF["store"].field("result").choices)))
        looks_up = Const(int(configuration.looks_up_tables), 1)
        there = Mux(self._table, chosen("element", "int16") & looks_up, chosen("element", "int32", "fp32"))
        possible = there & known & (self._floating | ~self._floats)
        place = command.target | command.pitch_bytes
        misplaced = self._adds & Mux(self._wide, place[:2].any(), place[0])
        source_bits = (ACCUMULATOR_BYTES - 1).bit_length()
        misaligned = (~self._table & command.source[:source_bits].any()) | misplaced
        self.error = Signal(ErrorCode, name="decoded_error")
        with m.If(~possible):
            m.d.comb += self.error.eq(ErrorCode.ILLEGAL_INSTRUCTION)
        with m.Elif(misaligned):
            m.d.comb += self.error.eq(ErrorCode.MISALIGNED_ADDRESS)

    def hands_on(self, source: Any, target: Any, bursts: Any) -> list[tuple[Any, Any]]:
        """What goes where."""
        command, place_bits = self._command, (self._bus_bytes - 1).bit_length()
        length = Mux(self._wide, Cat(Const(3, 2), command.columns), Cat(Const(1, 1), command.columns))
        rows, written, addresses = source.payload, target.payload, bursts.payload
        return [
            (rows.table, self._table),
            (rows.floats, self._floats),
            (rows.wide, self._wide),
            (rows.floating, self._floating),
            (rows.source, command.source),
            (rows.rows, command.rows),
            (rows.columns, command.columns),
            (rows.place, command.target[:place_bits]),
            (rows.pitch, command.pitch_bytes[:place_bits]),
            (written.memory, self.memory),
            (written.adds, self._adds),
            (written.wide, self._wide),
            (written.floating, self._floating),
            (written.target, command.target),
            (written.rows, command.rows),
            (written.pitch, command.pitch_bytes),
            (addresses.target, command.target),
            (addresses.rows, command.rows),
            (addresses.pitch, command.pitch_bytes),
            (addresses.length, length),
            (addresses.waits, self._adds),
        ]
