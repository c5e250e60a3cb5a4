"""The way of complete sums into the accumulator scratchpad, a row of N a cycle. When they are complete is the arrays'
subject; where they belong, that of `rtl.engines.steps`.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.commands import WORK_OF
from rtl.configuration import Configuration
from rtl.interfaces import SCRATCHPAD_ADDRESS_BITS, LaneRead, LaneWrite, sums_layout

__all__ = ["Drain", "block_layout"]


def block_layout(configuration: Configuration) -> data.StructLayout:
    """Where a block of sums goes.

    `empty`: there are no sums, and nothing is written. `begins`, `ends`: it is the first, the last of its command.
    `accumulate`: whether to add. `index`: of the accumulator of its first row and column; `pitch`: from a row to the
    next. `row`, `column`: the last that is written.
    """
    unit = configuration.unit
    flags = dict.fromkeys(("empty", "begins", "ends", "accumulate"), 1)
    return data.StructLayout(
        {
            **flags,
            "index": SCRATCHPAD_ADDRESS_BITS,
            "pitch": WORK_OF["array"].field("columns").width + 1,
            "row": range(max(2, unit.m)),
            "column": range(max(2, unit.n)),
        }
    )


class Drain(wiring.Component):
    """Writes blocks of M x N sums, or adds them to what is there.

        sums ─► [rows] ─► + ─► [row] ─► accumulators
        index ──► read ───┘

    Latency: `LATENCY_CYCLES` from sums taken to the last of M rows written. Throughput: a row a cycle; sums are taken
    while the last row before them is added, so that none are waited for if an array's blocks are M steps or longer.

    Rows of one command never overlap, so only the first row of a command that accumulates has to wait until everything
    before it is written.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    blocks : stream, in
        `block_layout`, for each block of sums in the order of the sums, ahead of them.
    sums : stream, in
    accumulators : LaneRead, out
    results : LaneWrite, out
    taken : Signal, out
        The last block of a command is taken in this cycle.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._unit = configuration.unit
        self._block = block_layout(configuration)
        super().__init__(
            {
                "blocks": In(stream.Signature(self._block)),
                "sums": In(stream.Signature(sums_layout(configuration))),
                "accumulators": Out(LaneRead(self._unit.n)),
                "results": Out(LaneWrite(self._unit.n)),
                "taken": Out(1),
            }
        )

    @staticmethod
    def latency_cycles(m: int) -> int:
        """From the cycle in which sums of M rows are taken to that in which the last of them is written."""
        return m + 1

    def elaborate(self, _platform: object) -> Module:
        """Read, add, write: a stage each."""
        m = Module()
        rows, lanes = self._unit.m, self._unit.n
        block, sums = self.blocks.payload, self.sums
        waiting = [Signal(data.ArrayLayout(32, lanes), name=f"row_{row}", reset_less=True) for row in range(rows)]
        left, index = Signal(range(rows + 1)), Signal(SCRATCHPAD_ADDRESS_BITS)
        current = Signal(self._block)
        free, wanted, takes = Signal(), Signal(), Signal()
        # `left` counts the rows that are not written yet, of which the first is added in this cycle.
        overtakes = block.begins & block.accumulate & (left.any() | self.results.enable)
        m.d.comb += [
            free.eq((left <= 1) & ~overtakes),
            wanted.eq(self.blocks.valid & ~block.empty & free),
            sums.ready.eq(wanted),
            takes.eq(wanted & sums.valid),
            self.blocks.ready.eq(free & (block.empty | sums.valid)),
            self.taken.eq(self.blocks.valid & self.blocks.ready & block.ends),
        ]
        # `index` is the row that is read for the next cycle.
        m.d.comb += [
            self.accumulators.enable.eq(Mux(takes, block.accumulate, (left > 1) & current.accumulate)),
            self.accumulators.index.eq(Mux(takes, block.index, index)),
        ]
        adding = Signal(SCRATCHPAD_ADDRESS_BITS)
        with m.If(left.any()):
            m.d.sync += [left.eq(left - 1), adding.eq(index), index.eq(index + current.pitch)]
            m.d.sync += [before.eq(after) for before, after in pairwise(waiting)]
        with m.If(takes):
            m.d.sync += [left.eq(block.row + 1), current.eq(block)]
            m.d.sync += [adding.eq(block.index), index.eq(block.index + block.pitch)]
            m.d.sync += [row.eq(sums.payload[number]) for number, row in enumerate(waiting)]
        m.d.sync += self.results.enable.eq(left.any())
        with m.If(left.any()):
            m.d.sync += self.results.index.eq(adding)
            for lane in range(lanes):
                present = Mux(current.accumulate, self.accumulators.data[lane], 0)
                m.d.sync += self.results.data[lane].eq(waiting[0][lane] + present)
            m.d.sync += self.results.mask.eq(Cat(current.column >= lane if lane else 1 for lane in range(lanes)))
        return m
