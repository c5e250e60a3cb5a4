"""The array engine: executes `lmma` with any array that takes steps and gives sums.

What an array does in a step is the subject of `rtl.arrays`, where its sums go that of `rtl.engines.drain`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.configuration import Configuration, UnsupportedConfiguration
from rtl.engines.activations import ActivationUnpacker, read_bytes
from rtl.engines.drain import Drain, block_layout
from rtl.engines.steps import StepCounter, place_layout
from rtl.interfaces import LaneRead, LaneWrite, ScratchpadRead, engine_signature, step_layout, sums_layout
from rtl.streams import StreamQueue

__all__ = ["ArrayEngine"]

# Blocks of one step follow each other every cycle; fewer than these are between their addresses and their sums.
BLOCKS_ON_THE_WAY = 8

FLAGS = ("first", "last", "first_plane", "last_plane", "odd")


class ArrayEngine(wiring.Component):
    """Executes `lmma`: for blocks of M rows, for blocks of N columns, for groups of K inputs, for bit planes from the
    highest, a step of the array; each block of sums is complete before the next begins (output stationary).

        addresses ─► scratchpads ─► step ─► [ array ] ─► sums ─► drain ─► accumulators
             └──────────── where the sums go ──[queue]───────────┘

    Latency: of a command that is accepted in cycle a and has P steps, one a cycle, `done` comes in cycle
    a + P + `array_pipeline_cycles` - 1, and as much later as the array or the drain made it wait. Addresses, the drain
    and the array need `least_pipeline_cycles` of it. Throughput: a step a cycle if the array takes one, commands
    without a gap; but a block of fewer than M steps takes M cycles, a row each.

    A command with an error ends where it is found. `ILLEGAL_INSTRUCTION`: its shape, types, or the order of its
    operands are none that the unit was built for. `MISALIGNED_ADDRESS`: weights that do not begin at a multiple of a
    step's bytes, tables at one of a table's, accumulators at one of theirs. `ILLEGAL_ADDRESS`: inputs, weights or
    accumulators beyond the end of their scratchpad.

    Parameters
    ----------
    configuration : Configuration
    array_latency_cycles : int
        `LATENCY_CYCLES` of the array.

    Attributes
    ----------
    command, done, working, error
        `engine_signature`.
    inputs_0, inputs_1, ... : ScratchpadRead, out
        For each of M rows a table, aligned, or `read_bytes(K)` bytes of activations, unaligned.
    weights : ScratchpadRead, out
        The weights of a step, `plane_bytes`, aligned.
    step : stream, out
    sums : stream, in
        To and from the array. `first` and `last` are set in one step of a block each.
    accumulators : LaneRead, out
    results : LaneWrite, out
        N lanes.

    Raises
    ------
    UnsupportedConfiguration
        If `array_pipeline_cycles` is less than is needed, or the weights of a step are no power of two of bytes.
    """

    def __init__(self, configuration: Configuration, *, array_latency_cycles: int) -> None:
        least = self.least_pipeline_cycles(configuration, array_latency_cycles)
        if configuration.array_pipeline_cycles < least:
            found = configuration.array_pipeline_cycles
            raise UnsupportedConfiguration("array_pipeline_cycles", found, f"at least {least}")
        plane_bytes = configuration.plane_bytes
        if plane_bytes & plane_bytes - 1:
            raise UnsupportedConfiguration("weight_bits", configuration.weight_bits, "1, 2, 4 or 8")
        self._configuration, self._array_latency_cycles = configuration, array_latency_cycles
        unit = configuration.unit
        input_bytes = configuration.table_bytes if configuration.looks_up_tables else read_bytes(unit.k)
        super().__init__(
            {
                **engine_signature("array"),
                **{f"inputs_{row}": Out(ScratchpadRead(input_bytes)) for row in range(unit.m)},
                "weights": Out(ScratchpadRead(plane_bytes)),
                "step": Out(stream.Signature(step_layout(configuration))),
                "sums": In(stream.Signature(sums_layout(configuration))),
                "accumulators": Out(LaneRead(unit.n)),
                "results": Out(LaneWrite(unit.n)),
            }
        )

    @staticmethod
    def least_pipeline_cycles(configuration: Configuration, array_latency_cycles: int) -> int:
        """The least `array_pipeline_cycles`: the data's cycle, the array's, the drain's, and one until all is there."""
        return array_latency_cycles + Drain.latency_cycles(configuration.unit.m) + 2

    def elaborate(self, _platform: object) -> Module:
        """Addresses, a register for what belongs to the operands that are read, and the drain."""
        m = Module()
        configuration, step = self._configuration, self.step
        m.submodules.steps = steps = StepCounter(configuration)
        m.submodules.blocks = blocks = StreamQueue(block_layout(configuration), depth=BLOCKS_ON_THE_WAY)
        m.submodules.drain = drain = Drain(configuration)
        wiring.connect(m, blocks.sink, drain.blocks)
        wiring.connect(m, wiring.flipped(self.command), steps.command)
        wiring.connect(m, wiring.flipped(self.sums), drain.sums)
        wiring.connect(m, drain.accumulators, wiring.flipped(self.accumulators))
        wiring.connect(m, drain.results, wiring.flipped(self.results))
        place = steps.places.payload
        read, reads = Signal(place_layout(configuration)), Signal()
        m.d.comb += [
            *(self.working.eq(steps.working), self.error.eq(steps.error)),
            # Whatever was read stands at the scratchpads' ports until the array takes it.
            steps.places.ready.eq((~step.valid | step.ready) & blocks.source.ready),
            reads.eq(steps.places.valid & steps.places.ready),
            *(blocks.source.valid.eq(steps.block_ends), blocks.source.payload.eq(steps.block)),
            *(self.weights.enable.eq(reads), self.weights.address.eq(place.weights)),
            *(step.payload[flag].eq(read[flag]) for flag in FLAGS),
            step.payload.weights.eq(self.weights.data),
        ]
        with m.If(~step.valid | step.ready):
            m.d.sync += [step.valid.eq(reads), read.eq(place)]
        for row in range(configuration.unit.m):
            port = getattr(self, f"inputs_{row}")
            m.d.comb += [
                port.enable.eq(reads & place.first_plane & place.rows[row]),
                port.address.eq(place.inputs[row]),
            ]
            if configuration.looks_up_tables:
                m.d.comb += step.payload.inputs[row].eq(port.data)
                continue
            m.submodules[f"unpacker_{row}"] = unpacker = ActivationUnpacker(count=configuration.unit.k)
            m.d.comb += [
                *(unpacker.packed.eq(port.data), unpacker.bit.eq(read.bit)),
                *(unpacker.bits.eq(read.bits), unpacker.last.eq(read.input)),
                step.payload.inputs[row].eq(unpacker.activations),
            ]
        # The array's cycles and those of the drain have passed when the last sums are taken; the rest is waited for.
        ended = Signal(configuration.array_pipeline_cycles - self._array_latency_cycles - 2)
        m.d.sync += ended.eq(Cat(drain.taken, ended))
        m.d.comb += self.done.eq(ended[-1])
        return m
