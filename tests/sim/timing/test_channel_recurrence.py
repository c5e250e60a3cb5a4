"""The recurrence of the closed form against the memory channel of the event model: who waits for whom, and how long."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.timing import recurrence
from sim.timing.event.channel import Channel
from sim.timing.event.clock import Clock
from sim.timing.event.recorder import Recorder
from sim.timing.recurrence import SUMS, WEIGHTS

FRONT_END_CYCLES = 2 + 2
"""What the front end takes for a load and a store: nothing is asked for before that."""

asked = st.integers(FRONT_END_CYCLES, 2000)
# Of one turn, of a few turns, of more cycles than there are turns of 64.
carried = st.one_of(st.integers(1, 100), st.integers(1, 1000), st.integers(1, 10_000))


def on_the_channel(load, store):
    """When a load and a store end that want the channel, each of (cycle at which it is asked for, cycles)."""
    env, ends = Clock(), {}
    channel = Channel(env, 2, Recorder(0))

    def ask(number, cycles):
        channel.request(number, cycles, lambda end: ends.update({number: end}))

    for number, (asked_at, cycles) in enumerate((load, store)):
        env.call_after(asked_at, lambda _, number=number, cycles=cycles: ask(number, cycles))
    while (instant := env.peek()) < float("inf"):
        while env.peek() == instant:
            env.step()
        channel.arbitrate()
    return ends[0], ends[1]


class Followed:
    """The state of the recurrence, of so many equal cores and so many places in every ring."""

    def __init__(self, cores, places):
        self.nest = np.zeros(len(recurrence.FIELDS))
        for number, name in enumerate(recurrence.FIELDS):
            if name.endswith("_shares"):
                self.nest[number] = cores
            if name.endswith("_places"):
                self.nest[number] = places
        whole = np.zeros(recurrence.STATES + recurrence.LENGTHS)
        self.state, self.lengths = whole[: recurrence.STATES], whole[recurrence.STATES :]
        self.all = self.nest, self.state, self.lengths

    def load(self, place_free, cycles, stagger=0.0):
        """Load weights into a place, which is free in the last core at a time and in the first that much earlier."""
        self.state[recurrence.NEXT_FREE + WEIGHTS] = place_free
        self.lengths[recurrence.NEXT_STAGGER + WEIGHTS] = stagger
        recurrence._load(*self.all, WEIGHTS, float(cycles))
        return self.state[recurrence.LOADER]

    def store(self, ready, cycles):
        """Store sums, whose place is free then, as far as is known by now."""
        recurrence._give(*self.all, SUMS, recurrence._store(*self.all, float(ready), float(cycles)))


def in_the_recurrence(load, store):
    """The same as on the channel, of a core alone."""
    followed = Followed(cores=1, places=1)
    followed.store(*store)
    ended = followed.load(*load)
    return ended, recurrence._take(followed.state, followed.lengths, SUMS)


@settings(max_examples=300)
@given(load=st.tuples(asked, carried), store=st.tuples(asked, carried))
def test_a_load_and_the_place_of_a_store_are_there_when_the_channel_has_carried_them(load, store):
    assume(load[0] != store[0])  # then it depends on who had the channel before
    assert in_the_recurrence(load, store) == on_the_channel(load, store)


@pytest.mark.parametrize(
    ("load", "store", "ends"),
    [
        ((100, 42), (99, 64), (205, 163)),  # the store has the channel: a load of one turn waits for it
        ((100, 42), (101, 64), (142, 206)),  # a load in its last turn is not interrupted
        ((100, 115), (150, 64), (279, 222)),  # one in its first of two turns (58 and 57 cycles) is
    ],
)
def test_who_has_the_channel_keeps_it_to_the_end_of_a_turn(load, store, ends):
    assert in_the_recurrence(load, store) == on_the_channel(load, store) == ends


def test_cores_whose_places_are_free_one_load_after_the_other_do_not_wait_for_each_other():
    assert Followed(cores=2, places=1).load(100, 40) == 100 + 2 * 40
    assert Followed(cores=2, places=1).load(100, 40, stagger=40) == 100 + 40


def test_a_place_remembers_how_far_apart_arrays_were_when_it_was_given():
    followed = Followed(cores=2, places=2)
    for time, stagger in ((100.0, 40.0), (200.0, 6.0)):
        recurrence._take(followed.state, followed.lengths, WEIGHTS)
        followed.lengths[recurrence.STAGGER] = stagger
        recurrence._give(*followed.all, WEIGHTS, time)
    staggers = []
    for time in (100.0, 200.0):
        staggers.append(followed.lengths[recurrence.NEXT_STAGGER + WEIGHTS])
        assert recurrence._take(followed.state, followed.lengths, WEIGHTS) == time
    assert staggers == [40.0, 6.0]


def test_a_load_that_the_others_stand_apart_from_waits_for_the_stores_of_all_cores():
    followed = Followed(cores=4, places=1)
    followed.store(190, 64)
    assert followed.load(200, 40, stagger=3 * 40) == 190 + 4 * 64 + 40
