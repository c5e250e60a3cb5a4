"""The loops of a nest, each followed until it is periodic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.timing.recurrence.layout import (
    ARRAY,
    ARRAY_LATENCY,
    COLUMN_EDGE,
    COLUMNS_OUTER,
    COPIES,
    DEPTH_EDGE,
    DEPTHS,
    FIRST,
    FRONT,
    FULL_COLUMNS,
    FULL_ROWS,
    LENGTHS,
    MOST_ITERATIONS,
    MULTIPLIED,
    ROW_EDGE,
    SCALEDONE,
    START,
    STATES,
    STORER,
    compiled,
)
from sim.timing.recurrence.tiles import enter, finish, leave, multiply


@compiled
def _skip(whole, before, earlier, done, count):  # type: ignore[no-untyped-def]
    """After an iteration: leave out those that would be the same again, and say how many.

    `before` is the state an iteration ago, `earlier` two; both are brought up to date.
    """
    left = count - done
    skipped = 0
    if left > 0 and done >= 2:
        for period in range(1, 3):
            past = before if period == 1 else earlier
            if done <= period or left < period:
                continue
            shift = whole[ARRAY] - past[ARRAY]
            uniform = True
            # The front end is ahead: it is no slower, and nobody waits for it to be faster.
            for entry in range(1, STATES + LENGTHS):
                moved = whole[entry] - past[entry]
                if moved != 0 and (entry >= STATES or abs(moved - shift) > 1e-6 * shift):
                    uniform = False
                    break
            # A loop that is not periodic by now goes on as it did in its last two iterations.
            if uniform or (period == 2 and done >= MOST_ITERATIONS):
                times = left // period
                skipped = times * period
                whole[FRONT] += times * (whole[FRONT] - past[FRONT])
                for entry in range(1, STATES):
                    if whole[entry] != past[entry]:
                        whole[entry] += times * shift
                break
    earlier[:] = before
    before[:] = whole
    return skipped


@compiled
def _accumulate(nest, whole, state, lengths, row, column, past):  # type: ignore[no-untyped-def]
    depths, last_depth = nest[DEPTHS], int(nest[DEPTH_EDGE])
    if depths > 1:
        multiply(nest, state, lengths, row, column, 0, True, False)
        done, count = 0, depths - 2
        past[0] = whole
        past[1] = whole
        while done < count:
            multiply(nest, state, lengths, row, column, 0, False, False)
            state[FRONT] += 4.0
            done += 1
            done += _skip(whole, past[0], past[1], done, count)
    multiply(nest, state, lengths, row, column, last_depth, depths == 1, True)


@compiled
def _inner(nest, whole, state, lengths, outer, past):  # type: ignore[no-untyped-def]
    columns_outer = nest[COLUMNS_OUTER] > 0
    for edge in range(2):
        if columns_outer:
            row, column = edge, outer
            count = nest[FULL_ROWS] if edge == 0 else nest[ROW_EDGE]
        else:
            row, column = outer, edge
            count = nest[FULL_COLUMNS] if edge == 0 else nest[COLUMN_EDGE]
        done = 0
        past[2] = whole
        past[3] = whole
        while done < count:
            enter(nest, state, lengths, 2, row, column, 0)
            _accumulate(nest, whole, state, lengths, row, column, past)
            finish(nest, state, lengths, row, column)
            leave(nest, state, 2)
            state[FRONT] += 5.0
            done += 1
            done += _skip(whole, past[2], past[3], done, count)


@compiled
def _outer(nest, whole, state, lengths, past):  # type: ignore[no-untyped-def]
    columns_outer = nest[COLUMNS_OUTER] > 0
    for edge in range(2):
        if columns_outer:
            count = nest[FULL_COLUMNS] if edge == 0 else nest[COLUMN_EDGE]
        else:
            count = nest[FULL_ROWS] if edge == 0 else nest[ROW_EDGE]
        done = 0
        past[4] = whole
        past[5] = whole
        while done < count:
            row, column = (0, edge) if columns_outer else (edge, 0)
            enter(nest, state, lengths, 1, row, column, 0)
            _inner(nest, whole, state, lengths, edge, past)
            leave(nest, state, 1)
            state[FRONT] += 5.0
            done += 1
            done += _skip(whole, past[4], past[5], done, count)


@compiled
def _nest_times(nests):  # type: ignore[no-untyped-def]
    times = np.zeros((len(nests), 3))
    past = np.zeros((8, STATES + LENGTHS))
    for point in range(len(nests)):
        nest = nests[point]
        whole = np.zeros(STATES + LENGTHS)
        state, lengths = whole[:STATES], whole[STATES:]
        state[FRONT] = nest[START]
        done, count = 0, nest[COPIES]
        past[6] = whole
        past[7] = whole
        while done < count:
            enter(nest, state, lengths, 0, 0, 0, 0)
            _outer(nest, whole, state, lengths, past)
            leave(nest, state, 0)
            done += 1
            done += _skip(whole, past[6], past[7], done, count)
        times[point, 0] = state[FIRST]
        times[point, 1] = state[MULTIPLIED] - nest[ARRAY_LATENCY]
        end = max(state[STORER], state[MULTIPLIED], state[SCALEDONE], state[FRONT])
        times[point, 2] = end
    return times


def nest_times(nests: NDArray[np.float64]) -> NDArray[np.float64]:
    """When the first product begins, when the last one ends, and when everything has ended, in cycles.

    Parameters
    ----------
    nests : float64 [points, len(FIELDS)]

    Returns
    -------
    float64 [points, 3]
    """
    times: NDArray[np.float64] = _nest_times(nests)
    return times
