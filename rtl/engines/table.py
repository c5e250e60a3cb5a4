"""The table engine: executes `lutgen`, several tables a cycle, from the activation to the table scratchpad.

How a table is made is the subject of `rtl.arrays.precompute`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from rtl.arrays.precompute import TableBuilder
from rtl.commands import WORK_OF
from rtl.configuration import ACTIVATION_BITS, Configuration, UnsupportedConfiguration
from rtl.engines.activations import ActivationUnpacker, activation_codes, read_bytes
from rtl.engines.faults import first_error
from rtl.errors import ErrorCode
from rtl.interfaces import SCRATCHPAD_ADDRESS_BITS, ScratchpadRead, ScratchpadWrite, engine_signature

__all__ = ["TableEngine"]

# Room for an address that is too large by a pitch.
ADDRESS_BITS = SCRATCHPAD_ADDRESS_BITS + 1


class TableEngine(wiring.Component):
    """Executes `lutgen`.

        address ─► activation scratchpad ─► unpack ─► [register] ─► builders ─► table scratchpad

    Latency: `LATENCY_CYCLES` from the last address to the cycle after the last table was written; `done` comes after
    `array_pipeline_cycles`, which is when a machine gives the tokens of a `lutgen`. Throughput: `tables_per_cycle`
    tables of a row a cycle: rows times ⌈groups / tables_per_cycle⌉ cycles, commands without a gap.

    A command with an error ends where it is found: `ILLEGAL_INSTRUCTION` if the unit has not its type of activations or
    its K, `MISALIGNED_ADDRESS` if `target` is no multiple of a table's size, `ILLEGAL_ADDRESS` at the first row or
    table beyond the end of its scratchpad.

    Parameters
    ----------
    configuration : Configuration
        Of a LUT array.

    Attributes
    ----------
    command, done, working, error
        `engine_signature`.
    activations : ScratchpadRead, out
        `read_bytes(tables_per_cycle · K)` bytes, unaligned.
    tables_0, tables_1, ... : ScratchpadWrite, out
        A table each, `tables_per_cycle` of them.

    Raises
    ------
    UnsupportedConfiguration
        If it is no LUT array, or `array_pipeline_cycles` is less than `LATENCY_CYCLES`.
    """

    LATENCY_CYCLES = 3

    def __init__(self, configuration: Configuration) -> None:
        if not configuration.looks_up_tables:
            raise UnsupportedConfiguration("unit.kind", configuration.unit.kind, "lut")
        if configuration.array_pipeline_cycles < self.LATENCY_CYCLES:
            found, expected = configuration.array_pipeline_cycles, f"at least {self.LATENCY_CYCLES}"
            raise UnsupportedConfiguration("array_pipeline_cycles", found, expected)
        self._configuration = configuration
        self._k, self._tables = configuration.unit.k, configuration.tables_per_cycle
        self._inputs = self._tables * self._k
        read = Out(ScratchpadRead(read_bytes(self._inputs)))
        write = Out(ScratchpadWrite(configuration.table_bytes))
        writes = {f"tables_{number}": write for number in range(self._tables)}
        super().__init__({**engine_signature("table"), "activations": read, **writes})
        # What follows an address: where in its first byte the data begins, the last input and the last table that
        # count, and where the first table goes.
        self._step = data.StructLayout(
            {
                "valid": 1,
                "bit": range(8),
                "bits": range(ACTIVATION_BITS + 1),
                "input": range(max(2, self._inputs)),
                "table": range(max(2, self._tables)),
                "index": SCRATCHPAD_ADDRESS_BITS,
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Addresses, and what follows them: the data through two registers, and those in which `done` waits."""
        m = Module()
        reading, read, made = (Signal(self._step, name=name) for name in ("reading", "read", "made"))
        ends = self._addresses(m, reading)
        ended = Signal(self._configuration.array_pipeline_cycles - 1)
        m.d.sync += [ended.eq(Cat(ends, ended)), read.eq(reading), made.eq(read)]
        m.d.comb += self.done.eq(ended[-1])

        m.submodules.unpacker = unpacker = ActivationUnpacker(count=self._inputs)
        m.d.comb += [
            unpacker.packed.eq(self.activations.data),
            unpacker.bit.eq(read.bit),
            unpacker.bits.eq(read.bits),
            unpacker.last.eq(read.input),
        ]
        activations = Signal.like(unpacker.activations)
        m.d.sync += activations.eq(unpacker.activations)
        for number in range(self._tables):
            m.submodules[f"builder_{number}"] = builder = TableBuilder(k=self._k)
            write = getattr(self, f"tables_{number}")
            m.d.comb += [
                *(builder.activations[place].eq(activations[number * self._k + place]) for place in range(self._k)),
                write.enable.eq(made.valid & (made.table >= number if number else 1)),
                write.index.eq(made.index + number),
                write.data.eq(builder.entries),
                write.mask.eq(~0),
            ]
        return m

    def _addresses(self, m: Module, reading: data.View) -> Signal:
        """What is read in this cycle, from the registers of a command; gives whether the command ends with it."""
        configuration, command = self._configuration, self.command.payload
        line_bits = exact_log2(configuration.table_bytes)
        tables_limit = configuration.unit.table_bytes >> line_bits
        rows, depth, left = Signal(len(command.rows)), Signal(len(command.depth)), Signal(len(command.depth))
        pitch, bits = Signal(len(command.pitch_bytes)), Signal(range(ACTIVATION_BITS + 1))
        base, index = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        row_bytes, place = Signal(len(depth) + 1), Signal(len(depth) + 4)
        fault = Signal(ErrorCode)
        row_ends, ends = Signal(), Signal()

        # Sizes are held as in the word, one less: `left` and `rows` are the last input and row that are left.
        m.d.comb += [
            row_ends.eq(left < self._inputs),
            ends.eq(self.working & ((row_ends & (rows == 0)) | (self.error != ErrorCode.NONE))),
            self.command.ready.eq(~self.working | ends),
            self.activations.enable.eq(reading.valid),
            self.activations.address.eq(base + place[3:]),
            reading.valid.eq(self.working & (self.error == ErrorCode.NONE)),
            reading.bit.eq(place[:3]),
            reading.bits.eq(bits),
            reading.input.eq(Mux(row_ends, left, self._inputs - 1)),
            reading.table.eq(reading.input >> exact_log2(self._k)),
            reading.index.eq(index),
        ]
        beyond = (base + row_bytes > configuration.unit.activation_bytes) | (index + reading.table >= tables_limit)
        with m.If(self.working):
            m.d.comb += self.error.eq(Mux(beyond & (fault == ErrorCode.NONE), ErrorCode.ILLEGAL_ADDRESS, fault))
            m.d.sync += [
                index.eq(index + reading.table + 1),
                left.eq(left - self._inputs),
                place.eq(place + bits * self._inputs),
            ]
            with m.If(row_ends):
                m.d.sync += [left.eq(depth), place.eq(0), base.eq(base + pitch), rows.eq(rows - 1)]

        asked_bits = Signal.like(bits)
        with m.Switch(command.activation):
            for code, width in activation_codes("table").items():
                with m.Case(code):
                    m.d.comb += asked_bits.eq(width)
        illegal = (asked_bits == 0) | (command.k != self._k - WORK_OF["table"].field("k").least)
        misaligned = command.target[:line_bits].any()
        outside = command.source[SCRATCHPAD_ADDRESS_BITS:].any() | command.target[SCRATCHPAD_ADDRESS_BITS:].any()
        with m.If(self.command.ready):
            m.d.sync += self.working.eq(self.command.valid)
        with m.If(self.command.ready & self.command.valid):
            m.d.sync += [
                *(rows.eq(command.rows), depth.eq(command.depth), left.eq(command.depth)),
                *(pitch.eq(command.pitch_bytes), bits.eq(asked_bits)),
                *(base.eq(command.source), index.eq(command.target[line_bits:]), place.eq(0)),
                row_bytes.eq(((command.depth + 1) * asked_bits + 7) >> 3),
                fault.eq(first_error(illegal=illegal, misaligned=misaligned, outside=outside)),
            ]
        return ends
