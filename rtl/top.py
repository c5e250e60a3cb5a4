"""The whole unit: one memory port, one control port, and a program at a time in between.

    control port ─ Control ─ start, stop ─┐                          ┌─ MemoryGuard ─ memory port
                                          └─► Core (front end, engines) ─┘

What a program does is the business of `rtl.core`; here is how one is started, stopped and accounted for.
"""

from __future__ import annotations

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.axi import Axi4, Axi4Lite
from rtl.configuration import Configuration
from rtl.control import Control
from rtl.core import Core
from rtl.errors import ErrorCode
from rtl.guard import MemoryGuard
from rtl.registers import ADDRESS_BITS, COUNTERS, SOURCES

__all__ = ["Top"]


class Top(wiring.Component):
    """An mpGEMM unit that runs binary programs from memory.

    A program that is started finds empty token counters and whatever the one before has left in the scratchpads. One
    that fails or is stopped leaves its last transfers unfinished in the scratchpads and in memory; the port is then
    quiet, and the next program can be started.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    control : Axi4Lite, in
        Registers (`rtl.registers`).
    memory : Axi4, out
        Programs and data.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        super().__init__({"control": In(Axi4Lite(ADDRESS_BITS)), "memory": Out(Axi4(configuration.bus_bytes))})

    def elaborate(self, _platform: object) -> Module:
        """Between programs the core is held in reset; after an error it is until nothing is on its way any more."""
        m = Module()
        configuration = self._configuration
        m.submodules.control = control = Control(configuration=configuration)
        m.submodules.guard = guard = MemoryGuard(
            bus_bytes=configuration.bus_bytes, outstanding=configuration.outstanding_reads
        )
        held = Signal(init=1)
        core = Core(configuration)
        # A reset from outside holds the core too, from the next cycle on; it is nobody's input within.
        m.domains.core = ClockDomain(local=True)
        m.d.comb += [ClockSignal("core").eq(ClockSignal()), ResetSignal("core").eq(held)]
        m.submodules.core = DomainRenamer("core")(core)
        wiring.connect(m, wiring.flipped(self.control), control.bus)
        wiring.connect(m, core.memory, guard.inside)
        wiring.connect(m, guard.outside, wiring.flipped(self.memory))

        source, position = Signal(range(len(SOURCES))), Signal.like(core.position)
        error, failed = Signal(ErrorCode), Signal()
        m.d.comb += [
            failed.eq(core.error != ErrorCode.NONE),
            core.program_address.eq(control.program_address),
            core.program_words.eq(control.program_words),
            control.position.eq(position),
            control.error.eq(error),
            control.error_source.eq(source),
            *self._counts(control, core),
        ]
        with m.FSM():
            with m.State("idle"), m.If(control.start):
                m.d.sync += held.eq(0)
                m.next = "start"
            with m.State("start"):
                m.d.comb += [control.running.eq(1), core.start.eq(1), control.position.eq(core.position)]
                m.d.sync += position.eq(core.position)
                m.next = "run"
                # A program that is not even fetched is refused at once.
                with m.If(failed):
                    self._hold(m, held, (error, core.error), (source, core.error_source))
            with m.State("run"):
                m.d.sync += position.eq(core.position)
                m.d.comb += [
                    control.running.eq(1),
                    control.position.eq(core.position),
                ]
                with m.If(failed):
                    self._hold(m, held, (error, core.error), (source, core.error_source))
                with m.Elif(control.stop):
                    self._hold(m, held, (error, ErrorCode.ABORTED), (source, len(SOURCES) - 1))
                with m.Elif(core.finished):
                    m.d.comb += control.finished.eq(1)
                    m.d.sync += held.eq(1)
                    m.next = "idle"
            with m.State("stop"):
                m.d.comb += [control.running.eq(1), guard.stop.eq(1), control.failed.eq(guard.quiet)]
                with m.If(guard.quiet):
                    m.next = "idle"
        return m

    def _hold(self, m: Module, held: Signal, error: tuple[Signal, object], source: tuple[Signal, object]) -> None:
        """Reset the core, and remember why."""
        m.d.sync += [held.eq(1), error[0].eq(error[1]), source[0].eq(source[1])]
        m.next = "stop"

    def _counts(self, control: Control, core: Core) -> list[object]:
        """What the counters count."""
        memory = self.memory
        own = {
            "read_beats": memory.rvalid & memory.rready,
            "written_beats": memory.wvalid & memory.wready,
        }
        return [getattr(control.counts, name).eq(own.get(name, getattr(core, name, 0))) for name in COUNTERS]
