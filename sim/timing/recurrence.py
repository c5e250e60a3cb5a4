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

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["FIELDS", "nest_times"]

FIELDS = (
    *("copies", "columns_outer", "full_rows", "row_edge", "full_columns", "column_edge", "depths", "depth_edge"),
    *("input_level", "table_level", "weight_level", "column_scale_level", "row_scale_level"),
    *("input_places", "table_places", "weight_places", "sum_places", "result_places"),
    *("column_scale_places", "row_scale_places"),
    *("grouped", "scaled", "loads_tables", "keeps_results", "used_by_tables"),
    *("array_latency", "scale_latency", "load_latency", "start"),
    *("input_shares", "weight_shares", "result_shares"),
    *(f"{name}_{size}" for name in ("load_input", "make_table", "load_weight") for size in range(4)),
    *(f"{name}_{size}" for name in ("load_column_scale", "load_row_scale") for size in range(2)),
    *(f"multiply_{size}" for size in range(8)),
    *(f"{name}_{size}" for name in ("scale", "store") for size in range(4)),
)
"""What is to be known of a nest: loops, levels (-1: there is no such operand), places, and cycles by size of tile. Of
sizes the index is rows · 2 + depth (columns · 2 + depth for weights, rows · 4 + columns · 2 + depth for products,
rows · 2 + columns for results), 0 for whole tiles and 1 for edges."""

_COPIES, _COLUMNS_OUTER, _FULL_ROWS, _ROW_EDGE, _FULL_COLUMNS, _COLUMN_EDGE, _DEPTHS, _DEPTH_EDGE = range(8)
_LEVELS, _PLACES = 8, 13
_GROUPED, _SCALED, _LOADS_TABLES, _KEEPS_RESULTS, _USED_BY_TABLES = range(20, 25)
_ARRAY_LATENCY, _SCALE_LATENCY, _LOAD_LATENCY, _START = range(25, 29)
_INPUT_SHARES, _WEIGHT_SHARES, _RESULT_SHARES = range(29, 32)
_LOAD_INPUT, _MAKE_TABLE, _LOAD_WEIGHT, _LOAD_COLUMN_SCALE, _LOAD_ROW_SCALE = 32, 36, 40, 44, 46
_MULTIPLY, _SCALE, _STORE = 48, 56, 60
# Rings: the first levels and places are in this order, but for sums and results, which have no level of their own.
_INPUTS, _TABLES, _WEIGHTS, _SUMS, _RESULTS, _COLUMN_SCALES, _ROW_SCALES = range(7)

# The state: times at which engines are free and their last result is there, at which a place of each ring is free (the
# next, and the one after), at which what was filled last is there; and the last transfers.
_FRONT, _LOADER, _TABLER, _ARRAY, _SCALER, _STORER, _TABLED, _MULTIPLIED, _SCALEDONE = range(9)
_NEXT_FREE, _LATER_FREE, _FULL = 9, 16, 23
_LOAD_BEGAN, _FIRST, _BLOCK_BEGAN, _BLOCK_FREE, _ASKED = 30, 31, 32, 33, 34
_STORES = 4
_STATES = 38
# Durations, which do not shift with time.
_STAGGER, _BLOCK, _BLOCK_STAGGER, _STAGGERS = range(4)
_LEFT = 10
_LENGTHS = 14

_TURN, _MOST_TURNS = 256.0, 64.0
# Iterations after which a loop is taken for periodic, whatever it does.
_MOST_ITERATIONS = 8


def _compiled(function: Callable[..., Any]) -> Any:
    """Machine code, kept on disk where there is a place for it."""
    try:
        return njit(function, cache=True)
    except RuntimeError:  # neither the folder of this file nor the user's cache folder can be written
        return njit(function)


@_compiled
def _take(state, ring):  # type: ignore[no-untyped-def]
    """When the next place of a ring is free; it is taken."""
    free = state[_NEXT_FREE + ring]
    state[_NEXT_FREE + ring] = state[_LATER_FREE + ring]
    return free


@_compiled
def _give(nest, state, ring, time):  # type: ignore[no-untyped-def]
    """A place of a ring is free again."""
    if nest[_PLACES + ring] > 1:
        state[_LATER_FREE + ring] = time
    else:
        state[_NEXT_FREE + ring] = time


@_compiled
def _last_core(nest, state, lengths, ring, began, cycles, turn, cores):  # type: ignore[no-untyped-def]
    """When the last of the cores has a tile that each of them loads."""
    others = nest[_INPUT_SHARES] - 1
    if began > state[_LOADER] or lengths[_BLOCK] == 0:
        state[_BLOCK_BEGAN], state[_BLOCK_FREE] = began, state[_LOADER]
        lengths[_BLOCK_STAGGER], lengths[_BLOCK] = lengths[_STAGGER], 0.0
    behind, before = lengths[_BLOCK_STAGGER] / others, lengths[_BLOCK]
    block = before + cycles
    last = max(state[_BLOCK_FREE], state[_BLOCK_BEGAN] - lengths[_BLOCK_STAGGER]) + cores * block
    ended = began + cycles
    if last <= ended:
        lengths[_BLOCK] = block
        lengths[_STAGGERS + ring] = lengths[_BLOCK_STAGGER]
        return ended
    if cycles > turn:
        turns = max(1.0, np.ceil((behind - before) / turn) + (before > 0))
        behind = min(block, (cycles - 1) % turn + 1 + (turns - 1) * turn)
    elif before <= 0:
        behind = cycles
    else:
        lengths[_BLOCK] = block
        lengths[_STAGGERS + ring] = others * block
        return last
    state[_BLOCK_BEGAN] = state[_BLOCK_FREE] = last
    lengths[_BLOCK_STAGGER] = lengths[_STAGGERS + ring] = others * behind
    lengths[_BLOCK] = -1e-9
    return last


@_compiled
def _load(nest, state, lengths, ring, cycles):  # type: ignore[no-untyped-def]
    """Load a tile into a ring.

    Cores ask in turn: the last of them is served after all, unless it is so far behind the first as the loads before
    have put it (by a turn of the channel each, at most). A store that has not been carried yet gets every second turn.
    """
    places = nest[_PLACES + ring] > 1
    state[_FRONT] += 2.0 if places else 1.0
    began = max(state[_LOADER], state[_FRONT], _take(state, ring))
    ended = began + cycles
    cores = nest[_INPUT_SHARES]
    if ring in (_WEIGHTS, _COLUMN_SCALES):
        cores = nest[_WEIGHT_SHARES]
    turn = max(_TURN, cycles // _MOST_TURNS)
    if cores > 1:
        ended = _last_core(nest, state, lengths, ring, began, cycles, turn, cores)
    if lengths[_LEFT] > 0:
        ended = _make_way(state, lengths, began, ended, min(turn, cycles))
    if began > state[_LOADER]:
        state[_LOAD_BEGAN] = began
    state[_LOADER] = ended
    state[_FULL + ring] = ended + nest[_LOAD_LATENCY]


@_compiled
def _meet(state, lengths, began, ring):  # type: ignore[no-untyped-def]
    """When the array can begin if it needs what is in a ring; cores are then as far apart as their loads."""
    if state[_FULL + ring] > began:
        lengths[_STAGGER] = lengths[_STAGGERS + ring]
        return state[_FULL + ring]
    return began


@_compiled
def _make_way(state, lengths, began, ended, turn):  # type: ignore[no-untyped-def]
    """When a load has ended that takes turns with stores which were asked for before that and are not carried yet.

    They have had the channel for themselves while there was nothing to load; a turn of the load is followed by one of
    the store.
    """
    idle = state[_LOADER]
    yields = np.ceil((ended - began) / turn) * _TURN
    for store in range(_STORES):
        left = lengths[_LEFT + store]
        if left == 0:
            break
        asked = state[_ASKED + store]
        alone = min(left, max(0.0, began - max(asked, idle)))
        idle = max(asked, idle) + alone
        left -= alone
        if left > 0 and asked < ended:
            rest = ended - max(began, asked)
            shared = min(left, yields, np.ceil(rest / turn) * _TURN)
            yields -= shared
            left -= shared
            ended += shared
        lengths[_LEFT + store] = left
    kept = 0
    for store in range(_STORES):
        left = lengths[_LEFT + store]
        lengths[_LEFT + store] = 0.0
        if left > 0:
            lengths[_LEFT + kept], state[_ASKED + kept] = left, state[_ASKED + store]
            kept += 1
    return ended


@_compiled
def _store(nest, state, lengths, ready, cycles):  # type: ignore[no-untyped-def]
    """Store a tile of results, and say when that is done."""
    state[_FRONT] += 2.0
    began = max(state[_STORER], state[_FRONT], ready)
    if nest[_KEEPS_RESULTS]:
        state[_STORER] = began + cycles
        return state[_STORER]
    cycles *= nest[_RESULT_SHARES]
    ended, left = began + cycles, cycles
    if state[_LOADER] > began:
        busy = state[_LOADER] - max(began, state[_LOAD_BEGAN])
        shared = min(cycles, busy)
        left -= shared
        state[_LOADER] += shared
    place = 0
    while place < _STORES - 1 and lengths[_LEFT + place] > 0:
        place += 1
    if lengths[_LEFT + place] == 0:
        state[_ASKED + place] = began
    lengths[_LEFT + place] += left
    state[_STORER] = ended
    return ended


@_compiled
def _enter(nest, state, lengths, level, row, column, depth):  # type: ignore[no-untyped-def]
    """Load what changes at a level, make tables, and let engines wait for what serves several tiles."""
    inputs_at, tables_at, weights_at = nest[_LEVELS], nest[_LEVELS + 1], nest[_LEVELS + 2]
    column_scales_at, row_scales_at = nest[_LEVELS + 3], nest[_LEVELS + 4]
    if inputs_at == level:
        ring = _TABLES if nest[_LOADS_TABLES] else _INPUTS
        _load(nest, state, lengths, ring, nest[_LOAD_INPUT + 2 * row + depth])
    if tables_at == level and not nest[_LOADS_TABLES]:
        state[_FRONT] += 3.0
        began = max(state[_TABLER], state[_FRONT], _take(state, _TABLES))
        at_once = inputs_at == level
        if at_once:
            began = max(began, state[_FULL + _INPUTS])
            lengths[_STAGGERS + _TABLES] = lengths[_STAGGERS + _INPUTS]
        state[_TABLER] = began + nest[_MAKE_TABLE + 2 * row + depth]
        state[_TABLED] = state[_TABLER] + nest[_ARRAY_LATENCY]
        state[_FULL + _TABLES] = state[_TABLED]
        if at_once:
            _give(nest, state, _INPUTS, state[_TABLED])
    if weights_at == level:
        _load(nest, state, lengths, _WEIGHTS, nest[_LOAD_WEIGHT + 2 * column + depth])
    if column_scales_at == level:
        _load(nest, state, lengths, _COLUMN_SCALES, nest[_LOAD_COLUMN_SCALE + column])
    if row_scales_at == level:
        _load(nest, state, lengths, _ROW_SCALES, nest[_LOAD_ROW_SCALE + row])
    if level == 3:
        return
    wait = 0.0
    if weights_at == level:
        wait = _meet(state, lengths, wait, _WEIGHTS)
    if tables_at == level:
        wait = _meet(state, lengths, wait, _TABLES)
    if inputs_at == level and not nest[_LOADS_TABLES]:
        if not nest[_USED_BY_TABLES]:
            wait = _meet(state, lengths, wait, _INPUTS)
        elif tables_at != level:
            state[_FRONT] += 1.0
            state[_TABLER] = max(state[_TABLER], state[_FRONT], state[_FULL + _INPUTS]) + 1
    if wait > 0:
        state[_FRONT] += 1.0
        state[_ARRAY] = max(state[_ARRAY], state[_FRONT], wait) + 1
    wait = 0.0
    if column_scales_at == level:
        wait = state[_FULL + _COLUMN_SCALES]
    if row_scales_at == level:
        wait = max(wait, state[_FULL + _ROW_SCALES])
    if wait > 0:
        state[_FRONT] += 1.0
        state[_SCALER] = max(state[_SCALER], state[_FRONT], wait) + 1


@_compiled
def _leave(nest, state, level):  # type: ignore[no-untyped-def]
    """Free what was loaded at a level."""
    inputs_at, tables_at, weights_at = nest[_LEVELS], nest[_LEVELS + 1], nest[_LEVELS + 2]
    by_array = inputs_at == level and not nest[_USED_BY_TABLES] and not nest[_LOADS_TABLES]
    if weights_at == level or tables_at == level or by_array:
        state[_FRONT] += 2.0
        state[_ARRAY] = max(state[_ARRAY], state[_FRONT]) + 1
        done = max(state[_ARRAY], state[_MULTIPLIED])
        if weights_at == level:
            _give(nest, state, _WEIGHTS, done)
        if tables_at == level:
            _give(nest, state, _TABLES, done)
        if by_array:
            _give(nest, state, _INPUTS, done)
    if inputs_at == level and nest[_USED_BY_TABLES] and tables_at != level:
        state[_FRONT] += 2.0
        state[_TABLER] = max(state[_TABLER], state[_FRONT]) + 1
        _give(nest, state, _INPUTS, max(state[_TABLER], state[_TABLED]))
    if nest[_LEVELS + 3] == level or nest[_LEVELS + 4] == level:
        state[_FRONT] += 2.0
        state[_SCALER] = max(state[_SCALER], state[_FRONT]) + 1
        done = max(state[_SCALER], state[_SCALEDONE])
        if nest[_LEVELS + 3] == level:
            _give(nest, state, _COLUMN_SCALES, done)
        if nest[_LEVELS + 4] == level:
            _give(nest, state, _ROW_SCALES, done)


@_compiled
def _multiply(nest, state, lengths, row, column, depth, first, last):  # type: ignore[no-untyped-def]
    """One `lmma`, and the scaling of its sums where they belong to a group."""
    _enter(nest, state, lengths, 3, row, column, depth)
    grouped = nest[_GROUPED] > 0
    inputs_at, tables_at, weights_at = nest[_LEVELS], nest[_LEVELS + 1], nest[_LEVELS + 2]
    state[_FRONT] += 2.0
    began = max(state[_ARRAY], state[_FRONT])
    if weights_at == 3:
        state[_FRONT] += 1.0
        began = _meet(state, lengths, began, _WEIGHTS)
    if tables_at == 3:
        state[_FRONT] += 1.0
        began = _meet(state, lengths, began, _TABLES)
    by_array = inputs_at == 3 and not nest[_USED_BY_TABLES] and not nest[_LOADS_TABLES]
    if by_array:
        state[_FRONT] += 1.0
        began = _meet(state, lengths, began, _INPUTS)
    if first or grouped:
        began = max(began, _take(state, _SUMS))
    if state[_FIRST] == 0:
        state[_FIRST] = began
    state[_ARRAY] = began + nest[_MULTIPLY + 4 * row + 2 * column + depth]
    done = state[_ARRAY] + nest[_ARRAY_LATENCY]
    state[_MULTIPLIED] = done
    if weights_at == 3:
        _give(nest, state, _WEIGHTS, done)
    if tables_at == 3:
        _give(nest, state, _TABLES, done)
    if by_array:
        _give(nest, state, _INPUTS, done)
    if last or grouped:
        state[_FULL + _SUMS] = done
    if grouped:
        state[_FRONT] += 3.0
        began = max(state[_SCALER], state[_FRONT], done)
        if first:
            began = max(began, _take(state, _RESULTS))
        if nest[_LEVELS + 3] == 3:
            began = max(began, state[_FULL + _COLUMN_SCALES])
        state[_SCALER] = began + nest[_SCALE + 2 * row + column]
        state[_SCALEDONE] = state[_SCALER] + nest[_SCALE_LATENCY]
        _give(nest, state, _SUMS, state[_SCALEDONE])
        if nest[_LEVELS + 3] == 3:
            _give(nest, state, _COLUMN_SCALES, state[_SCALEDONE])


@_compiled
def _finish(nest, state, lengths, row, column):  # type: ignore[no-untyped-def]
    """Scale sums of whole rows, and store."""
    ready = state[_FULL + _SUMS]
    if nest[_SCALED] and not nest[_GROUPED]:
        state[_FRONT] += 1.0
        state[_SCALER] = max(state[_SCALER], state[_FRONT], ready) + nest[_SCALE + 2 * row + column]
        ready = state[_SCALEDONE] = state[_SCALER] + nest[_SCALE_LATENCY]
    elif nest[_GROUPED]:
        ready = state[_SCALEDONE]
    ended = _store(nest, state, lengths, ready, nest[_STORE + 2 * row + column])
    _give(nest, state, _RESULTS if nest[_GROUPED] else _SUMS, ended)


@_compiled
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
            shift = whole[_ARRAY] - past[_ARRAY]
            uniform = True
            # The front end is ahead: it is no slower, and nobody waits for it to be faster.
            for entry in range(1, _STATES + _LENGTHS):
                moved = whole[entry] - past[entry]
                if moved != 0 and (entry >= _STATES or abs(moved - shift) > 1e-6 * shift):
                    uniform = False
                    break
            # A loop that is not periodic by now goes on as it did in its last two iterations.
            if uniform or (period == 2 and done >= _MOST_ITERATIONS):
                times = left // period
                skipped = times * period
                whole[_FRONT] += times * (whole[_FRONT] - past[_FRONT])
                for entry in range(1, _STATES):
                    if whole[entry] != past[entry]:
                        whole[entry] += times * shift
                break
    earlier[:] = before
    before[:] = whole
    return skipped


@_compiled
def _accumulate(nest, whole, state, lengths, row, column, past):  # type: ignore[no-untyped-def]
    depths, last_depth = nest[_DEPTHS], int(nest[_DEPTH_EDGE])
    if depths > 1:
        _multiply(nest, state, lengths, row, column, 0, True, False)
        done, count = 0, depths - 2
        past[0] = whole
        past[1] = whole
        while done < count:
            _multiply(nest, state, lengths, row, column, 0, False, False)
            state[_FRONT] += 4.0
            done += 1
            done += _skip(whole, past[0], past[1], done, count)
    _multiply(nest, state, lengths, row, column, last_depth, depths == 1, True)


@_compiled
def _inner(nest, whole, state, lengths, outer, past):  # type: ignore[no-untyped-def]
    columns_outer = nest[_COLUMNS_OUTER] > 0
    for edge in range(2):
        if columns_outer:
            row, column = edge, outer
            count = nest[_FULL_ROWS] if edge == 0 else nest[_ROW_EDGE]
        else:
            row, column = outer, edge
            count = nest[_FULL_COLUMNS] if edge == 0 else nest[_COLUMN_EDGE]
        done = 0
        past[2] = whole
        past[3] = whole
        while done < count:
            _enter(nest, state, lengths, 2, row, column, 0)
            _accumulate(nest, whole, state, lengths, row, column, past)
            _finish(nest, state, lengths, row, column)
            _leave(nest, state, 2)
            state[_FRONT] += 5.0
            done += 1
            done += _skip(whole, past[2], past[3], done, count)


@_compiled
def _outer(nest, whole, state, lengths, past):  # type: ignore[no-untyped-def]
    columns_outer = nest[_COLUMNS_OUTER] > 0
    for edge in range(2):
        if columns_outer:
            count = nest[_FULL_COLUMNS] if edge == 0 else nest[_COLUMN_EDGE]
        else:
            count = nest[_FULL_ROWS] if edge == 0 else nest[_ROW_EDGE]
        done = 0
        past[4] = whole
        past[5] = whole
        while done < count:
            row, column = (0, edge) if columns_outer else (edge, 0)
            _enter(nest, state, lengths, 1, row, column, 0)
            _inner(nest, whole, state, lengths, edge, past)
            _leave(nest, state, 1)
            state[_FRONT] += 5.0
            done += 1
            done += _skip(whole, past[4], past[5], done, count)


@_compiled
def _nest_times(nests):  # type: ignore[no-untyped-def]
    times = np.zeros((len(nests), 3))
    past = np.zeros((8, _STATES + _LENGTHS))
    for point in range(len(nests)):
        nest = nests[point]
        whole = np.zeros(_STATES + _LENGTHS)
        state, lengths = whole[:_STATES], whole[_STATES:]
        state[_FRONT] = nest[_START]
        done, count = 0, nest[_COPIES]
        past[6] = whole
        past[7] = whole
        while done < count:
            _enter(nest, state, lengths, 0, 0, 0, 0)
            _outer(nest, whole, state, lengths, past)
            _leave(nest, state, 0)
            done += 1
            done += _skip(whole, past[6], past[7], done, count)
        times[point, 0] = state[_FIRST]
        times[point, 1] = state[_MULTIPLIED] - nest[_ARRAY_LATENCY]
        end = max(state[_STORER], state[_MULTIPLIED], state[_SCALEDONE], state[_FRONT])
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
