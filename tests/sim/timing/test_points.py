"""A million points at once are the same closed form, in a cut that is nearly as good as the one that a search finds."""

from dataclasses import fields, replace

import numpy as np

from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from sim.lowering import Problem, choose_cuts
from sim.timing import load_machine
from sim.timing.analytic import Memory, time_nests
from sim.timing.arrays import Cuts, Hardware, Products
from sim.timing.dram import timing_arrays
from sim.timing.nest import Nest
from sim.timing.points import Scratchpads, time_points
from sim.timing.product import MatrixProduct, Scaling

MACHINE = load_machine("int8-mac")
PRODUCT = MatrixProduct(1, 4096, 4096, 1, ACTIVATION_TYPES["int8"], WEIGHT_TYPES["int8"], "fp16", Scaling("row"))


def timed(sizes, scratchpads=None):
    """Points of products of sizes [(m, k, n)] on one machine."""
    hardware = Hardware.of(MACHINE, MACHINE.compute, 8)
    m, k, n = (np.array(column) for column in zip(*sizes, strict=True))
    products = replace(Products.of(PRODUCT), m=m, k=k, n=n)
    memory = timing_arrays([MACHINE.memory_timings])
    step = np.asarray(MACHINE.compute.k)
    return hardware, products, time_points(hardware, products, scratchpads or Scratchpads.of(MACHINE), memory, step)


def random_sizes(count):
    random = np.random.default_rng(5)
    return [
        tuple(int(2 ** random.uniform(low, high)) for low, high in ((0, 8), (6, 13), (6, 13))) for _ in range(count)
    ]


def test_points_are_the_closed_form_of_their_cuts():
    hardware, products, points = timed(random_sizes(40))
    for index in range(40):
        cuts = Cuts(*(np.asarray(getattr(points.cuts, item.name)[index]) for item in fields(Cuts)))
        alone = time_nests(Nest(hardware, products.take(index), cuts), Memory.of(MACHINE.memory_timings))
        assert int(alone.cycles) == points.cycles[index]
        assert 0 < points.utilization[index] <= 1


def test_points_are_nearly_as_fast_as_the_best_cut():
    sizes = random_sizes(40)
    _, _, points = timed(sizes)
    best = [
        int(choice.timing.cycles)
        for choice in choose_cuts(
            MACHINE, [Problem(MACHINE.compute, replace(PRODUCT, m=m, k=k, n=n)) for m, k, n in sizes]
        )
    ]
    slower = points.cycles / best
    assert np.median(slower) <= 1.03
    assert slower.max() <= 1.35


def test_points_where_nothing_fits_take_no_time_and_the_others_stay():
    small = Scratchpads.of(MACHINE)._replace(weight_bytes=np.array([128, 1 << 20]))
    _, _, points = timed([(4, 256, 256), (4, 256, 256)], small)
    assert points.cycles[0] == 0
    assert points.cycles[1] > 0
    assert points.utilization[0] == 0
