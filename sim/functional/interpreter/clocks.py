"""Which instructions are ordered before which, whatever the engines' speeds: vector clocks and token counters.

An engine's clock says of every engine how many of its instructions have certainly finished before the engine's current
one starts. Instructions of one engine follow each other; a token brings the clock of the instruction that gave it; a
fence joins all clocks (Lamport 1978; Mattern 1989; as race detectors use them: FastTrack, Flanagan and Freund, PLDI
2009). Ordering that only a full queue brings about does not count: a program may not depend on a queue's depth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from isa.instructions.operands import MOST_TOKENS, TOKENS
from isa.instructions.types import ENGINES
from sim.functional.interpreter.errors import Violation

__all__ = ["Clock", "Clocks"]

Clock = tuple[int, ...]
"""For each engine, in the order of `ENGINES`, how many of its instructions have finished."""


@dataclass
class _Counter:
    """A counter: the clocks that its tokens bring, and the last that gave one and took one, as (engine, time)."""

    tokens: deque[Clock] = field(default_factory=deque)
    given: tuple[int, int] = (0, 0)
    taken: tuple[int, int] = (0, 0)


class Clocks:
    """The engines' clocks and the counters between them. An engine is its index in `ENGINES`.

    Attributes
    ----------
    now : list of Clock
        Of each engine; its own entry is the time of its current instruction, counted from 1.
    """

    def __init__(self) -> None:
        self.now: list[Clock] = [(0,) * len(ENGINES)] * len(ENGINES)
        self._counters = [_Counter() for _ in range(TOKENS)]

    def tokens(self) -> tuple[int, ...]:
        """Tokens in each counter."""
        return tuple(len(counter.tokens) for counter in self._counters)

    def missing(self, counters: Iterable[int]) -> list[int]:
        """Those of the counters that have no token."""
        return [number for number in sorted(counters) if not self._counters[number].tokens]

    def ready(self, counters: Iterable[int]) -> bool:
        """Whether all of them have a token."""
        return all(self._counters[number].tokens for number in counters)

    def start(self, engine: int, counters: Iterable[int]) -> None:
        """Begin an engine's next instruction, which takes a token from each of the counters.

        Raises
        ------
        Violation
            If another engine takes tokens of the same counter and is not ordered before.
        """
        clock = self.now[engine]
        time = clock[engine] + 1
        clock = (*clock[:engine], time, *clock[engine + 1 :])
        tokens = {number: self._counters[number].tokens.popleft() for number in sorted(counters)}
        self._check_takers(engine, clock, tokens)
        for number in tokens:
            self._counters[number].taken = (engine, time)
        self.now[engine] = _joined(clock, *tokens.values())

    def _check_takers(self, engine: int, clock: Clock, tokens: dict[int, Clock]) -> None:
        """Whether the last taker of each counter is known to be before.

        The token itself proves nothing: at another speed, this engine might have taken an earlier one. So only tokens
        of counters that are proven are proof for others.
        """
        doubtful = [number for number in tokens if self._counters[number].taken[0] != engine]
        known = _joined(clock, *(token for number, token in tokens.items() if number not in doubtful))
        while doubtful:
            proven = [number for number in doubtful if _is_known(known, self._counters[number].taken)]
            if not proven:
                number = doubtful[0]
                _check_ordered(engine, known, self._counters[number].taken, f"tokens of counter {number} taken")
            known = _joined(known, *(tokens[number] for number in proven))
            doubtful = [number for number in doubtful if number not in proven]

    def finish(self, engine: int, counters: Iterable[int]) -> None:
        """End an engine's instruction, which gives a token to each of the counters.

        Raises
        ------
        Violation
            If a counter is full, or another engine gives it tokens and is not ordered before.
        """
        clock = self.now[engine]
        for number in sorted(counters):
            counter = self._counters[number]
            _check_ordered(engine, clock, counter.given, f"tokens of counter {number} given")
            counter.given = (engine, clock[engine])
            counter.tokens.append(clock)
            if len(counter.tokens) > MOST_TOKENS:
                found = f"{len(counter.tokens)} tokens in counter {number}"
                raise Violation("token overflow", found, f"at most {MOST_TOKENS}")

    def fence(self) -> None:
        """Order all that has finished before all that follows, and empty the counters."""
        self.now = [_joined(*self.now)] * len(ENGINES)
        for counter in self._counters:
            counter.tokens.clear()


def _joined(*clocks: Clock) -> Clock:
    return tuple(map(max, *clocks)) if len(clocks) > 1 else clocks[0]


def _is_known(clock: Clock, before: tuple[int, int]) -> bool:
    """Whether an instruction (its engine, its time) is known to be before."""
    other, time = before
    return clock[other] >= time


def _check_ordered(engine: int, clock: Clock, before: tuple[int, int], what: str) -> None:
    other, _ = before
    if not _is_known(clock, before):
        found = f"{what} by {ENGINES[other]} and by {ENGINES[engine]} in no fixed order"
        raise Violation("shared counter", found, "an order by tokens, queue or fence, or a counter each")
