"""The loops of `lmma`: which operands the array takes in which cycle, and where its sums go. Who reads, multiplies and
writes is the subject of `rtl.engines.array`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.instructions.types import WEIGHT_TYPES
from rtl.commands import WORK_OF, any_of, code_of, command_layout
from rtl.configuration import ACCUMULATOR_BYTES, ACTIVATION_BITS, Configuration
from rtl.engines.activations import activation_codes
from rtl.engines.drain import block_layout
from rtl.engines.faults import first_error
from rtl.errors import ErrorCode
from rtl.interfaces import SCRATCHPAD_ADDRESS_BITS

__all__ = ["StepCounter", "place_layout"]

BITS = range(ACTIVATION_BITS + 1)
PLANE = range(max(item.bits for item in WEIGHT_TYPES.values() if item.coding != "float"))


def place_layout(configuration: Configuration) -> data.StructLayout:
    """A step before its operands are there.

    `first`, `last`, `first_plane`, `last_plane`, `odd`: as in `step_layout`. `rows`: those of M that there are, a bit
    each. `inputs`, `weights`: byte addresses. Of activations, `bit`: where in its first byte the first begins; `bits`:
    the width of one; `input`: the last that counts.
    """
    unit = configuration.unit
    flags = dict.fromkeys(("first", "last", "first_plane", "last_plane", "odd"), 1)
    return data.StructLayout(
        {
            **flags,
            "rows": unit.m,
            "inputs": data.ArrayLayout(SCRATCHPAD_ADDRESS_BITS, unit.m),
            "weights": SCRATCHPAD_ADDRESS_BITS,
            "bit": range(8),
            "bits": BITS,
            "input": range(max(2, unit.k)),
        }
    )


class _State:
    """The registers of a command. Sizes are held as in the word, one less: counters are the last row, column, input and
    plane that are left."""

    def __init__(self, configuration: Configuration) -> None:
        number = {field.name: field.width for field in WORK_OF["array"].fields}
        # Room for what comes after the last address that can be, which is looked at before it is used.
        beyond = SCRATCHPAD_ADDRESS_BITS + 2 + exact_log2(configuration.unit.m)
        self.first, self.begins, self.accumulate, self.odd = Signal(), Signal(), Signal(), Signal()
        self.bits, self.new_bits = Signal(BITS), Signal(BITS)
        self.rows_left = Signal(number["rows"])
        self.columns, self.columns_left = Signal(number["columns"]), Signal(number["columns"])
        self.depth, self.depth_left = Signal(number["depth"]), Signal(number["depth"])
        self.planes, self.plane = Signal(PLANE), Signal(PLANE)
        self.pitch, self.row_bytes, self.offset = Signal(number["pitch_bytes"]), Signal(beyond), Signal(beyond)
        self.bases = [Signal(beyond, name=f"base_{row}") for row in range(configuration.unit.m)]
        self.weights, self.first_weights = Signal(beyond), Signal(beyond)
        self.index, self.row_index = Signal(beyond), Signal(beyond)
        self.fault, self.wrong = Signal(ErrorCode), Signal()


class StepCounter(wiring.Component):
    """Walks through the steps of commands: for blocks of M rows, for blocks of N columns, for groups of K inputs, for
    bit planes from the highest.

    Latency: the first step of a command comes in the cycle after it was accepted. Throughput: a step a cycle, commands
    without a gap.

    Errors are those of `ArrayEngine`; a command ends where one is found.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    command : stream, in
    places : stream, out
        The steps, `place_layout`. Must be taken whenever `ready` is set, which must not depend on `valid`.
    block : Signal, out
        Where the sums go (`block_layout`), when `block_ends`.
    block_ends : Signal, out
        With this cycle a block is complete, or the command ends because of an error and the block is empty.
    working : Signal, out
    error : Signal, out
        Set for one cycle, in which `ready` is set.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._place, self._block = place_layout(configuration), block_layout(configuration)
        super().__init__(
            {
                "command": In(stream.Signature(command_layout("array"))),
                "places": Out(stream.Signature(self._place)),
                "block": Out(self._block),
                "block_ends": Out(1),
                "working": Out(1),
                "error": Out(ErrorCode),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Four counters inside each other, and the addresses that go with them."""
        m = Module()
        state = _State(self._configuration)
        place, block, unit = self.places.payload, self.block, self._configuration.unit
        moves, ends = Signal(), Signal()
        plane_ends, group_ends, column_ends = (
            Signal(name=name) for name in ("plane_ends", "group_ends", "column_ends")
        )
        m.d.comb += [
            plane_ends.eq(state.plane == 0),
            group_ends.eq(plane_ends & (state.depth_left < unit.k)),
            column_ends.eq(group_ends & (state.columns_left < unit.n)),
            ends.eq((column_ends & (state.rows_left < unit.m)) | (self.error != ErrorCode.NONE)),
            moves.eq(self.working & self.places.ready),
            self.command.ready.eq(~self.working | (moves & ends)),
            self.block_ends.eq(moves & (group_ends | (self.error != ErrorCode.NONE))),
            self.places.valid.eq(self.working & ~state.wrong),
            *(place.first.eq(state.first), place.last.eq(group_ends), place.odd.eq(state.odd)),
            *(place.first_plane.eq(state.plane == state.planes), place.last_plane.eq(plane_ends)),
            *(place.bits.eq(state.bits), place.input.eq(_at_most(state.depth_left, unit.k))),
            *(block.empty.eq(state.wrong), block.begins.eq(state.begins), block.ends.eq(ends)),
            *(block.accumulate.eq(state.accumulate), block.index.eq(state.index), block.pitch.eq(state.columns + 1)),
            *(block.row.eq(_at_most(state.rows_left, unit.m)), block.column.eq(_at_most(state.columns_left, unit.n))),
        ]
        self._addresses(m, state)
        with m.If(moves):
            self._advance(m, state, plane_ends, group_ends, column_ends)
        with m.If(self.command.ready):
            m.d.sync += self.working.eq(self.command.valid)
        with m.If(self.command.ready & self.command.valid):
            self._accept(m, state)
        return m

    def _addresses(self, m: Module, state: _State) -> None:
        """Where operands lie, and whether they may lie there."""
        configuration, unit, place = self._configuration, self._configuration.unit, self.places.payload
        inputs_bytes = unit.table_bytes if configuration.looks_up_tables else unit.activation_bytes
        # The planes of a group lie the lowest first; the array wants the highest first.
        plane_bits = exact_log2(configuration.plane_bytes)
        outside: Value = state.weights + ((state.planes + 1) << plane_bits) > unit.weight_bytes
        last = state.index + self.block.row * self.block.pitch + self.block.column
        outside |= last >= unit.accumulator_bytes // ACCUMULATOR_BYTES
        misaligned: Value = Const(0)
        for row, base in enumerate(state.bases):
            used = state.rows_left >= row if row else Const(1)
            outside |= used & (base + state.row_bytes > inputs_bytes)
            if configuration.looks_up_tables:
                misaligned |= used & _low_bits(base, configuration.table_bytes)
                m.d.comb += place.inputs[row].eq(base + state.offset)
            else:
                m.d.comb += place.inputs[row].eq(base + state.offset[3:])
            m.d.comb += place.rows[row].eq(used)
        if not configuration.looks_up_tables:
            m.d.comb += place.bit.eq(state.offset[:3])
        found = Signal(ErrorCode)
        m.d.comb += [
            place.weights.eq(state.weights + (state.plane << plane_bits)),
            found.eq(first_error(illegal=Const(0), misaligned=misaligned, outside=outside)),
            state.wrong.eq((state.fault != ErrorCode.NONE) | (found != ErrorCode.NONE)),
        ]
        with m.If(self.working & self.places.ready):
            m.d.comb += self.error.eq(Mux(state.fault == ErrorCode.NONE, found, state.fault))

    def _advance(self, m: Module, state: _State, plane_ends: Value, group_ends: Value, column_ends: Value) -> None:
        """On to the next step; what is set last holds."""
        configuration, unit = self._configuration, self._configuration.unit
        group = configuration.table_bytes if configuration.looks_up_tables else state.bits * unit.k
        m.d.sync += [state.first.eq(0), state.plane.eq(state.plane - 1)]
        with m.If(plane_ends):
            m.d.sync += [
                *(state.plane.eq(state.planes), state.depth_left.eq(state.depth_left - unit.k)),
                state.weights.eq(state.weights + ((state.planes + 1) << exact_log2(configuration.plane_bytes))),
                state.offset.eq(state.offset + group),
            ]
        with m.If(group_ends):
            m.d.sync += [
                *(state.first.eq(1), state.begins.eq(0), state.depth_left.eq(state.depth), state.offset.eq(0)),
                *(state.columns_left.eq(state.columns_left - unit.n), state.index.eq(state.index + unit.n)),
            ]
        with m.If(column_ends):
            next_row = state.row_index + ((state.columns + 1) << exact_log2(unit.m))
            m.d.sync += [
                *(state.columns_left.eq(state.columns), state.rows_left.eq(state.rows_left - unit.m)),
                *(state.row_index.eq(next_row), state.index.eq(next_row), state.weights.eq(state.first_weights)),
                *(base.eq(base + (state.pitch << exact_log2(unit.m))) for base in state.bases),
            ]

    def _accept(self, m: Module, state: _State) -> None:
        """Take over a command."""
        configuration, unit, command = self._configuration, self._configuration.unit, self.command.payload
        shape = {"m": unit.m, "n": unit.n, "k": unit.k}
        asked = {
            "inputs": ["table" if configuration.looks_up_tables else "activation"],
            "order": ["blocks"],
            "accumulator": ["int32"],
            "weight": configuration.weight_types,
        }
        illegal: Value = state.new_bits == 0
        for name, value in shape.items():
            illegal |= command[name] != value - WORK_OF["array"].field(name).least
        for name, choices in asked.items():
            illegal |= ~any_of(command[name], (code_of("array", name, choice) for choice in choices))
        misaligned = _low_bits(command.weights, configuration.plane_bytes) | _low_bits(
            command.target, ACCUMULATOR_BYTES
        )
        pointers = (command.source, command.weights, command.target)
        outside = Cat(pointer[SCRATCHPAD_ADDRESS_BITS:] for pointer in pointers).any()
        with m.Switch(command.activation):
            for code, bits in activation_codes("array").items():
                with m.Case(code):
                    m.d.comb += state.new_bits.eq(bits)
        groups = command.depth >> exact_log2(unit.k)
        of_tables = (groups + 1) << exact_log2(configuration.table_bytes)
        of_activations = ((command.depth + 1) * state.new_bits + 7) >> 3
        index = command.target >> exact_log2(ACCUMULATOR_BYTES)
        m.d.sync += [
            state.fault.eq(first_error(illegal=illegal, misaligned=misaligned, outside=outside)),
            *(state.first.eq(1), state.begins.eq(1), state.bits.eq(state.new_bits)),
            state.accumulate.eq(command.mode == code_of("array", "mode", "accumulate")),
            *(state.rows_left.eq(command.rows), state.columns.eq(command.columns), state.depth.eq(command.depth)),
            *(state.columns_left.eq(command.columns), state.depth_left.eq(command.depth)),
            *(state.weights.eq(command.weights), state.first_weights.eq(command.weights)),
            *(state.index.eq(index), state.row_index.eq(index)),
            *(base.eq(command.source + row * command.pitch_bytes) for row, base in enumerate(state.bases)),
            *(state.pitch.eq(command.pitch_bytes), state.offset.eq(0)),
            state.row_bytes.eq(of_tables if configuration.looks_up_tables else of_activations),
        ]
        m.d.sync += [state.planes.eq(0), state.plane.eq(0)]
        with m.Switch(command.weight):
            for name in configuration.weight_types:
                weight = WEIGHT_TYPES[name]
                with m.Case(code_of("array", "weight", name)):
                    m.d.sync += state.odd.eq(weight.coding == "odd")
                    if configuration.looks_up_tables:
                        m.d.sync += [state.planes.eq(weight.bits - 1), state.plane.eq(weight.bits - 1)]


def _at_most(left: Value, count: int) -> Value:
    """The last of what is left, or of `count` if that is less."""
    return Mux(left < count, left, count - 1)


def _low_bits(address: Value, size_bytes: int) -> Value:
    """Whether an address is no multiple of a size, which is a power of two."""
    bits = exact_log2(size_bytes)
    return address[:bits].any() if bits else Const(0)
