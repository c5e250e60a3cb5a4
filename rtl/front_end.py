"""The front end: executes control instructions and hands the others to the queues of their engines, one a cycle.

What every instruction means stands in `isa.instructions` and `isa.front_end`; where its fields lie, in `isa.decoder`.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from isa.decoder import DECODER, OPCODE_BITS, Word, WordField
from isa.instructions.types import ENGINES, Engine
from rtl.commands import command_layout
from rtl.configuration import Configuration
from rtl.errors import ErrorCode
from rtl.instruction_store import InstructionStore
from rtl.pointers import Pointers
from rtl.read_port import ReadClient

__all__ = ["FrontEnd"]

_CONTROL = {word.mnemonic: word for word in DECODER.words if word.on_front_end}
_SYNC = next(word for word in DECODER.words if not word.on_front_end and word.engine is None)
_LOOP_COUNT = _CONTROL["loop"].field("count")


class FrontEnd(wiring.Component):
    """Runs a program.

    Latency: from `start` to the first instruction as long as its words take to come from memory; a command is in its
    queue in the cycle after its instruction was executed. Throughput: an instruction a cycle, `end` of loops included.

    Parameters
    ----------
    configuration : Configuration

    Attributes
    ----------
    start : Signal, in
        Run the program of `program_words` words that begins at `program_address`.
    load, table, array, scale, store : stream, out
        Commands.
    all_idle : Signal, in
        Nothing is queued or in flight.
    read : ReadClient, out
        The memory, for words.
    clear : Signal, out
        Empty the token counters.
    fetching, executing : Signal, out
    finished : Signal, out
        For one cycle: it has halted, and everything is done.
    waiting : Signal, out
        It cannot go on in this cycle.
    position : Signal, out
        The instruction that is executed.
    error : ErrorCode, out
        For one cycle; it has then stopped.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        commands: dict[str, wiring.Member] = {
            engine: Out(stream.Signature(command_layout(engine))) for engine in ENGINES
        }
        super().__init__(
            {
                **commands,
                "start": In(1),
                "program_address": In(DECODER.address_bits),
                "program_words": In(32),
                "all_idle": In(1),
                "read": Out(ReadClient(configuration.bus_bytes)),
                "clear": Out(1),
                "fetching": Out(1),
                "executing": Out(1),
                "finished": Out(1),
                "waiting": Out(1),
                "position": Out(range(configuration.instruction_words)),
                "error": Out(ErrorCode),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """The next word is asked for in the cycle in which it becomes known that it is the next."""
        m = Module()
        m.submodules.instructions = store = InstructionStore(self._configuration)
        m.submodules.pointers = self._pointers = Pointers()
        wiring.connect(m, wiring.flipped(self.read), store.read)
        m.d.comb += [
            store.start.eq(self.start & ~self.executing),
            store.address.eq(self.program_address),
            store.words.eq(self.program_words),
            self.fetching.eq(store.fetching),
            self.error.eq(store.error),
        ]
        self._word, self._done, self._next = store.word, Signal(), Signal.like(self.position)
        m.d.comb += [store.number.eq(0), self._next.eq(self.position + 1)]
        self._loops(m)
        with m.If(store.fetched):
            m.d.sync += [self.executing.eq(1), self.position.eq(0), self._depth.eq(0)]
        with m.If(self.executing):
            m.d.comb += [store.number.eq(self.position), self.waiting.eq(~self._done)]
            with m.If(self.position >= self.program_words):
                self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION)
            with m.Else():
                self._execute(m)
            with m.If(self._done):
                m.d.comb += store.number.eq(self._next)
                m.d.sync += self.position.eq(self._next)
        return m

    def _loops(self, m: Module) -> None:
        """Of every open loop: where its body begins, and how many iterations are left after this one."""
        layout = StructLayout({"body": len(self.position), "left": _LOOP_COUNT.width})
        m.submodules.loops = loops = memory.Memory(shape=layout, depth=DECODER.deepest_loop, init=[])
        self._loop_write, self._loop_read = loops.write_port(), loops.read_port(domain="comb")
        self._depth = Signal(range(DECODER.deepest_loop + 1))
        m.d.comb += self._loop_read.addr.eq(self._depth - 1)

    def _fail(self, m: Module, code: ErrorCode) -> None:
        m.d.comb += self.error.eq(code)
        m.d.sync += self.executing.eq(0)

    def _bits(self, field: WordField) -> Signal:
        bits = self._word[field.offset : field.offset + field.width]
        return bits.as_signed() if field.signed else bits

    def _is_legal(self, word: Word) -> Signal:
        """Whether codes of choices have names, and the bits behind the last field are zero."""
        legal = ~self._word[word.used_bits :].any()
        for field in word.fields:
            if field.kind == "choice" and len(field.choices) < 1 << field.width:
                legal &= self._bits(field) < len(field.choices)
        return legal

    def _execute(self, m: Module) -> None:
        with m.Switch(self._word[:OPCODE_BITS]):
            for word in DECODER.words:
                with m.Case(word.opcode):
                    with m.If(~self._is_legal(word)):
                        self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION)
                    with m.Else():
                        if word is _SYNC:
                            self._hand_sync(m)
                        elif word.engine is not None:
                            self._hand_over(m, word, word.engine)
                        else:
                            getattr(self, f"_{word.mnemonic}")(m, word)
            with m.Default():
                self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION)

    def _hand_over(self, m: Module, word: Word, engine: Engine) -> None:
        """Wait for a place in the queue."""
        queue, pointers = getattr(self, engine), iter(range(len(word.fields)))
        m.d.comb += [queue.valid.eq(1), self._done.eq(queue.ready)]
        for field in word.fields:
            value = self._bits(field)
            if field.kind == "pointer":
                port = next(pointers)
                m.d.comb += getattr(self._pointers, f"read_{port}").eq(value)
                value = getattr(self._pointers, f"address_{port}")
            m.d.comb += getattr(queue.payload, field.name).eq(value)

    def _hand_sync(self, m: Module) -> None:
        unit = _SYNC.field("unit")
        with m.Switch(self._bits(unit)):
            for engine in ENGINES:
                with m.Case(unit.code(engine)):
                    queue = getattr(self, engine)
                    m.d.comb += [queue.valid.eq(1), queue.payload.sync.eq(1), self._done.eq(queue.ready)]
                    for name in ("wait", "signal"):
                        m.d.comb += getattr(queue.payload, name).eq(self._bits(_SYNC.field(name)))

    def _set(self, m: Module, word: Word) -> None:
        pointers = self._pointers
        m.d.comb += [
            pointers.target.eq(self._bits(word.field("target"))),
            pointers.base.eq(self._bits(word.field("base"))),
            pointers.ring.eq(self._bits(word.field("ring_bytes"))),
            pointers.set.eq(1),
            self._done.eq(1),
        ]

    def _step(self, m: Module, word: Word) -> None:
        pointers = self._pointers
        m.d.comb += [
            pointers.target.eq(self._bits(word.field("target"))),
            pointers.stride.eq(self._bits(word.field("stride_bytes"))),
        ]
        with m.If(pointers.too_far):
            self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION)
        with m.Else():
            m.d.comb += [pointers.step.eq(1), self._done.eq(1)]

    def _loop(self, m: Module, word: Word) -> None:
        with m.If(self._depth == DECODER.deepest_loop):
            self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION)
        with m.Else():
            m.d.comb += [
                self._loop_write.addr.eq(self._depth),
                self._loop_write.data.body.eq(self.position + 1),
                self._loop_write.data.left.eq(self._bits(word.field("count"))),
                self._loop_write.en.eq(1),
                self._done.eq(1),
            ]
            m.d.sync += self._depth.eq(self._depth + 1)

    def _end(self, m: Module, _word: Word) -> None:
        innermost = self._loop_read.data
        with m.If(self._depth == 0):
            self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION)
        with m.Else():
            m.d.comb += [
                self._done.eq(1),
                self._next.eq(Mux(innermost.left.any(), innermost.body, self.position + 1)),
                self._loop_write.addr.eq(self._depth - 1),
                self._loop_write.data.body.eq(innermost.body),
                self._loop_write.data.left.eq(innermost.left - 1),
                self._loop_write.en.eq(innermost.left.any()),
            ]
            with m.If(~innermost.left.any()):
                m.d.sync += self._depth.eq(self._depth - 1)

    def _fence(self, m: Module, _word: Word) -> None:
        m.d.comb += [self._done.eq(self.all_idle), self.clear.eq(self.all_idle)]

    def _halt(self, m: Module, _word: Word) -> None:
        with m.If(self.all_idle):
            m.d.comb += [self.finished.eq(1), self._done.eq(1)]
            m.d.sync += self.executing.eq(0)
