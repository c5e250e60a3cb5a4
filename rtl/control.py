"""The control port: registers over AXI4-Lite, which start and stop a program and show what has become of it.

The registers are those of `rtl.registers`. What is done with a program that is started is the front end's business.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.decoder import DECODER
from rtl.axi import RESPONSE_OKAY, Axi4Lite
from rtl.configuration import Configuration
from rtl.errors import ErrorCode
from rtl.registers import ADDRESS_BITS, COUNTERS, REGISTERS, SOURCES, WORD_BYTES, Register, register

__all__ = ["RESPONSE_REFUSED", "Control"]

RESPONSE_REFUSED = 2
"""SLVERR: there is nothing at that address, or it cannot be written, or not now."""

_WORD_BITS = 8 * WORD_BYTES


class Control(wiring.Component):
    """The registers.

    No combinational path leads from an input of the bus to an output of it. Address and data of a write are taken in
    any order; a write takes effect in the cycle after both are there and nobody waits for an older answer.

    Latency: a read is answered in the cycle after its address was taken, a write in the second cycle after the last of
    address and data. Throughput: a read every two cycles, a write every three.

    Parameters
    ----------
    configuration : Configuration
        What the constants say.

    Attributes
    ----------
    bus : Axi4Lite, in
    start : Signal, out
        One cycle: execute the program that `program_address` and `program_words` name. Both stand still from now until
        `running` has fallen.
    stop : Signal, out
        One cycle: end, and fail with `ErrorCode.ABORTED`. It means nothing in a cycle in which `running` is not set.
    program_address : Signal(48), out
    program_words : Signal(32), out
        Instructions; 0 and more than the unit can hold are what the front end has to refuse.
    running : Signal, in
        From the cycle after `start` until that of `finished` or `failed`, both included.
    finished, failed : Signal, in
        One cycle, the last in which `running` is set. If both are set the program has failed.
    error : ErrorCode, in
        Why, in the cycle of `failed`.
    error_source : Signal(range(6)), in
        Who found it, in the cycle of `failed`: an engine's place in `ENGINES`, or the number behind them for the front
        end (`rtl.registers.SOURCES`).
    position : Signal(32), in
        The front end's place in the program; what it is in the last cycle of `running` remains in the register.
    counts : data.StructLayout, in
        A bit for each of `rtl.registers.COUNTERS`, by its name: whether that counter goes up in this cycle. Nothing is
        counted while `running` is not set.
    """

    def __init__(self, *, configuration: Configuration) -> None:
        self._configuration = configuration
        self._counters = {name: Signal(2 * _WORD_BITS, name=name) for name in COUNTERS}
        super().__init__(
            {
                "bus": In(Axi4Lite(ADDRESS_BITS)),
                "start": Out(1),
                "stop": Out(1),
                "program_address": Out(DECODER.address_bits),
                "program_words": Out(_WORD_BITS),
                "running": In(1),
                "finished": In(1),
                "failed": In(1),
                "error": In(ErrorCode),
                "error_source": In(range(len(SOURCES))),
                "position": In(_WORD_BITS),
                "counts": In(data.StructLayout(dict.fromkeys(COUNTERS, 1))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Two independent halves, for writes and for reads, around the state of the program."""
        m = Module()
        starting = Signal()
        self._writes(m, starting)
        settings = {"program_address": self.program_address, "program_words": self.program_words}
        self._count(m, starting)
        self._reads(m, self._state(m, starting) | self._counters | settings)
        return m

    @property
    def _busy(self) -> Value:
        """Whether a program is running or will be in the next cycle."""
        return self.running | self.start

    def _state(self, m: Module, starting: Signal) -> dict[str, Value]:
        """Values of registers that show what happens, by their fields."""
        finished, failed = Signal(), Signal()
        error, source = Signal(ErrorCode), Signal(range(len(SOURCES)))
        position = Signal(_WORD_BITS)
        with m.If(self.running):
            m.d.sync += position.eq(self.position)
        with m.If(starting):
            m.d.sync += [signal.eq(0) for signal in (finished, failed, Value.cast(error), source, position)]
        with m.Elif(self.failed):
            m.d.sync += [failed.eq(1), error.eq(self.error), source.eq(self.error_source)]
        with m.Elif(self.finished):
            m.d.sync += finished.eq(1)
        return {
            "running": self._busy,
            "finished": finished,
            "failed": failed,
            "error": Value.cast(error),
            "source": source,
            "position": position,
        }

    def _count(self, m: Module, starting: Signal) -> None:
        for name, counter in self._counters.items():
            with m.If(starting):
                m.d.sync += counter.eq(0)
            with m.Elif(self.running & self.counts[name]):
                m.d.sync += counter.eq(counter + 1)

    def _writes(self, m: Module, starting: Signal) -> None:
        bus = self.bus
        word, value, strobes = Signal(ADDRESS_BITS - 2), Signal(_WORD_BITS), Signal(WORD_BYTES)
        has_address, has_data = Signal(), Signal()
        m.d.comb += [bus.awready.eq(~has_address), bus.wready.eq(~has_data)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [has_address.eq(1), word.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [has_data.eq(1), value.eq(bus.wdata), strobes.eq(bus.wstrb)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        m.d.sync += [self.start.eq(starting), self.stop.eq(0)]
        with m.If(has_address & has_data & ~bus.bvalid):
            m.d.sync += [has_address.eq(0), has_data.eq(0), bus.bvalid.eq(1), bus.bresp.eq(RESPONSE_REFUSED)]
            with m.Switch(word):
                self._commands(m, value & strobes[0].replicate(_WORD_BITS), starting)
                for name, held in (("program_address", self.program_address), ("program_words", self.program_words)):
                    self._setting(m, register(name), held, value, strobes)

    def _commands(self, m: Module, value: Value, starting: Signal) -> None:
        control = register("control")
        start, stop = (value[control.field(name).lowest] for name in ("start", "stop"))
        with m.Case(control.offset // WORD_BYTES), m.If(~(start & self._busy)):
            m.d.comb += starting.eq(start)
            m.d.sync += [self.stop.eq(stop & self._busy), self.bus.bresp.eq(RESPONSE_OKAY)]

    def _setting(self, m: Module, setting: Register, held: Signal, value: Signal, strobes: Signal) -> None:
        for number in range(setting.words):
            with m.Case(setting.offset // WORD_BYTES + number), m.If(~self._busy):
                m.d.sync += self.bus.bresp.eq(RESPONSE_OKAY)
                part = _word(held, number)
                for byte in range(len(part) // 8):
                    with m.If(strobes[byte]):
                        m.d.sync += part.word_select(byte, 8).eq(value.word_select(byte, 8))

    def _reads(self, m: Module, values: dict[str, Value]) -> None:
        bus = self.bus
        m.d.comb += bus.arready.eq(~bus.rvalid)
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rresp.eq(RESPONSE_OKAY)]
            with m.Switch(bus.araddr[2:]):
                for item in REGISTERS:
                    value = self._shown(item, values)
                    for number in range(item.words):
                        with m.Case(item.offset // WORD_BYTES + number):
                            m.d.sync += bus.rdata.eq(_word(value, number))
                with m.Default():
                    m.d.sync += [bus.rdata.eq(0), bus.rresp.eq(RESPONSE_REFUSED)]

    def _shown(self, item: Register, values: dict[str, Value]) -> Value:
        """All bits of a register; `values` has those of settings and counters, and of the fields of the state."""
        if item.access in ("setting", "counter"):
            return values[item.name]
        if item.access == "state":
            placed = (values[part.name] << part.lowest for part in item.fields)
            return reduce(or_, placed)
        return Const(item.value(self._configuration), _WORD_BITS)


def _word(value: Value, number: int) -> Value:
    return value[number * _WORD_BITS : (number + 1) * _WORD_BITS]
