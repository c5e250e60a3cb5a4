"""What engines do for a tile: load it, make tables, multiply, scale, store, and free what was loaded."""

from __future__ import annotations

from sim.timing.recurrence.channel import give, load, meet, store, take
from sim.timing.recurrence.layout import (
    ARRAY,
    ARRAY_LATENCY,
    COLUMN_SCALES,
    FIRST,
    FRONT,
    FULL,
    GROUPED,
    INPUTS,
    LEVELS,
    LOAD_COLUMN_SCALE,
    LOAD_INPUT,
    LOAD_ROW_SCALE,
    LOAD_WEIGHT,
    LOADS_TABLES,
    MAKE_TABLE,
    MULTIPLIED,
    MULTIPLY,
    RESULTS,
    ROW_SCALES,
    SCALE,
    SCALE_LATENCY,
    SCALED,
    SCALEDONE,
    SCALER,
    STAGGERS,
    STORE,
    SUMS,
    TABLED,
    TABLER,
    TABLES,
    USED_BY_TABLES,
    WEIGHTS,
    compiled,
)


@compiled
def enter(nest, state, lengths, level, row, column, depth):  # type: ignore[no-untyped-def]
    """Load what changes at a level, make tables, and let engines wait for what serves several tiles."""
    inputs_at, tables_at, weights_at = nest[LEVELS], nest[LEVELS + 1], nest[LEVELS + 2]
    column_scales_at, row_scales_at = nest[LEVELS + 3], nest[LEVELS + 4]
    if inputs_at == level:
        ring = TABLES if nest[LOADS_TABLES] else INPUTS
        load(nest, state, lengths, ring, nest[LOAD_INPUT + 2 * row + depth])
    if tables_at == level and not nest[LOADS_TABLES]:
        state[FRONT] += 3.0
        began = max(state[TABLER], state[FRONT], take(state, TABLES))
        at_once = inputs_at == level
        if at_once:
            began = max(began, state[FULL + INPUTS])
            lengths[STAGGERS + TABLES] = lengths[STAGGERS + INPUTS]
        state[TABLER] = began + nest[MAKE_TABLE + 2 * row + depth]
        state[TABLED] = state[TABLER] + nest[ARRAY_LATENCY]
        state[FULL + TABLES] = state[TABLED]
        if at_once:
            give(nest, state, INPUTS, state[TABLED])
    if weights_at == level:
        load(nest, state, lengths, WEIGHTS, nest[LOAD_WEIGHT + 2 * column + depth])
    if column_scales_at == level:
        load(nest, state, lengths, COLUMN_SCALES, nest[LOAD_COLUMN_SCALE + column])
    if row_scales_at == level:
        load(nest, state, lengths, ROW_SCALES, nest[LOAD_ROW_SCALE + row])
    if level == 3:
        return
    wait = 0.0
    if weights_at == level:
        wait = meet(state, lengths, wait, WEIGHTS)
    if tables_at == level:
        wait = meet(state, lengths, wait, TABLES)
    if inputs_at == level and not nest[LOADS_TABLES]:
        if not nest[USED_BY_TABLES]:
            wait = meet(state, lengths, wait, INPUTS)
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


@compiled
def leave(nest, state, level):  # type: ignore[no-untyped-def]
    """Free what was loaded at a level."""
    inputs_at, tables_at, weights_at = nest[LEVELS], nest[LEVELS + 1], nest[LEVELS + 2]
    by_array = inputs_at == level and not nest[USED_BY_TABLES] and not nest[LOADS_TABLES]
    if weights_at == level or tables_at == level or by_array:
        state[FRONT] += 2.0
        state[ARRAY] = max(state[ARRAY], state[FRONT]) + 1
        done = max(state[ARRAY], state[MULTIPLIED])
        if weights_at == level:
            give(nest, state, WEIGHTS, done)
        if tables_at == level:
            give(nest, state, TABLES, done)
        if by_array:
            give(nest, state, INPUTS, done)
    if inputs_at == level and nest[USED_BY_TABLES] and tables_at != level:
        state[FRONT] += 2.0
        state[TABLER] = max(state[TABLER], state[FRONT]) + 1
        give(nest, state, INPUTS, max(state[TABLER], state[TABLED]))
    if nest[LEVELS + 3] == level or nest[LEVELS + 4] == level:
        state[FRONT] += 2.0
        state[SCALER] = max(state[SCALER], state[FRONT]) + 1
        done = max(state[SCALER], state[SCALEDONE])
        if nest[LEVELS + 3] == level:
            give(nest, state, COLUMN_SCALES, done)
        if nest[LEVELS + 4] == level:
            give(nest, state, ROW_SCALES, done)


@compiled
def multiply(nest, state, lengths, row, column, depth, first, last):  # type: ignore[no-untyped-def]
    """One `lmma`, and the scaling of its sums where they belong to a group."""
    enter(nest, state, lengths, 3, row, column, depth)
    grouped = nest[GROUPED] > 0
    inputs_at, tables_at, weights_at = nest[LEVELS], nest[LEVELS + 1], nest[LEVELS + 2]
    state[FRONT] += 2.0
    began = max(state[ARRAY], state[FRONT])
    if weights_at == 3:
        state[FRONT] += 1.0
        began = meet(state, lengths, began, WEIGHTS)
    if tables_at == 3:
        state[FRONT] += 1.0
        began = meet(state, lengths, began, TABLES)
    by_array = inputs_at == 3 and not nest[USED_BY_TABLES] and not nest[LOADS_TABLES]
    if by_array:
        state[FRONT] += 1.0
        began = meet(state, lengths, began, INPUTS)
    if first or grouped:
        began = max(began, take(state, SUMS))
    if state[FIRST] == 0:
        state[FIRST] = began
    state[ARRAY] = began + nest[MULTIPLY + 4 * row + 2 * column + depth]
    done = state[ARRAY] + nest[ARRAY_LATENCY]
    state[MULTIPLIED] = done
    if weights_at == 3:
        give(nest, state, WEIGHTS, done)
    if tables_at == 3:
        give(nest, state, TABLES, done)
    if by_array:
        give(nest, state, INPUTS, done)
    if last or grouped:
        state[FULL + SUMS] = done
    if grouped:
        state[FRONT] += 3.0
        began = max(state[SCALER], state[FRONT], done)
        if first:
            began = max(began, take(state, RESULTS))
        if nest[LEVELS + 3] == 3:
            began = max(began, state[FULL + COLUMN_SCALES])
        state[SCALER] = began + nest[SCALE + 2 * row + column]
        state[SCALEDONE] = state[SCALER] + nest[SCALE_LATENCY]
        give(nest, state, SUMS, state[SCALEDONE])
        if nest[LEVELS + 3] == 3:
            give(nest, state, COLUMN_SCALES, state[SCALEDONE])


@compiled
def finish(nest, state, lengths, row, column):  # type: ignore[no-untyped-def]
    """Scale sums of whole rows, and store."""
    ready = state[FULL + SUMS]
    if nest[SCALED] and not nest[GROUPED]:
        state[FRONT] += 1.0
        state[SCALER] = max(state[SCALER], state[FRONT], ready) + nest[SCALE + 2 * row + column]
        ready = state[SCALEDONE] = state[SCALER] + nest[SCALE_LATENCY]
    elif nest[GROUPED]:
        ready = state[SCALEDONE]
    ended = store(nest, state, lengths, ready, nest[STORE + 2 * row + column])
    give(nest, state, RESULTS if nest[GROUPED] else SUMS, ended)
