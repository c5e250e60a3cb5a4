"""The compiled inner loop of the closed form: when each engine has done its part of a tile, tile after tile, until a
loop has become periodic; the rest of it is a multiplication.

The rings of a program make a timed event graph (Baccelli et al., Synchronization and Linearity, chapter 2): the time
at which an engine has done a tile is the latest of the times at which the engine, the operands and a place for the
result were there, plus its own time. All these maxima and sums together shift the state of a loop by its period once
it is periodic, usually after two or three iterations. What is no maximum and no sum is the channel that loads, stores
and cores share: who waits for whom there is estimated from the latest transfers (`_load`, `_store`).

Importing this module imports numba, so those who call it import it late.
"""

from __future__ import annotations

from sim.timing.recurrence.layout import FIELDS
from sim.timing.recurrence.loops import nest_times

__all__ = ["FIELDS", "nest_times"]
