"""What is claimed of the queue between streams and of the issue of commands, for every order of events."""

from __future__ import annotations

from amaranth.hdl import Array, Assume, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from claims_inside import Inside, claim

from isa.decoder import DECODER
from isa.instructions.types import Engine
from rtl.commands import command_layout

__all__ = ["IssueClaims", "QueueOrderClaims"]


class _Line:
    """What waits, the oldest first: a queue as one would say it, a row of registers that all move up."""

    def __init__(self, m: Module, width: int, depth: int) -> None:
        self.entries = [Signal(width, name=f"waiting_{place}") for place in range(depth)]
        self.count = Signal(range(depth + 1), name="waiting_count")
        self._m = m

    def step(self, put: Value, what: Value, take: Value) -> None:
        """Put something behind all others and take the oldest, where these are set."""
        end = self.count - take
        for place, entry in enumerate(self.entries):
            follower = self.entries[place + 1] if place + 1 < len(self.entries) else entry
            self._m.d.sync += entry.eq(Mux(put & (end == place), what, Mux(take, follower, entry)))
        self._m.d.sync += self.count.eq(self.count + put - take)

    def claim_same(self, inside: Inside, path: str) -> None:
        """That a `SyncFIFO` holds just this."""
        depth, words = len(self.entries), inside.words(f"{path}.storage")
        oldest, level = inside.register(f"{path}.consume"), inside.register(f"{path}.level")
        newest = inside.register(f"{path}.produce")
        claim(self._m, "level", level == self.count)
        claim(self._m, "level_in_range", level <= depth)
        claim(self._m, "places_in_range", (oldest < depth) & (newest < depth))
        claim(self._m, "places", newest == _wrapped(oldest + level, depth))
        for place, entry in enumerate(self.entries):
            held = Array(words)[_wrapped(oldest + place, depth)]
            claim(self._m, f"order_{place}", (place >= self.count) | (held == entry))


def _wrapped(place: Value, depth: int) -> Value:
    return Mux(place >= depth, place - depth, place)


class QueueOrderClaims(wiring.Component):
    """A queue that is filled and emptied at any time: what comes out is what went in, in order, and all of it.

    Parameters
    ----------
    queue : wiring.Component
        A `StreamQueue` of 4 bits.
    depth : int
        Its depth.
    """

    def __init__(self, queue: wiring.Component, depth: int) -> None:
        self._queue, self._depth = queue, depth
        super().__init__({"source": In(stream.Signature(4)), "sink": Out(stream.Signature(4))})

    def elaborate(self, _platform: object) -> Module:
        """The queue beside a line."""
        m = Module()
        inside = Inside(self._queue)
        m.submodules.queue = inside.fragment
        source, sink = self._queue.source, self._queue.sink
        wiring.connect(m, wiring.flipped(self.source), source)
        wiring.connect(m, sink, wiring.flipped(self.sink))
        line = _Line(m, 4, self._depth)
        line.step(source.valid & source.ready, source.payload, sink.valid & sink.ready)
        line.claim_same(inside, "queue")
        claim(m, "offers_what_it_has", sink.valid == (line.count != 0))
        claim(m, "takes_what_it_can", source.ready == (line.count != self._depth))
        claim(m, "oldest_first", ~sink.valid | (sink.payload == line.entries[0]))
        return m


class IssueClaims(wiring.Component):
    """An issue with an engine that accepts and finishes commands at any time, in order, and tokens that are granted at
    any time.

    Parameters
    ----------
    issue : wiring.Component
        An `Issue`.
    engine : str
    in_flight : int
        Its parameters.
    patience_cycles : int
        For so many cycles at most the engine is not ready, and for so many is it done with none of what it has
        accepted. It stays ready until it is given a command.
    """

    def __init__(self, issue: wiring.Component, engine: Engine, in_flight: int, patience_cycles: int) -> None:
        self._issue, self._depth, self._patience = issue, in_flight, patience_cycles
        layout = stream.Signature(command_layout(engine))
        super().__init__({"queue": In(layout), "ready": In(1), "done": In(1), "granted": In(1)})

    def elaborate(self, _platform: object) -> Module:
        """The issue beside the line of what it has accepted and not given."""
        m = Module()
        issue, head = self._issue, self.queue.payload
        inside = Inside(issue)
        m.submodules.issue = inside.fragment
        wiring.connect(m, wiring.flipped(self.queue), issue.queue)
        m.d.comb += [
            issue.command.ready.eq(self.ready),
            issue.done.eq(self.done),
            issue.tokens.granted.eq(self.granted),
            Assume(issue.tokens.want | ~self.granted),
        ]
        accepted, taken, at_once, full = Signal(), Signal(), Signal(), Signal()
        line = _Line(m, 1 + DECODER.tokens, self._depth)
        sync, signal = line.entries[0][0], line.entries[0][1:]
        finished, unfinished = (Signal(range(self._depth + 1), name=name) for name in ("finished", "unfinished"))
        m.d.comb += [
            accepted.eq(self.queue.valid & self.queue.ready),
            at_once.eq(accepted & head.sync & (line.count == 0)),
            taken.eq((line.count != 0) & (sync | self.done | (finished != 0))),
            full.eq(line.count == self._depth),
            # The engine is done with nothing that it has not accepted before.
            Assume(~self.done | (unfinished != 0)),
        ]
        m.d.sync += [
            finished.eq(finished + self.done - (taken & ~sync)),
            unfinished.eq(unfinished + (accepted & ~head.sync) - self.done),
        ]
        line.step(accepted & ~at_once, Cat(head.sync, head.signal), taken)
        line.claim_same(inside, "flights.queue")
        commands = sum((~entry[0] & (place < line.count) for place, entry in enumerate(line.entries)), Value.cast(0))
        claim(m, "every_command_once", commands == finished + unfinished)
        claim(m, "done_are_counted", inside.register("waiting") == finished)
        claim(m, "leaves_with_its_tokens", accepted == self.granted)
        wants = self.queue.valid & self.ready & ~full
        claim(m, "wants_when_it_could_leave", issue.tokens.want == wants)
        claim(m, "wants_its_tokens", ~issue.tokens.want | (issue.tokens.wait == head.wait))
        to_engine = issue.command.valid & self.ready
        claim(m, "handed_over_once", (to_engine == (accepted & ~head.sync)) & (to_engine == issue.command.valid))
        claim(m, "handed_over_whole", ~to_engine | (issue.command.payload.as_value() == head.as_value()))
        claim(m, "gives_in_order", issue.tokens.give == Mux(taken, signal, Mux(at_once, head.signal, 0)))
        claim(m, "gives_of_one_only", ~(taken & at_once))
        claim(m, "idle", issue.idle == (line.count == 0))
        claim(m, "blocked", issue.blocked == (issue.tokens.want & ~self.granted))
        claim(m, "issued", issue.issued == to_engine)
        self._claim_patience(m, accepted, full, unfinished, finished, sync)
        return m

    def _claim_patience(
        self, m: Module, accepted: Value, full: Value, unfinished: Value, finished: Value, sync: Value
    ) -> None:
        """If the engine keeps going, a command that lacks no token leaves."""
        most = self._patience
        ages = [Signal(range(most + 3), name=f"age_{name}") for name in ("unready", "unfinished", "head")]
        unready, undone, waits = ages
        kept, offered = Signal(), Signal()
        m.d.sync += [
            unready.eq(Mux(self.ready, 0, unready + 1)),
            undone.eq(Mux((unfinished == 0) | self.done, 0, undone + 1)),
            kept.eq(self.ready & ~self._issue.command.valid),
            offered.eq(self.queue.valid & ~accepted),
            waits.eq(Mux(accepted | ~self.queue.valid, 0, waits + ~self._issue.blocked)),
        ]
        m.d.comb += [
            Assume(~kept | self.ready),
            Assume((unready < most) | self.ready),
            Assume((undone < most) | self.done | (unfinished == 0)),
            Assume(~offered | self.queue.valid),
        ]
        claim(m, "patience", (unready <= most) & (undone <= most))
        claim(m, "full_for_a_reason", (waits == 0) | ~full | (~sync & (finished == 0) & (undone >= waits)))
        claim(m, "unready_for_a_reason", (waits == 0) | kept | (unready >= waits))
        claim(m, "leaves_in_time", waits <= most + 1)
