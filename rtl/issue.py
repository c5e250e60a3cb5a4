"""Between the queue of an engine and the engine: takes tokens, hands the command over, gives tokens when it is done."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.decoder import DECODER
from isa.instructions.types import Engine
from rtl.commands import command_layout
from rtl.streams import StreamQueue
from rtl.tokens import TokenPort

__all__ = ["Issue"]

IN_FLIGHT = data.StructLayout({"sync": 1, "signal": DECODER.tokens})


class Issue(wiring.Component):
    """Issues the commands of one engine in order.

    A command leaves the queue in the cycle in which the engine accepts it and all its tokens are there. A `sync` takes
    the place of a command for one cycle, and its tokens are given when all commands before it are done.

    Latency: none from the queue to the engine; tokens of a `sync` with nothing before it, and of a command that is
    done, can be taken in the next cycle.

    Parameters
    ----------
    engine : str
    in_flight : int
        Commands that may have been accepted and not be done.

    Attributes
    ----------
    queue : stream, in
        Commands from the front end.
    command : stream, out
        To the engine, whose `ready` must not depend on `valid`.
    done : Signal, in
        From the engine: the oldest command in flight is done.
    tokens : TokenPort, out
    idle : Signal, out
        Nothing is in flight.
    blocked : Signal, out
        The next command lacks a token.
    issued : Signal, out
        A command other than `sync` was accepted.
    """

    def __init__(self, *, engine: Engine, in_flight: int) -> None:
        if in_flight < 1:
            raise ValueError(f"in_flight is {in_flight}, must be at least 1")
        self._depth = in_flight
        layout = stream.Signature(command_layout(engine))
        super().__init__(
            {
                "queue": In(layout),
                "command": Out(layout),
                "done": In(1),
                "tokens": Out(TokenPort()),
                "idle": Out(1),
                "blocked": Out(1),
                "issued": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        """A queue of what is in flight; its head is given when it is done."""
        m = Module()
        m.submodules.flights = flights = StreamQueue(IN_FLIGHT, depth=self._depth)
        head, tokens = self.queue.payload, self.tokens
        at_once = Signal()
        m.d.comb += [
            tokens.wait.eq(head.wait),
            tokens.want.eq(self.queue.valid & self.command.ready & flights.source.ready),
            self.queue.ready.eq(tokens.granted),
            self.command.payload.eq(head),
            self.command.valid.eq(tokens.granted & ~head.sync),
            self.issued.eq(self.command.valid),
            self.blocked.eq(tokens.want & ~tokens.granted),
            at_once.eq(tokens.granted & head.sync & self.idle),
            flights.source.valid.eq(tokens.granted & ~at_once),
            flights.source.payload.sync.eq(head.sync),
            flights.source.payload.signal.eq(head.signal),
        ]
        # Commands that were done while a `sync` before them was given.
        waiting = Signal(range(self._depth + 1))
        oldest, given = flights.sink.payload, Signal()
        m.d.comb += [
            self.idle.eq(~flights.sink.valid),
            given.eq(flights.sink.valid & (oldest.sync | self.done | waiting.any())),
            flights.sink.ready.eq(given),
            tokens.give.eq(Mux(given, oldest.signal, Mux(at_once, head.signal, 0))),
        ]
        m.d.sync += waiting.eq(waiting + self.done - (given & ~oldest.sync))
        return m
