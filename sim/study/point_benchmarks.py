"""Measures how many (machine, product) points the closed form times in a second, on one core."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from sim.timing import load_machine
from sim.timing.arrays import Hardware, Products
from sim.timing.dram import timing_arrays
from sim.timing.points import Scratchpads, time_points
from sim.timing.product import MatrixProduct, Scaling

__all__ = ["million_points"]

_POINTS = 1_000_000


def million_points(points: int = _POINTS) -> dict[str, Any]:
    """Random sizes of array, scratchpads and product around those of `int8-mac`, so many points."""
    random = np.random.default_rng(0)
    machine = load_machine("int8-mac")
    weight = WEIGHT_TYPES["int8"]
    scaling = Scaling("row")
    product = MatrixProduct(1, 4096, 4096, 1, ACTIVATION_TYPES["int8"], weight, "fp16", scaling)
    hardware = replace(
        Hardware.of(machine, machine.compute, weight.bits),
        m=1 << random.integers(0, 5, points),
        n=16 << random.integers(0, 4, points),
    )
    sizes = {name: random.integers(1, high, points) for name, high in (("m", 257), ("k", 12289), ("n", 12289))}
    sizes["result_pitch_bytes"] = sizes["n"] * product.result_bytes
    products = replace(Products.of(product), **sizes)
    scratchpads = Scratchpads.of(machine)._replace(
        weight_bytes=1 << random.integers(17, 22, points),
        activation_bytes=1 << random.integers(17, 22, points),
        accumulator_bytes=1 << random.integers(15, 20, points),
    )
    memory = timing_arrays([machine.memory_timings])
    started = time.perf_counter()
    timed = time_points(hardware, products, scratchpads, memory, np.asarray(machine.compute.k))
    seconds = time.perf_counter() - started
    return {
        "points": points,
        "points_seconds": seconds,
        "points_per_second": points / seconds,
        "points_that_fit": int((timed.cycles > 0).sum()),
    }
