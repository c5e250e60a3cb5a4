"""The recurrence of the closed form: when each engine has done its part of a tile, tile after tile, until a loop has
become periodic; the rest of it is a multiplication.

The rings of a program make a timed event graph (Baccelli et al., Synchronization and Linearity, chapter 2): the time at
which an engine has done a tile is the latest of the times at which the engine, the operands and a place for the result
were there, plus its own time. All these maxima and sums together shift the state of a loop by its period once it is
periodic, usually after two or three iterations. What is no maximum and no sum is the channel that loads, stores and
cores share: who waits for whom there is estimated from the latest transfers (`_last_core`, `_make_way`, `_delay`).

All of it is in one file because its machine code is kept on disk and made anew when the file changes. Importing it
compiles, where that has not been done, in a few seconds; so those who call it import it late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import boolean, float64, int64, njit, void
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
    "store_latency",
)
"""What is to be known of a nest: loops, levels (-1: there is no such operand), places, and cycles by size of tile. Of
sizes the index is rows · 2 + depth (columns · 2 + depth for weights, rows · 4 + columns · 2 + depth for products,
rows · 2 + columns for results), 0 for whole tiles and 1 for edges."""

COPIES, COLUMNS_OUTER, FULL_ROWS, ROW_EDGE, FULL_COLUMNS, COLUMN_EDGE, DEPTHS, DEPTH_EDGE = range(8)
LEVELS, PLACES = 8, 13
GROUPED, SCALED, LOADS_TABLES, KEEPS_RESULTS, USED_BY_TABLES = range(20, 25)
ARRAY_LATENCY, SCALE_LATENCY, LOAD_LATENCY, START = range(25, 29)
INPUT_SHARES, WEIGHT_SHARES, RESULT_SHARES = range(29, 32)
LOAD_INPUT, MAKE_TABLE, LOAD_WEIGHT, LOAD_COLUMN_SCALE, LOAD_ROW_SCALE = 32, 36, 40, 44, 46
MULTIPLY, SCALE, STORE, STORE_LATENCY = 48, 56, 60, 64
# Rings: the first levels and places are in this order, but for sums and results, which have no level of their own.
INPUTS, TABLES, WEIGHTS, SUMS, RESULTS, COLUMN_SCALES, ROW_SCALES = range(7)
RINGS = 7

# The state: times at which engines are free and their last result is there, at which a place of each ring is free (the
# next, and the one after), at which what was filled last is there; when the last loads began without a break; and when
# stores that are not carried yet were asked for and will have ended.
FRONT, LOADER, TABLER, ARRAY, SCALER, STORER, TABLED, MULTIPLIED, SCALEDONE = range(9)
NEXT_FREE, LATER_FREE, FULL = 9, 16, 23
FIRST, BLOCK_BEGAN, BLOCK_FREE, ASKED, ENDS = 30, 31, 32, 33, 37
STATES, STORES = 41, 4
# Durations, which do not shift with time: how far the last core is behind the first (its array, its loads, what was
# filled last, a free place), what is left of stores, and a turn of the store of every core.
STAGGER, BLOCK, BLOCK_STAGGER, STAGGERS = range(4)
LEFT, NEXT_STAGGER, LATER_STAGGER, STORE_TURNS = 10, 14, 21, 28
LENGTHS = 29

TURN, MOST_TURNS = 64.0, 64.0
# Iterations after which a loop is taken for periodic, whatever it does.
MOST_ITERATIONS = 8

VECTOR, MATRIX = float64[::1], float64[:, ::1]


def _compiled(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Machine code for one signature, kept on disk where there is a place for it."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(signature, cache=True, nogil=True)(function)
        except RuntimeError:  # neither the folder of this file nor the user's cache folder can be written
            return njit(signature, nogil=True)(function)

    return decorate


@_compiled(void(VECTOR, VECTOR))
def _copy(target, source):  # type: ignore[no-untyped-def]
    for entry in range(len(source)):
        target[entry] = source[entry]


@_compiled(float64(VECTOR, VECTOR, int64))
def _take(state, lengths, ring):  # type: ignore[no-untyped-def]
    """When the next place of a ring is free; it is taken."""
    free = state[NEXT_FREE + ring]
    state[NEXT_FREE + ring] = state[LATER_FREE + ring]
    lengths[NEXT_STAGGER + ring] = lengths[LATER_STAGGER + ring]
    return free


@_compiled(void(VECTOR, VECTOR, VECTOR, int64, float64))
def _give(nest, state, lengths, ring, time):  # type: ignore[no-untyped-def]
    """A place of a ring is free again; cores are then as far apart as their arrays."""
    place = ring + (RINGS if nest[PLACES + ring] > 1 else 0)
    state[NEXT_FREE + place], lengths[NEXT_STAGGER + place] = time, lengths[STAGGER]


@_compiled(float64(float64))
def _turn(cycles):  # type: ignore[no-untyped-def]
    """For how long a transfer of one core has the channel while others wait for it."""
    return np.ceil(cycles / min(MOST_TURNS, max(1.0, (cycles + TURN / 2) // TURN)))


@_compiled(float64(VECTOR, VECTOR, VECTOR, int64, float64, float64, float64, float64, float64))
def _last_core(nest, state, lengths, ring, began, cycles, turn, cores, stagger):  # type: ignore[no-untyped-def]
    """When the last of the cores has a tile that each of them loads."""
    others = nest[INPUT_SHARES] - 1
    if began > state[LOADER] or lengths[BLOCK] == 0:
        state[BLOCK_BEGAN], state[BLOCK_FREE] = began, state[LOADER]
        lengths[BLOCK_STAGGER], lengths[BLOCK] = stagger, 0.0
    behind, before = lengths[BLOCK_STAGGER] / others, lengths[BLOCK]
    block = before + cycles
    last = max(state[BLOCK_FREE], state[BLOCK_BEGAN] - lengths[BLOCK_STAGGER]) + cores * block
    ended = began + cycles
    if last <= ended:
        lengths[BLOCK] = block
        lengths[STAGGERS + ring] = lengths[BLOCK_STAGGER]
        return ended
    if cycles > turn:
        turns = max(1.0, np.ceil((behind - before) / turn) + (before > 0))
        behind = min(block, (cycles - 1) % turn + 1 + (turns - 1) * turn)
    elif before <= 0:
        behind = cycles
    else:
        lengths[BLOCK] = block
        lengths[STAGGERS + ring] = others * block
        return last
    state[BLOCK_BEGAN] = state[BLOCK_FREE] = last
    lengths[BLOCK_STAGGER] = lengths[STAGGERS + ring] = others * behind
    lengths[BLOCK] = -1e-9
    return last


@_compiled(void(VECTOR, VECTOR, VECTOR, int64, float64))
def _delay(nest, state, lengths, store, cycles):  # type: ignore[no-untyped-def]
    """A store ends later than was known when its place was given; so do those that follow without a break."""
    ring = RESULTS if nest[GROUPED] else SUMS
    while cycles > 0:
        end = state[ENDS + store]
        if state[STORER] == end:
            state[STORER] = end + cycles
        for entry in (NEXT_FREE + ring, LATER_FREE + ring):
            if state[entry] == end + nest[STORE_LATENCY]:
                state[entry] += cycles
        state[ENDS + store] = end + cycles
        store += 1
        if store == STORES or lengths[LEFT + store] == 0:
            break
        cycles += end - state[ASKED + store]
        state[ASKED + store] += max(0.0, cycles)


@_compiled(float64(VECTOR, VECTOR, VECTOR, float64, float64, float64, float64))
def _make_way(nest, state, lengths, began, ended, cycles, turn):  # type: ignore[no-untyped-def]
    """When a load has ended that takes turns with stores which were asked for before that and are not carried yet.

    They have had the channel for themselves while there was nothing to load. Whoever has it when the other comes goes
    on to the end of a turn (`first`, `held`); after each turn of a core's load, the store of every core has one.
    """
    idle, length, kept = state[LOADER], ended - began, 0
    store_turn = lengths[STORE_TURNS] * cycles / length
    for store in range(STORES):
        left, asked = lengths[LEFT + store], state[ASKED + store]
        if left == 0:
            break
        alone = min(left, max(0.0, began - max(asked, idle)))
        idle = max(asked, idle) + alone
        left -= alone
        if left > 0 and asked < ended:
            carried = max(0.0, asked - began) * length / (ended - began)
            rest, first, held = length - carried, 0.0, -carried % turn
            if asked <= began:
                first, held = min(left, -alone % store_turn if alone > 0 else store_turn), turn
            left -= first
            held = min(held, rest)
            shared = min(left, np.ceil((rest - held) / turn) * store_turn)
            _delay(nest, state, lengths, store, min(rest, held + (np.ceil(left / store_turn) - 1) * turn))
            left -= shared
            ended += first + shared
        lengths[LEFT + store] = 0.0
        if left > 0:
            lengths[LEFT + kept], state[ASKED + kept], state[ENDS + kept] = left, asked, state[ENDS + store]
            kept += 1
    return ended


@_compiled(void(VECTOR, VECTOR, VECTOR, int64, float64))
def _load(nest, state, lengths, ring, cycles):  # type: ignore[no-untyped-def]
    """Load a tile into a ring.

    Cores ask in turn: the last of them is served after all, unless it is so far behind the first as the loads before
    have put it (by a turn of the channel each, at most) or the place that it waits for. Stores have turns in between.
    """
    state[FRONT] += 2.0 if nest[PLACES + ring] > 1 else 1.0
    stagger = lengths[NEXT_STAGGER + ring]
    began = max(state[LOADER], state[FRONT], _take(state, lengths, ring))
    ended, turn = began + cycles, _turn(cycles)
    cores = nest[WEIGHT_SHARES] if ring in (WEIGHTS, COLUMN_SCALES) else nest[INPUT_SHARES]
    if cores > 1:
        ended = _last_core(nest, state, lengths, ring, began, cycles, turn, cores, stagger)
    if lengths[LEFT] > 0:
        ended = _make_way(nest, state, lengths, began, ended, cycles, turn)
    state[LOADER] = ended
    state[FULL + ring] = ended + nest[LOAD_LATENCY]


@_compiled(float64(VECTOR, VECTOR, float64, int64))
def _meet(state, lengths, began, ring):  # type: ignore[no-untyped-def]
    """When the array can begin if it needs what is in a ring; cores are then as far apart as their loads."""
    if state[FULL + ring] > began:
        lengths[STAGGER] = lengths[STAGGERS + ring]
        return state[FULL + ring]
    return began


@_compiled(float64(VECTOR, VECTOR, VECTOR, float64, float64))
def _store(nest, state, lengths, ready, cycles):  # type: ignore[no-untyped-def]
    """Store a tile of results, and say when that is done."""
    state[FRONT] += 2.0
    began = max(state[STORER], state[FRONT], ready)
    if nest[KEEPS_RESULTS]:
        state[STORER] = began + cycles
        return state[STORER]
    lengths[STORE_TURNS] = _turn(cycles) * nest[RESULT_SHARES]
    cycles *= nest[RESULT_SHARES]
    place = 0
    while place < STORES - 1 and lengths[LEFT + place] > 0:
        place += 1
    if lengths[LEFT + place] == 0:
        state[ASKED + place] = began
    lengths[LEFT + place] += cycles
    state[STORER] = state[ENDS + place] = began + cycles
    return state[STORER]


@_compiled(void(VECTOR, VECTOR, VECTOR, int64, int64, int64, int64))
def _enter(nest, state, lengths, level, row, column, depth):  # type: ignore[no-untyped-def]
    """Load what changes at a level, make tables, and let engines wait for what serves several tiles."""
    inputs_at, tables_at, weights_at = nest[LEVELS], nest[LEVELS + 1], nest[LEVELS + 2]
    column_scales_at, row_scales_at = nest[LEVELS + 3], nest[LEVELS + 4]
    if inputs_at == level:
        ring = TABLES if nest[LOADS_TABLES] else INPUTS
        _load(nest, state, lengths, ring, nest[LOAD_INPUT + 2 * row + depth])
    if tables_at == level and not nest[LOADS_TABLES]:
        state[FRONT] += 3.0
        began = max(state[TABLER], state[FRONT], _take(state, lengths, TABLES))
        at_once = inputs_at == level
        if at_once:
            began = max(began, state[FULL + INPUTS])
            lengths[STAGGERS + TABLES] = lengths[STAGGERS + INPUTS]
        state[TABLER] = began + nest[MAKE_TABLE + 2 * row + depth]
        state[TABLED] = state[TABLER] + nest[ARRAY_LATENCY]
        state[FULL + TABLES] = state[TABLED]
        if at_once:
            _give(nest, state, lengths, INPUTS, state[TABLED])
    if weights_at == level:
        _load(nest, state, lengths, WEIGHTS, nest[LOAD_WEIGHT + 2 * column + depth])
    if column_scales_at == level:
        _load(nest, state, lengths, COLUMN_SCALES, nest[LOAD_COLUMN_SCALE + column])
    if row_scales_at == level:
        _load(nest, state, lengths, ROW_SCALES, nest[LOAD_ROW_SCALE + row])
    if level == 3:
        return
    wait = 0.0
    if weights_at == level:
        wait = _meet(state, lengths, wait, WEIGHTS)
    if tables_at == level:
        wait = _meet(state, lengths, wait, TABLES)
    if inputs_at == level and not nest[LOADS_TABLES]:
        if not nest[USED_BY_TABLES]:
            wait = _meet(state, lengths, wait, INPUTS)
        elif tables_at != level:
            state[FRONT] += 1.0
            state[TABLER] = max(state[TABLER], state[FRONT], state[FULL + INPUTS]) + 1
    if wait > 0:
        state[FRONT] += 1.0
        state[ARRAY] = max(state[ARRAY], state[FRONT], wait) + 1
    wait = 0.0
    if column_scales_at == level:
        wait = state[FULL + COLUMN_SCALES]
    if row_scales_at == level:
        wait = max(wait, state[FULL + ROW_SCALES])
    if wait > 0:
        state[FRONT] += 1.0
        state[SCALER] = max(state[SCALER], state[FRONT], wait) + 1


@_compiled(void(VECTOR, VECTOR, VECTOR, int64))
def _leave(nest, state, lengths, level):  # type: ignore[no-untyped-def]
    """Free what was loaded at a level."""
    inputs_at, tables_at, weights_at = nest[LEVELS], nest[LEVELS + 1], nest[LEVELS + 2]
    by_array = inputs_at == level and not nest[USED_BY_TABLES] and not nest[LOADS_TABLES]
    if weights_at == level or tables_at == level or by_array:
        state[FRONT] += 2.0
        state[ARRAY] = max(state[ARRAY], state[FRONT]) + 1
        done = max(state[ARRAY], state[MULTIPLIED])
        if weights_at == level:
            _give(nest, state, lengths, WEIGHTS, done)
        if tables_at == level:
            _give(nest, state, lengths, TABLES, done)
        if by_array:
            _give(nest, state, lengths, INPUTS, done)
    if inputs_at == level and nest[USED_BY_TABLES] and tables_at != level:
        state[FRONT] += 2.0
        state[TABLER] = max(state[TABLER], state[FRONT]) + 1
        _give(nest, state, lengths, INPUTS, max(state[TABLER], state[TABLED]))
    if nest[LEVELS + 3] == level or nest[LEVELS + 4] == level:
        state[FRONT] += 2.0
        state[SCALER] = max(state[SCALER], state[FRONT]) + 1
        done = max(state[SCALER], state[SCALEDONE])
        if nest[LEVELS + 3] == level:
            _give(nest, state, lengths, COLUMN_SCALES, done)
        if nest[LEVELS + 4] == level:
            _give(nest, state, lengths, ROW_SCALES, done)


@_compiled(void(VECTOR, VECTOR, VECTOR, int64, int64, int64, boolean, boolean))
def _multiply(nest, state, lengths, row, column, depth, first, last):  # type: ignore[no-untyped-def]
    """One `lmma`, and the scaling of its sums where they belong to a group."""
    _enter(nest, state, lengths, 3, row, column, depth)
    grouped = nest[GROUPED] > 0
    inputs_at, tables_at, weights_at = nest[LEVELS], nest[LEVELS + 1], nest[LEVELS + 2]
    state[FRONT] += 2.0
    began = max(state[ARRAY], state[FRONT])
    if weights_at == 3:
        state[FRONT] += 1.0
        began = _meet(state, lengths, began, WEIGHTS)
    if tables_at == 3:
        state[FRONT] += 1.0
        began = _meet(state, lengths, began, TABLES)
    by_array = inputs_at == 3 and not nest[USED_BY_TABLES] and not nest[LOADS_TABLES]
    if by_array:
        state[FRONT] += 1.0
        began = _meet(state, lengths, began, INPUTS)
    if first or grouped:
        began = max(began, _take(state, lengths, SUMS))
    if state[FIRST] == 0:
        state[FIRST] = began
    state[ARRAY] = began + nest[MULTIPLY + 4 * row + 2 * column + depth]
    done = state[ARRAY] + nest[ARRAY_LATENCY]
    state[MULTIPLIED] = done
    if weights_at == 3:
        _give(nest, state, lengths, WEIGHTS, done)
    if tables_at == 3:
        _give(nest, state, lengths, TABLES, done)
    if by_array:
        _give(nest, state, lengths, INPUTS, done)
    if last or grouped:
        state[FULL + SUMS] = done
    if grouped:
        state[FRONT] += 3.0
        began = max(state[SCALER], state[FRONT], done)
        if first:
            began = max(began, _take(state, lengths, RESULTS))
        if nest[LEVELS + 3] == 3:
            began = max(began, state[FULL + COLUMN_SCALES])
        state[SCALER] = began + nest[SCALE + 2 * row + column]
        state[SCALEDONE] = state[SCALER] + nest[SCALE_LATENCY]
        _give(nest, state, lengths, SUMS, state[SCALEDONE])
        if nest[LEVELS + 3] == 3:
            _give(nest, state, lengths, COLUMN_SCALES, state[SCALEDONE])


@_compiled(void(VECTOR, VECTOR, VECTOR, int64, int64))
def _finish(nest, state, lengths, row, column):  # type: ignore[no-untyped-def]
    """Scale sums of whole rows, and store."""
    ready = state[FULL + SUMS]
    if nest[SCALED] and not nest[GROUPED]:
        state[FRONT] += 1.0
        state[SCALER] = max(state[SCALER], state[FRONT], ready) + nest[SCALE + 2 * row + column]
        ready = state[SCALEDONE] = state[SCALER] + nest[SCALE_LATENCY]
    elif nest[GROUPED]:
        ready = state[SCALEDONE]
    ended = _store(nest, state, lengths, ready, nest[STORE + 2 * row + column])
    _give(nest, state, lengths, RESULTS if nest[GROUPED] else SUMS, ended + nest[STORE_LATENCY])


@_compiled(float64(VECTOR, VECTOR, VECTOR, float64, float64))
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
    _copy(earlier, before)
    _copy(before, whole)
    return skipped


@_compiled(void(VECTOR, VECTOR, VECTOR, VECTOR, int64, int64, MATRIX))
def _accumulate(nest, whole, state, lengths, row, column, past):  # type: ignore[no-untyped-def]
    depths, last_depth = nest[DEPTHS], int(nest[DEPTH_EDGE])
    if depths > 1:
        _multiply(nest, state, lengths, row, column, 0, True, False)
        done, count = 0, depths - 2
        _copy(past[0], whole)
        _copy(past[1], whole)
        while done < count:
            _multiply(nest, state, lengths, row, column, 0, False, False)
            state[FRONT] += 4.0
            done += 1
            done += _skip(whole, past[0], past[1], done, count)
    _multiply(nest, state, lengths, row, column, last_depth, depths == 1, True)


@_compiled(void(VECTOR, VECTOR, VECTOR, VECTOR, int64, MATRIX))
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
        _copy(past[2], whole)
        _copy(past[3], whole)
        while done < count:
            _enter(nest, state, lengths, 2, row, column, 0)
            _accumulate(nest, whole, state, lengths, row, column, past)
            _finish(nest, state, lengths, row, column)
            _leave(nest, state, lengths, 2)
            state[FRONT] += 5.0
            done += 1
            done += _skip(whole, past[2], past[3], done, count)


@_compiled(void(VECTOR, VECTOR, VECTOR, VECTOR, MATRIX))
def _outer(nest, whole, state, lengths, past):  # type: ignore[no-untyped-def]
    columns_outer = nest[COLUMNS_OUTER] > 0
    for edge in range(2):
        if columns_outer:
            count = nest[FULL_COLUMNS] if edge == 0 else nest[COLUMN_EDGE]
        else:
            count = nest[FULL_ROWS] if edge == 0 else nest[ROW_EDGE]
        done = 0
        _copy(past[4], whole)
        _copy(past[5], whole)
        while done < count:
            row, column = (0, edge) if columns_outer else (edge, 0)
            _enter(nest, state, lengths, 1, row, column, 0)
            _inner(nest, whole, state, lengths, edge, past)
            _leave(nest, state, lengths, 1)
            state[FRONT] += 5.0
            done += 1
            done += _skip(whole, past[4], past[5], done, count)


@_compiled(MATRIX(MATRIX))
def _nest_times(nests):  # type: ignore[no-untyped-def]
    times = np.zeros((len(nests), 3))
    past = np.zeros((8, STATES + LENGTHS))
    for point in range(len(nests)):
        nest = nests[point]
        whole = np.zeros(STATES + LENGTHS)
        state, lengths = whole[:STATES], whole[STATES:]
        state[FRONT] = nest[START]
        done, count = 0, nest[COPIES]
        _copy(past[6], whole)
        _copy(past[7], whole)
        while done < count:
            _enter(nest, state, lengths, 0, 0, 0, 0)
            _outer(nest, whole, state, lengths, past)
            _leave(nest, state, lengths, 0)
            done += 1
            done += _skip(whole, past[6], past[7], done, count)
        times[point, 0] = state[FIRST]
        times[point, 1] = state[MULTIPLIED] - nest[ARRAY_LATENCY]
        end = max(state[STORER] + nest[STORE_LATENCY], state[MULTIPLIED], state[SCALEDONE], state[FRONT])
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
