"""Rings: tiles of an operand in a scratchpad, one place being filled while another is used, and the tokens for that.

producer ──full──► consumer        the producer waits for `free` and signals `full`,
    ▲                  │           the consumer the other way round
    └──────free────────┘           at first every place is free: the consumer gives a token for each
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.instructions import Sync
from isa.instructions.types import Engine
from sim.lowering.emitter import Emitter

__all__ = ["Ring", "grant_places"]


@dataclass(frozen=True)
class Ring:
    """Places of equal size in one scratchpad.

    Parameters
    ----------
    level : int
        Level of the loops at which a tile is filled (see `sim.timing.nest`).
    consumer : str
        The engine that frees places.
    full, free : int
        Token counters.
    fill, use : int
        Pointers of the producer and of the consumer.
    place_bytes, places : int
    """

    level: int
    consumer: Engine
    full: int
    free: int
    fill: int
    use: int
    place_bytes: int
    places: int

    @classmethod
    def make(
        cls,
        emitter: Emitter,
        level: int,
        consumer: Engine,
        tokens: tuple[int, int],
        base: int,
        place_bytes: int,
        places: int,
    ) -> Ring:
        """A ring at an address of its scratchpad, with its two pointers."""
        size = place_bytes * places
        fill, use = emitter.pointer(base, size), emitter.pointer(base, size)
        return cls(level, consumer, *tokens, fill, use, place_bytes, places)

    def filled(self, emitter: Emitter) -> None:
        """Move the producer to its next place."""
        self._next(emitter, self.fill)

    def used(self, emitter: Emitter) -> None:
        """Move the consumer to its next place."""
        self._next(emitter, self.use)

    def _next(self, emitter: Emitter, pointer: int) -> None:
        if self.places > 1:
            emitter.step(pointer, self.place_bytes)


def grant_places(emitter: Emitter, rings: list[Ring]) -> None:
    """Let every consumer free all its places."""
    for engine in dict.fromkeys(ring.consumer for ring in rings):
        own = [ring for ring in rings if ring.consumer == engine]
        for place in range(max(ring.places for ring in own)):
            signal = frozenset(ring.free for ring in own if ring.places > place)
            emitter.emit(Sync(unit=engine, signal=signal))
