"""The front end, the queues and tokens, the engines, the array and the scratchpads, put together.

    front end ──► queue ──► issue ──► engine ──► scratchpads, array, memory
                               ▲ └────── tokens ──────┘

Every part has a file of its own; here is only what is connected to what.
"""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.decoder import DECODER
from isa.instructions.types import ENGINES, Engine
from isa.program import UnitKind
from rtl.arrays.bit_serial import BitSerialArray
from rtl.arrays.lut import LutArray
from rtl.arrays.mac import MacArray
from rtl.axi import Axi4
from rtl.commands import code_of, command_layout
from rtl.configuration import ACCUMULATOR_BYTES, Configuration
from rtl.engines.array import ArrayEngine
from rtl.engines.load import LoadEngine
from rtl.engines.scale import ScaleEngine
from rtl.engines.store import StoreEngine
from rtl.engines.table import TableEngine
from rtl.errors import ErrorCode
from rtl.front_end import FrontEnd
from rtl.issue import Issue
from rtl.memories import LaneScratchpad, Scratchpad
from rtl.read_port import ReadPort
from rtl.registers import COUNTERS, SOURCES
from rtl.streams import StreamQueue
from rtl.tokens import TokenCounters

__all__ = ["Core"]

_ARRAYS: dict[UnitKind, type[wiring.Component]] = {"lut": LutArray, "mac": MacArray, "bit-serial": BitSerialArray}
_READERS: tuple[Engine, ...] = ("load", "store")
"""Of the memory port, for reads."""


class Core(wiring.Component):
    """Runs one program after a reset.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    start : Signal, in
        One cycle.
    program_address, program_words : Signal, in
    finished : Signal, out
        One cycle: the program has halted, and everything is done.
    error : ErrorCode, out
        Not `NONE` where something cannot be executed.
    error_source : Signal, out
        Who says so (`rtl.registers.SOURCES`).
    position : Signal, out
        The instruction that the front end executes.
    memory : Axi4, out
    cycles, fetch_cycles, load_cycles, load_commands, array_steps, ... : Signal, out
        Whether the counter of that name goes up in this cycle.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        counted = [name for name in COUNTERS if not name.endswith("_beats")]
        super().__init__(
            {
                "start": In(1),
                "program_address": In(DECODER.address_bits),
                "program_words": In(32),
                "finished": Out(1),
                "error": Out(ErrorCode),
                "error_source": Out(range(len(SOURCES))),
                "position": Out(32),
                "memory": Out(Axi4(configuration.bus_bytes)),
                **dict.fromkeys(counted, Out(1)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Engines first, then what is between them and the front end, then what is around them."""
        m = Module()
        configuration = self._configuration
        m.submodules.front_end = front_end = FrontEnd(configuration)
        m.submodules.array = array = _ARRAYS[configuration.unit.kind](configuration)
        engines: dict[Engine, wiring.Component] = {
            "load": LoadEngine(configuration),
            "array": ArrayEngine(configuration, array_latency_cycles=array.LATENCY_CYCLES),
            "scale": ScaleEngine(configuration),
            "store": StoreEngine(configuration),
        }
        if configuration.looks_up_tables:
            engines["table"] = TableEngine(configuration)
        for engine, component in engines.items():
            m.submodules[f"{engine}_engine"] = component
        wiring.connect(m, engines["array"].step, array.step)
        wiring.connect(m, array.sums, engines["array"].sums)
        self._issue(m, front_end, engines)
        self._scratchpads(m, engines)
        self._memory(m, front_end, engines)
        m.d.comb += [
            front_end.start.eq(self.start),
            front_end.program_address.eq(self.program_address),
            front_end.program_words.eq(self.program_words),
            self.finished.eq(front_end.finished),
            self.position.eq(front_end.position),
            self.cycles.eq(front_end.executing),
            self.fetch_cycles.eq(front_end.fetching),
            self.array_steps.eq(array.step.valid & array.step.ready),
        ]
        return m

    def _issue(self, m: Module, front_end: FrontEnd, engines: Mapping[Engine, wiring.Component]) -> None:
        """Queues, tokens, and what is wrong."""
        configuration = self._configuration
        m.submodules.tokens = tokens = TokenCounters()
        m.d.comb += tokens.clear.eq(front_end.clear)
        still, idle = [], []
        errors = {"front end": front_end.error}
        for number, engine in enumerate(ENGINES):
            queue = StreamQueue(command_layout(engine), depth=configuration.unit.queue_depth)
            in_flight = configuration.outstanding_reads if engine == "load" else 16
            issue = Issue(engine=engine, in_flight=in_flight)
            m.submodules[f"{engine}_queue"], m.submodules[f"{engine}_issue"] = queue, issue
            wiring.connect(m, getattr(front_end, engine), queue.source)
            wiring.connect(m, queue.sink, issue.queue)
            wiring.connect(m, issue.tokens, getattr(tokens, f"engine_{number}"))
            still.append(issue.idle & (~queue.sink.valid | issue.blocked))
            idle.append(issue.idle & ~queue.sink.valid)
            m.d.comb += getattr(self, f"{engine}_commands").eq(issue.issued)
            if engine in engines:
                component = engines[engine]
                wiring.connect(m, issue.command, component.command)
                m.d.comb += [
                    issue.done.eq(component.done),
                    getattr(self, f"{engine}_cycles").eq(component.working),
                ]
                errors[engine] = component.error
            else:
                errors[engine] = self._absent(m, issue)
        m.d.comb += front_end.all_idle.eq(Cat(idle).all())
        deadlock = front_end.waiting & Cat(still).all() & ~Cat(idle).all()
        with m.If(deadlock):
            self._say(m, ErrorCode.DEADLOCK, "front end")
        with m.If(tokens.overflow):
            self._say(m, ErrorCode.TOO_MANY_TOKENS, "front end")
        for source, error in errors.items():
            with m.If(error != ErrorCode.NONE):
                self._say(m, error, source)

    def _say(self, m: Module, error: object, source: str) -> None:
        m.d.comb += [self.error.eq(error), self.error_source.eq(SOURCES.index(source))]

    def _absent(self, m: Module, issue: Issue) -> Signal:
        """An engine that this unit does not have takes and gives tokens, and refuses everything else."""
        error = Signal(ErrorCode)
        m.d.comb += issue.command.ready.eq(1)
        with m.If(issue.issued):
            m.d.comb += error.eq(ErrorCode.ILLEGAL_INSTRUCTION)
        return error

    def _scratchpads(self, m: Module, engines: Mapping[Engine, wiring.Component]) -> None:
        """Every engine has ports of its own, as the timing model takes it."""
        configuration = self._configuration
        unit, bus = configuration.unit, configuration.bus_bytes
        load, array, scale, store = (engines[engine] for engine in ("load", "array", "scale", "store"))
        self._load = load
        inputs = {f"inputs_{row}": getattr(array, f"inputs_{row}") for row in range(unit.m)}
        reads = {"present": store.activation_read}
        if configuration.looks_up_tables:
            table = engines["table"]
            reads["activations"] = table.activations
            made = {
                f"tables_{number}": getattr(table, f"tables_{number}")
                for number in range(configuration.tables_per_cycle)
            }
            self._place(m, "table", inputs | {"stored": store.tables}, made, aligned=tuple(inputs))
        else:
            reads |= inputs
        self._place(m, "activation", reads, {"results": store.activation_write}, aligned=("present",))
        self._place(m, "weight", {"weights": array.weights}, {}, aligned=("weights",))
        self._place(m, "scale", {"columns": scale.column_scales, "row": scale.row_scale}, {})
        lanes = {
            "array": array.accumulators,
            "scaled": scale.accumulators,
            "present": scale.present,
            "stored": store.elements,
        }
        written = {"array": array.results, "scale": scale.results}
        loaded = bus // ACCUMULATOR_BYTES
        banks = max(port.signature.lanes for port in (*lanes.values(), *written.values()))
        m.submodules.accumulator_scratchpad = accumulators = LaneScratchpad(
            size_bytes=unit.accumulator_bytes,
            banks=max(banks, loaded),
            reads={f"read_{name}": port.signature.lanes for name, port in lanes.items()},
            writes={f"write_{name}": port.signature.lanes for name, port in written.items()} | {"load": loaded},
        )
        for direction, ports in (("read", lanes), ("write", written)):
            for name, port in ports.items():
                wiring.connect(m, port, getattr(accumulators, f"{direction}_{name}"))
        mask = Cat(load.write.mask[ACCUMULATOR_BYTES * lane] for lane in range(loaded))
        m.d.comb += [
            accumulators.load.enable.eq(load.write.enable & (load.space == code_of("load", "space", "accumulator"))),
            accumulators.load.index.eq(load.write.index * loaded),
            accumulators.load.data.as_value().eq(load.write.data),
            accumulators.load.mask.eq(mask),
        ]

    def _place(
        self,
        m: Module,
        name: str,
        reads: Mapping[str, wiring.PureInterface],
        writes: Mapping[str, wiring.PureInterface],
        aligned: tuple[str, ...] = (),
    ) -> None:
        """A scratchpad of bytes, which is written by loads besides."""
        bus, load = self._configuration.bus_bytes, self._load
        widths = {key: port.signature.width_bytes for key, port in (*reads.items(), *writes.items())}
        m.submodules[f"{name}_scratchpad"] = scratchpad = Scratchpad(
            size_bytes=self._configuration.unit.size_bytes(name),  # type: ignore[arg-type]
            line_bytes=max(bus, *widths.values()),
            reads={key: (widths[key], key in aligned) for key in reads},
            writes={key: widths[key] for key in writes} | {"load": bus},
            whole=[key for key in writes if key.startswith("tables_")],
        )
        for key, port in (*reads.items(), *writes.items()):
            wiring.connect(m, port, getattr(scratchpad, key))
        m.d.comb += [
            scratchpad.load.enable.eq(load.write.enable & (load.space == code_of("load", "space", name))),
            scratchpad.load.index.eq(load.write.index),
            scratchpad.load.data.eq(load.write.data),
            scratchpad.load.mask.eq(load.write.mask),
        ]

    def _memory(self, m: Module, front_end: FrontEnd, engines: Mapping[Engine, wiring.Component]) -> None:
        """Reads are shared, writes are the store engine's alone."""
        configuration, memory = self._configuration, self.memory
        readers = [*(engines[engine] for engine in _READERS), front_end]
        m.submodules.read_port = port = ReadPort(
            bus_bytes=configuration.bus_bytes, clients=len(readers), outstanding=configuration.outstanding_reads
        )
        for number, component in enumerate(readers):
            wiring.connect(m, component.read, port.clients[number])
        write = engines["store"].write_port
        for name, member in memory.signature.members.items():
            channels = port.memory if name.startswith(("ar", "r")) else write
            inner, outer = getattr(channels, name), getattr(memory, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
