"""The memory channel that all engines of all cores share: who has it, for how long, and who is next.

Requesters take turns in the order of their numbers. A transfer has equal turns of about `TURN_CYCLES`, at most 64 of
them. Who is alone goes on without being asked, turn after turn; when somebody
comes, it keeps the channel until its turn is over.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from sim.timing.event.clock import Clock
from sim.timing.event.recorder import Recorder

__all__ = ["TURN_CYCLES", "Channel"]

TURN_CYCLES = 64
"""For about how long one transfer holds the memory channel while another waits for it."""

_MOST_TURNS = 64


@dataclass(eq=False, slots=True)
class _Request:
    """A transfer that is not finished: cycles that are left, cycles of a turn, whom to tell."""

    number: int
    remaining_cycles: int
    turn_cycles: int
    finished: Callable[[int], None]


class Channel:
    """The memory channel.

    Requests are collected within an instant and decided upon in `arbitrate`, at its end, so that nothing depends on the
    order in which they came.

    Parameters
    ----------
    env : Clock
    requesters : int
        Numbers of requesters are below this.
    recorder : Recorder
        Gets a span for every time that a requester has the channel.
    """

    def __init__(self, env: Clock, requesters: int, recorder: Recorder) -> None:
        self._busy_cycles = 0
        self._env, self._requesters, self._recorder = env, requesters, recorder
        self._requests: dict[int, _Request] = {}
        self._owner: _Request | None = None
        self._last = requesters - 1
        self._granted_at = self._held_until = 0
        self._undecided = False

    @property
    def busy_cycles(self) -> int:
        """For how long it has carried anything, up to now."""
        return self._busy_cycles + (self._env.now - self._granted_at if self._owner is not None else 0)

    def skip(self, busy_cycles: int) -> None:
        """Count work of a time that was not simulated."""
        self._busy_cycles += busy_cycles

    def request(self, number: int, cycles: int, finished: Callable[[int], None]) -> None:
        """Ask for the channel.

        Parameters
        ----------
        number : int
            The requester, who asks for one transfer at a time.
        cycles : int
            1 or more.
        finished : callable
            Called when everything is carried, with the cycle that it is then.
        """
        self._requests[number] = _Request(number, cycles, _turn_cycles(cycles), finished)
        self._undecided = True

    def arbitrate(self) -> None:
        """Decide who has the channel from now on."""
        if not self._undecided:
            return
        self._undecided = False
        now, owner = self._env.now, self._owner
        if owner is not None:
            turns = -((self._granted_at - now) // owner.turn_cycles)
            end = self._granted_at + turns * owner.turn_cycles
            if end >= self._held_until:
                return
            if end > now:
                self._hold_until(end)
                return
            self._give_up(owner)
        if self._requests:
            self._grant(min(self._requests.values(), key=self._distance))

    def state(self) -> Hashable:
        """Everything that decides what comes later, times relative to now."""
        now, owner = self._env.now, self._owner
        # A dictionary keeps the order of requests, which decides nothing: sorted by requester.
        waiting = tuple(
            (request.number, request.remaining_cycles, request.turn_cycles)
            for request in sorted(self._requests.values(), key=lambda request: request.number)
            if request is not owner
        )
        if owner is None:
            return self._last, waiting
        held = now - self._granted_at
        turn = owner.turn_cycles
        return owner.number, turn, held % turn, owner.remaining_cycles - held, self._held_until - now, waiting

    def _distance(self, request: _Request) -> int:
        return (request.number - self._last - 1) % self._requesters

    def _grant(self, request: _Request) -> None:
        self._owner, self._last, self._granted_at = request, request.number, self._env.now
        alone = len(self._requests) == 1
        remaining = request.remaining_cycles
        self._hold_until(self._env.now + (remaining if alone else min(remaining, request.turn_cycles)))

    def _hold_until(self, end: int) -> None:
        """An end that was planned before is forgotten: its event finds that it is not awaited any more."""
        self._held_until = end
        self._env.call_after(end - self._env.now, self._end_turn)

    def _end_turn(self, now: int) -> None:
        owner = self._owner
        if owner is None or now != self._held_until:
            return
        self._give_up(owner)
        self._undecided = True
        if not owner.remaining_cycles:
            del self._requests[owner.number]
            owner.finished(now)

    def _give_up(self, owner: _Request) -> None:
        held = self._env.now - self._granted_at
        owner.remaining_cycles -= held
        self._busy_cycles += held
        self._recorder.channel(owner.number, self._granted_at, self._env.now)
        self._owner = None


def _turn_cycles(cycles: int) -> int:
    """The turn of a transfer."""
    turns = min(_MOST_TURNS, max(1, (cycles + TURN_CYCLES // 2) // TURN_CYCLES))
    return -(-cycles // turns)
