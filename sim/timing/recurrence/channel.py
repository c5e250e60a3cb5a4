"""Loads and stores of a nest on the memory channel, which they share with those of other cores; places of rings."""

from __future__ import annotations

import numpy as np

from sim.timing.recurrence.layout import (
    ASKED,
    BLOCK,
    BLOCK_BEGAN,
    BLOCK_FREE,
    BLOCK_STAGGER,
    COLUMN_SCALES,
    FRONT,
    FULL,
    INPUT_SHARES,
    KEEPS_RESULTS,
    LATER_FREE,
    LEFT,
    LOAD_BEGAN,
    LOAD_LATENCY,
    LOADER,
    MOST_TURNS,
    NEXT_FREE,
    PLACES,
    RESULT_SHARES,
    STAGGER,
    STAGGERS,
    STORER,
    STORES,
    TURN,
    WEIGHT_SHARES,
    WEIGHTS,
    compiled,
)


@compiled
def take(state, ring):  # type: ignore[no-untyped-def]
    """When the next place of a ring is free; it is taken."""
    free = state[NEXT_FREE + ring]
    state[NEXT_FREE + ring] = state[LATER_FREE + ring]
    return free


@compiled
def give(nest, state, ring, time):  # type: ignore[no-untyped-def]
    """A place of a ring is free again."""
    if nest[PLACES + ring] > 1:
        state[LATER_FREE + ring] = time
    else:
        state[NEXT_FREE + ring] = time


@compiled
def last_core(nest, state, lengths, ring, began, cycles, turn, cores):  # type: ignore[no-untyped-def]
    """When the last of the cores has a tile that each of them loads."""
    others = nest[INPUT_SHARES] - 1
    if began > state[LOADER] or lengths[BLOCK] == 0:
        state[BLOCK_BEGAN], state[BLOCK_FREE] = began, state[LOADER]
        lengths[BLOCK_STAGGER], lengths[BLOCK] = lengths[STAGGER], 0.0
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


@compiled
def load(nest, state, lengths, ring, cycles):  # type: ignore[no-untyped-def]
    """Load a tile into a ring.

    Cores ask in turn: the last of them is served after all, unless it is so far behind the first as the loads before
    have put it (by a turn of the channel each, at most). A store that has not been carried yet gets every second turn.
    """
    places = nest[PLACES + ring] > 1
    state[FRONT] += 2.0 if places else 1.0
    began = max(state[LOADER], state[FRONT], take(state, ring))
    ended = began + cycles
    cores = nest[INPUT_SHARES]
    if ring in (WEIGHTS, COLUMN_SCALES):
        cores = nest[WEIGHT_SHARES]
    turn = max(TURN, cycles // MOST_TURNS)
    if cores > 1:
        ended = last_core(nest, state, lengths, ring, began, cycles, turn, cores)
    if lengths[LEFT] > 0:
        ended = make_way(state, lengths, began, ended, min(turn, cycles))
    if began > state[LOADER]:
        state[LOAD_BEGAN] = began
    state[LOADER] = ended
    state[FULL + ring] = ended + nest[LOAD_LATENCY]


@compiled
def meet(state, lengths, began, ring):  # type: ignore[no-untyped-def]
    """When the array can begin if it needs what is in a ring; cores are then as far apart as their loads."""
    if state[FULL + ring] > began:
        lengths[STAGGER] = lengths[STAGGERS + ring]
        return state[FULL + ring]
    return began


@compiled
def make_way(state, lengths, began, ended, turn):  # type: ignore[no-untyped-def]
    """When a load has ended that takes turns with stores which were asked for before that and are not carried yet.

    They have had the channel for themselves while there was nothing to load; a turn of the load is followed by one of
    the store.
    """
    idle = state[LOADER]
    yields = np.ceil((ended - began) / turn) * TURN
    for store in range(STORES):
        left = lengths[LEFT + store]
        if left == 0:
            break
        asked = state[ASKED + store]
        alone = min(left, max(0.0, began - max(asked, idle)))
        idle = max(asked, idle) + alone
        left -= alone
        if left > 0 and asked < ended:
            rest = ended - max(began, asked)
            shared = min(left, yields, np.ceil(rest / turn) * TURN)
            yields -= shared
            left -= shared
            ended += shared
        lengths[LEFT + store] = left
    kept = 0
    for store in range(STORES):
        left = lengths[LEFT + store]
        lengths[LEFT + store] = 0.0
        if left > 0:
            lengths[LEFT + kept], state[ASKED + kept] = left, state[ASKED + store]
            kept += 1
    return ended


@compiled
def store(nest, state, lengths, ready, cycles):  # type: ignore[no-untyped-def]
    """Store a tile of results, and say when that is done."""
    state[FRONT] += 2.0
    began = max(state[STORER], state[FRONT], ready)
    if nest[KEEPS_RESULTS]:
        state[STORER] = began + cycles
        return state[STORER]
    cycles *= nest[RESULT_SHARES]
    ended, left = began + cycles, cycles
    if state[LOADER] > began:
        busy = state[LOADER] - max(began, state[LOAD_BEGAN])
        shared = min(cycles, busy)
        left -= shared
        state[LOADER] += shared
    place = 0
    while place < STORES - 1 and lengths[LEFT + place] > 0:
        place += 1
    if lengths[LEFT + place] == 0:
        state[ASKED + place] = began
    lengths[LEFT + place] += left
    state[STORER] = ended
    return ended
