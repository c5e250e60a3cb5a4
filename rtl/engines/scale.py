"""The scale engine: float32 results of integer accumulators, in the accumulator scratchpad.

Here is which lanes are read and written when; what is computed of them is the subject of `engines.scale_lanes`.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from isa.instructions.types import ELEMENT_DTYPES
from rtl.commands import code_of, command_layout
from rtl.configuration import ACCUMULATOR_BYTES, Configuration, UnsupportedConfiguration
from rtl.engines.scale_lanes import ScaleLanes
from rtl.errors import ErrorCode
from rtl.floats import DIVIDE_CYCLES
from rtl.interfaces import (
    SCRATCHPAD_ADDRESS_BITS,
    LaneRead,
    LaneWrite,
    ScratchpadRead,
    engine_signature,
)

__all__ = ["DIVIDE_CYCLES", "LATENCY_CYCLES", "ScaleEngine"]

LATENCY_CYCLES = 8
"""From the cycle in which a step reads to that in which it is written, both included."""

_PRESENT_CYCLE = 4
_LAST_CYCLE = LATENCY_CYCLES - 1
_ROW_SCALE_BYTES = ELEMENT_DTYPES["fp32"].itemsize


class ScaleEngine(wiring.Component):
    """Scales rows of accumulators, `scale_lanes` columns of one row at a time.

    A step of the next command waits while a step before it has not written what it reads; source and target of one
    command are the same place or do not overlap.

    Throughput: `rows * ceil(columns / scale_lanes)` steps, one a cycle, or one every `DIVIDE_CYCLES` with `divide`.
    Latency: `LATENCY_CYCLES`, filled up to `scale_pipeline_cycles`.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    command, done, working, error
        As `rtl.interfaces.engine_signature` has them. `ILLEGAL_ADDRESS`: of an access beyond a scratchpad.
        `MISALIGNED_ADDRESS`: accumulators, results or column scales that are not at a multiple of their size.
    accumulators : LaneRead, out
    present : LaneRead, out
        The result so far, with granularity `group`.
    results : LaneWrite, out
    column_scales : ScratchpadRead, out
        At any multiple of the element's size, 4 bytes a lane; of fp16 the lower half is looked at.
    row_scale : ScratchpadRead, out
        4 bytes at any address.

    Raises
    ------
    UnsupportedConfiguration
        If `scale_pipeline_cycles` is below `LATENCY_CYCLES`.
    """

    def __init__(self, configuration: Configuration) -> None:
        if configuration.scale_pipeline_cycles < LATENCY_CYCLES:
            found = configuration.scale_pipeline_cycles
            raise UnsupportedConfiguration("scale_pipeline_cycles", found, f"at least {LATENCY_CYCLES}")
        self._configuration = configuration
        self._lanes = lanes = configuration.scale_lanes
        super().__init__(
            {
                **engine_signature("scale"),
                "accumulators": Out(LaneRead(lanes)),
                "present": Out(LaneRead(lanes)),
                "results": Out(LaneWrite(lanes)),
                "column_scales": Out(ScratchpadRead(4 * lanes)),
                "row_scale": Out(ScratchpadRead(_ROW_SCALE_BYTES)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """Steps of commands, and their way through the lanes."""
        m = Module()
        walk = _Walk(m, self._configuration)
        tags, dividing = self._pipeline(m)
        self._begin(m, walk, tags, dividing)

        following = Signal(command_layout("scale"))
        m.d.comb += following.eq(self.command.payload)
        m.d.comb += [self.command.ready.eq(~walk.working | walk.leaves), self.working.eq(walk.working)]
        with m.If(self.command.ready):
            m.d.sync += walk.working.eq(self.command.valid)
            with m.If(self.command.valid):
                walk.accept(m, following)
        with m.Elif(walk.step_ends):
            walk.advance(m)

        done = tags[_LAST_CYCLE].valid & tags[_LAST_CYCLE].last
        for cycle in range(self._configuration.scale_pipeline_cycles - LATENCY_CYCLES):
            later = Signal(name=f"done_{cycle}")
            m.d.sync += later.eq(done)
            done = later
        m.d.comb += self.done.eq(done)
        return m

    def _begin(self, m: Module, walk: _Walk, tags: list[Any], dividing: Any) -> None:
        """The first cycle of a step: read and enter the pipeline, or fail, or wait."""
        source, target = walk.range_of(walk.source), walk.range_of(walk.target)
        # With the cycle in which its results are written over before them, a step comes too early for what is read at
        # once as long as it is in the pipeline, and for what is read later in its first cycles.
        early = [*tags[1:4], dividing]
        read_early = Cat(*(tag.valid & _overlap(tag, source) for tag in [*tags[1:], dividing])).any()
        added_early = walk.adds & ~walk.divides & Cat(*(tag.valid & _overlap(tag, target) for tag in early)).any()
        begins, reads = Signal(), Signal()
        m.d.comb += [
            begins.eq(walk.working & ~walk.cycle.any() & (walk.error.any() | ~(read_early | added_early))),
            reads.eq(begins & ~walk.error.any()),
            walk.begins.eq(begins),
            self.error.eq(Mux(begins, walk.error, ErrorCode.NONE)),
            self.accumulators.enable.eq(reads),
            self.accumulators.index.eq(walk.source),
            self.column_scales.enable.eq(reads),
            self.column_scales.address.eq(walk.column_address),
            self.row_scale.enable.eq(reads & walk.row_begins),
            self.row_scale.address.eq(walk.row_address),
            tags[0].valid.eq(begins),
            tags[0].last.eq(walk.is_last | walk.error.any()),
            tags[0].begin.eq(target[0]),
            tags[0].end.eq(Mux(reads, target[1], target[0])),
            tags[0].divides.eq(walk.divides & reads),
            tags[0].adds.eq(walk.adds & reads),
            tags[0].halves.eq(walk.halves),
            tags[0].one.eq(walk.one),
        ]

    def _pipeline(self, m: Module) -> tuple[list[Any], Any]:
        """What is known of the step in each cycle of the lanes' picture, cycle 0 that in which it reads; and of the one
        that is divided."""
        m.submodules.lanes = lanes = ScaleLanes(lanes=self._lanes)
        tags = [Signal(_TAG, name=f"tag_{cycle}") for cycle in range(LATENCY_CYCLES)]
        dividing = Signal(_TAG, name="tag_dividing")
        entered = Signal(_TAG, name="tag_entered")
        for cycle in range(1, LATENCY_CYCLES):
            register = entered if cycle == 3 else tags[cycle]
            before = tags[cycle - 1]
            m.d.sync += register.valid.eq(before.valid & ~before.divides if cycle == 3 else before.valid)
            with m.If(before.valid):
                m.d.sync += [
                    getattr(register, name).eq(getattr(before, name)) for name in _TAG.members if name != "valid"
                ]
        m.d.comb += tags[3].eq(Mux(lanes.divided, dividing, entered))
        with m.If(tags[2].valid & tags[2].divides):
            m.d.sync += dividing.eq(tags[2])
        with m.Elif(lanes.divided):
            m.d.sync += dividing.valid.eq(0)

        last = tags[_LAST_CYCLE]
        m.d.comb += [
            lanes.valid.eq(tags[1].valid),
            lanes.accumulators.eq(self.accumulators.data),
            lanes.column_scales.eq(self.column_scales.data),
            lanes.row_scale.eq(self.row_scale.data),
            lanes.halves.eq(tags[1].halves),
            lanes.one.eq(tags[1].one),
            lanes.divides.eq(tags[1].divides),
            lanes.adds.eq(tags[1].adds),
            self.present.enable.eq(tags[_PRESENT_CYCLE].valid & tags[_PRESENT_CYCLE].adds),
            self.present.index.eq(tags[_PRESENT_CYCLE].begin),
            lanes.present.eq(self.present.data),
            self.results.enable.eq(last.valid & (last.end != last.begin)),
            self.results.index.eq(last.begin),
            self.results.data.eq(lanes.results),
            self.results.mask.eq((1 << (last.end - last.begin)[: self._lanes.bit_length()]) - 1),
        ]
        return tags, dividing


_TAG = data.StructLayout(
    {
        "valid": 1,
        "last": 1,
        "divides": 1,
        "adds": 1,
        "halves": 1,
        "one": 1,
        "begin": SCRATCHPAD_ADDRESS_BITS,
        "end": SCRATCHPAD_ADDRESS_BITS,
    }
)


class _Walk:
    """Registers that go through a command's steps, and what follows from them."""

    def __init__(self, m: Module, configuration: Configuration) -> None:
        layout, lanes = command_layout("scale"), configuration.scale_lanes
        self._layout, self._lanes = layout, lanes
        self._command = Signal(layout, name="current", reset_less=True)
        self._sizes = configuration.unit.accumulator_bytes // ACCUMULATOR_BYTES, configuration.unit.scale_bytes
        self.working = Signal()
        self.cycle = Signal(range(DIVIDE_CYCLES))
        # Elements of the scratchpads, which programs address by bytes.
        index_bits = len(self._command.source) - (ACCUMULATOR_BYTES - 1).bit_length()
        self.source, self.target = (Signal(index_bits, name=name, reset_less=True) for name in ("source", "target"))
        self.column_address = Signal.like(Value.cast(self._command.column_scales), reset_less=True)
        self.row_address = Signal.like(Value.cast(self._command.row_scales), reset_less=True)
        self._columns = Signal.like(Value.cast(self._command.columns), reset_less=True)
        self._rows = Signal.like(Value.cast(self._command.rows), reset_less=True)
        self.row_begins = Signal(reset_less=True)

        command = self._command
        self.adds = command.granularity == code_of("scale", "granularity", "group")
        self.divides = command.rule == code_of("scale", "rule", "divide")
        self.one = command.columns_have == code_of("scale", "columns_have", "one")
        self.halves = command.scale == code_of("scale", "scale", "fp16")
        self.begins, self.leaves, self.step_ends = (Signal(name=name) for name in ("begins", "leaves", "step_ends"))
        self.row_ends, self.is_last = Signal(name="row_ends"), Signal(name="is_last")
        self._count = Signal(range(lanes + 1), name="count")
        self.error = Signal(ErrorCode, name="step_error")
        fails = Value.cast(self.error).any()
        m.d.comb += [
            self.row_ends.eq(self._columns < lanes),
            self._count.eq(Mux(self.row_ends, self._columns + 1, lanes)),
            self.is_last.eq(self.row_ends & ~self._rows.any()),
            self.step_ends.eq(Mux(self.divides & ~fails, self.cycle == DIVIDE_CYCLES - 1, self.begins)),
            self.leaves.eq(self.step_ends & (self.is_last | fails)),
        ]
        with m.If(self.step_ends):
            m.d.sync += self.cycle.eq(0)
        with m.Elif(self.begins | self.cycle.any()):
            m.d.sync += self.cycle.eq(self.cycle + 1)
        self._check(m)

    def _check(self, m: Module) -> None:
        """Whether the step can be done."""
        command, (elements, scale_bytes) = self._command, self._sizes
        column_bytes = Mux(self.one, 1, self._count) << Mux(self.halves, 1, 2)
        low = Mux(self.halves, command.column_scales[0], command.column_scales[:2].any())
        misaligned = command.source[:2].any() | command.target[:2].any() | low
        illegal = (
            (self.source + self._count > elements)
            | (self.target + self._count > elements)
            | (self.column_address + column_bytes > scale_bytes)
            | (self.row_address + _ROW_SCALE_BYTES > scale_bytes)
        )
        with m.If(misaligned):
            m.d.comb += self.error.eq(ErrorCode.MISALIGNED_ADDRESS)
        with m.Elif(illegal):
            m.d.comb += self.error.eq(ErrorCode.ILLEGAL_ADDRESS)

    def range_of(self, index: Signal) -> tuple[Value, Value]:
        """The first element of the step from an index on, and the one behind its last."""
        return index[:SCRATCHPAD_ADDRESS_BITS], (index + self._count)[:SCRATCHPAD_ADDRESS_BITS]

    def accept(self, m: Module, command: Any) -> None:
        """Begin at the first step of a command."""
        m.d.sync += [
            self._command.eq(command),
            self.source.eq(command.source[2:]),
            self.target.eq(command.target[2:]),
            self.column_address.eq(command.column_scales),
            self.row_address.eq(command.row_scales),
            self._columns.eq(command.columns),
            self._rows.eq(command.rows),
            self.row_begins.eq(1),
        ]

    def advance(self, m: Module) -> None:
        """Go on to the next step."""
        m.d.sync += [
            self.source.eq(self.source + self._count),
            self.target.eq(self.target + self._count),
            self.row_begins.eq(self.row_ends),
        ]
        with m.If(self.row_ends):
            m.d.sync += [
                self._columns.eq(self._command.columns),
                self._rows.eq(self._rows - 1),
                self.column_address.eq(self._command.column_scales),
                self.row_address.eq(self.row_address + _ROW_SCALE_BYTES),
            ]
        with m.Else():
            m.d.sync += self._columns.eq(self._columns - self._lanes)
            with m.If(~self.one):
                step = Mux(self.halves, 2 * self._lanes, 4 * self._lanes)
                m.d.sync += self.column_address.eq(self.column_address + step)


def _overlap(tag: Any, elements: tuple[Value, Value]) -> Value:
    begin, end = elements
    return (tag.begin < end) & (begin < tag.end)
