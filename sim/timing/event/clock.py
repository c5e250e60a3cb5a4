"""SimPy's environment with time in whole cycles."""

from __future__ import annotations

from collections.abc import Callable

import simpy

__all__ = ["Clock"]


class Clock(simpy.Environment):
    """An environment in which every delay is an integer."""

    @property
    def now(self) -> int:
        """The current cycle."""
        return int(self._now)

    def call_after(self, cycles: int, callback: Callable[[int], None]) -> None:
        """Call back after a time of 1 cycle or more, with the cycle that it is then."""
        event = self.timeout(cycles)
        callbacks, then = event.callbacks, self.now + cycles
        assert callbacks is not None  # noqa: S101  (SimPy has none only after an event)
        callbacks.append(lambda _: callback(then))
