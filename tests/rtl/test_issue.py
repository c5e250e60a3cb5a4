"""Engines take and give tokens, cycle by cycle as a model of a few lines says, whatever they and their queues do."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from engine_bench import Pins
from simulated_pins import SimulatedPins, simulate

from isa.decoder import DECODER
from isa.instructions.types import ENGINES
from rtl.issue import Issue
from rtl.tokens import TokenCounters

IN_FLIGHT = 3
_OUTPUTS = ("taken", "handed", "idle", "blocked", "issued")


class IssuingEngines(wiring.Component):
    """All engines' issue at the counters. Ports have a bit, or a set of tokens, for each of `ENGINES`."""

    def __init__(self) -> None:
        count, tokens = len(ENGINES), DECODER.tokens
        inputs = {"valid": 1, "sync": 1, "wait": tokens, "signal": tokens, "ready": 1, "done": 1}
        outputs = dict.fromkeys(_OUTPUTS, 1) | {"handed_wait": tokens, "handed_signal": tokens}
        super().__init__(
            {
                **{name: In(width * count) for name, width in inputs.items()},
                **{name: Out(width * count) for name, width in outputs.items()},
                "clear": In(1),
                "restart": In(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.domains.engines = ClockDomain(local=True)
        m.d.comb += [ClockSignal("engines").eq(ClockSignal()), ResetSignal("engines").eq(self.restart)]
        within = DomainRenamer("engines")
        counters = TokenCounters()
        m.submodules.counters = within(counters)
        m.d.comb += [counters.clear.eq(self.clear), self.overflow.eq(counters.overflow)]
        for number, engine in enumerate(ENGINES):
            issue = Issue(engine=engine, in_flight=IN_FLIGHT)
            m.submodules[engine] = within(issue)
            wiring.connect(m, issue.tokens, getattr(counters, f"engine_{number}"))
            payload, handed = issue.queue.payload, issue.command.payload
            m.d.comb += [
                *(issue.queue.valid.eq(self.valid[number]), payload.sync.eq(self.sync[number])),
                payload.wait.eq(self.wait.word_select(number, DECODER.tokens)),
                payload.signal.eq(self.signal.word_select(number, DECODER.tokens)),
                *(issue.command.ready.eq(self.ready[number]), issue.done.eq(self.done[number])),
                *(self.taken[number].eq(issue.queue.ready), self.handed[number].eq(issue.command.valid)),
                self.handed_wait.word_select(number, DECODER.tokens).eq(handed.wait),
                self.handed_signal.word_select(number, DECODER.tokens).eq(handed.signal),
                *(self.idle[number].eq(issue.idle), self.blocked[number].eq(issue.blocked)),
                self.issued[number].eq(issue.issued),
            ]
        return m


@dataclass(frozen=True)
class Head:
    """What is first in the queue of an engine; tokens as bits."""

    sync: bool
    wait: int
    signal: int


@dataclass
class EngineModel:
    """An engine: what is in flight, and how many commands were done that still have a `sync` before them."""

    head: Head | None = None
    flights: deque[Head] = field(default_factory=deque)
    early: int = 0

    @property
    def may_be_done(self) -> bool:
        """Whether a command is in flight that is not done yet."""
        return sum(not item.sync for item in self.flights) > self.early

    def give(self, done: bool) -> int:
        """The tokens of what was issued first, if it is done."""
        oldest = self.flights[0] if self.flights else None
        self.early += done
        if oldest is None or not (oldest.sync or self.early):
            return 0
        self.early -= not oldest.sync
        return self.flights.popleft().signal


@dataclass(frozen=True)
class Habits:
    """Probabilities: a head is there, is a `sync`, waits for a token that is there, for any token, gives a token; the
    engine is ready, is done."""

    head: float
    sync: float
    wait: float
    hope: float
    signal: float
    ready: float
    done: float


def _some_habits() -> Habits:
    def anything() -> float:
        return random.choice([0.1, 0.5, 1.0])

    # Somewhat more tokens are given than are taken, else all wait for ever.
    waits = random.choice([0.05, 0.2, 0.5])
    hopes = random.choice([0.0, 0.002, 0.02])
    sync = random.choice([0.0, 0.3, 0.6])
    return Habits(anything(), sync, waits, hopes, waits + 0.03, anything(), anything())


_FLOODS = Habits(head=1.0, sync=0.9, wait=0.0, hope=0.0, signal=0.3, ready=1.0, done=1.0)
"""Fills the counters so slowly that each is full for some cycles before it runs over."""


async def check_issuing(pins: Pins, phases: int = 30) -> None:
    """Phases of random habits, with a reset between them: outputs in every cycle, and tokens that run over."""
    random.seed(7)
    overflows = 0
    for number in range(phases):
        flooded = number % 5 == 4
        overflows += await _run(pins, _FLOODS if flooded else _some_habits(), cycles=300 if flooded else 120)
        pins.set("restart", 1)
        pins.set("valid", 0)
        await pins.edge()
        pins.set("restart", 0)
    assert overflows


async def _run(pins: Pins, habits: Habits, cycles: int) -> int:
    """From a reset on; how often a counter ran over."""
    counts, engines, overflows = [0] * DECODER.tokens, [EngineModel() for _ in ENGINES], 0
    for _ in range(cycles):
        there = sum((count > 0) << number for number, count in enumerate(counts))
        for engine in engines:
            if engine.head is None and random.random() < habits.head:
                wait = _mask(habits.wait) & there | _mask(habits.hope)
                engine.head = Head(random.random() < habits.sync, wait, _mask(habits.signal))
        ready = [random.random() < habits.ready for _ in engines]
        done = [engine.may_be_done and random.random() < habits.done for engine in engines]
        clear = bool(habits.hope) and random.random() < 0.01
        heads = [engine.head or Head(random.random() < 0.5, _mask(0.5), _mask(0.5)) for engine in engines]
        for name, bits in (
            ("valid", (engine.head is not None for engine in engines)),
            *(("ready", ready), ("done", done), ("sync", (head.sync for head in heads))),
        ):
            pins.set(name, sum(bool(bit) << place for place, bit in enumerate(bits)))
        pins.set("wait", sum(head.wait << DECODER.tokens * place for place, head in enumerate(heads)))
        pins.set("signal", sum(head.signal << DECODER.tokens * place for place, head in enumerate(heads)))
        pins.set("clear", clear)
        await pins.settle()
        overflows += _check_cycle(pins, counts, engines, ready, done)
        if clear:
            counts[:] = [0] * DECODER.tokens
        await pins.edge()
    return overflows


def _mask(density: float) -> int:
    return sum((random.random() < density) << number for number in range(DECODER.tokens))


def _tokens(mask: int) -> Iterator[int]:
    return (number for number in range(DECODER.tokens) if mask >> number & 1)


def _check_cycle(
    pins: Pins, counts: list[int], engines: list[EngineModel], ready: list[bool], done: list[bool]
) -> bool:
    """What a cycle does, and that the unit says so; counts and engines become those of the next cycle."""
    there = [count > 0 for count in counts]
    expected: dict[str, list[bool]] = {name: [] for name in _OUTPUTS}
    given = []
    for place, (engine, is_ready, is_done) in enumerate(zip(engines, ready, done, strict=True)):
        head, idle = engine.head, not engine.flights
        wants = head is not None and is_ready and len(engine.flights) < IN_FLIGHT
        granted = wants and head is not None and all(there[token] for token in _tokens(head.wait))
        handed = granted and head is not None and not head.sync
        values = (granted, handed, idle, wants and not granted, handed)
        for name, value in zip(_OUTPUTS, values, strict=True):
            expected[name].append(value)
        given.append(engine.give(is_done))
        if not granted or head is None:
            continue
        for token in _tokens(head.wait):
            there[token], counts[token] = False, counts[token] - 1
        if head.sync and idle:
            given.append(head.signal)
        else:
            engine.flights.append(head)
        engine.head = None
        if handed:
            shift, mask = DECODER.tokens * place, (1 << DECODER.tokens) - 1
            assert pins.get("handed_wait") >> shift & mask == head.wait
            assert pins.get("handed_signal") >> shift & mask == head.signal
    for name, bits in expected.items():
        assert pins.get(name) == sum(bit << place for place, bit in enumerate(bits)), name
    for mask in given:
        for token in _tokens(mask):
            counts[token] += 1
    overflows = max(counts) > DECODER.most_tokens
    assert pins.get("overflow") == overflows
    counts[:] = [count % (DECODER.most_tokens + 1) for count in counts]
    return overflows


def test_tokens_are_taken_and_given_in_the_cycles_in_which_they_should() -> None:
    async def check(pins: SimulatedPins) -> None:
        await check_issuing(pins, phases=10)

    simulate(IssuingEngines(), check)


def test_nothing_in_flight_is_refused() -> None:
    with pytest.raises(ValueError, match="in_flight is 0, must be at least 1"):
        Issue(engine="load", in_flight=0)
