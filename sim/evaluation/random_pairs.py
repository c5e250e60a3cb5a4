"""Random matrix products on random machines: on what the two fidelities are held against each other beyond the shipped
machines and models."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isa import InputError
from sim.evaluation.work import TracedOperation, Work, work_of
from sim.timing.machine import Machine, load_machine, shipped_machines

__all__ = ["random_pairs"]

_WEIGHTS = ("ternary", "int2", "int4", "int8", "int4-g128", "ternary-g64")
_DRAM = (("ddr4-3200", 25.6), ("lpddr4-2400", 19.2), ("hbm2", 16.0))
_MOST_MACS = 1 << 34


def random_pairs(samples: int, seed: int) -> Iterator[tuple[Machine, TracedOperation, Work]]:
    """Pairs of a machine and a low-bit product that fits it, with the work that it is there.

    Parameters
    ----------
    samples : int
    seed : int
        The same seed gives the same pairs.
    """
    random = np.random.default_rng(seed)
    found = 0
    while found < samples:
        machine, operation = _machine(random, found), _operation(random)
        try:
            work = work_of(machine, operation)
        except InputError:
            continue  # no tile of this product fits these scratchpads
        found += 1
        yield machine, operation, work


def _machine(random: np.random.Generator, number: int) -> Machine:
    names = [name for name in shipped_machines() if load_machine(name).family == "accelerator"]
    base = load_machine(names[random.integers(len(names))])
    technology, channel = _DRAM[random.integers(len(_DRAM))]
    fields: dict[str, object] = {
        "name": f"random-{number}",
        "clock_ghz": float(random.choice([0.5, 1.0, 1.5])),
        "cores": int(random.choice([1, 1, 1, 2, 4])),
        "compute.m": int(random.choice([1, 2, 4, 8, 16])),
        "compute.n": int(random.choice([16, 32, 64, 128])),
        "compute.k": int(random.choice([2, 4, 8])),
        "vector.n": int(random.choice([16, 64, 256])),
        "dram.technology": technology,
        "dram.bandwidth_gb_per_second": channel * float(random.choice([1, 2, 4, 16])),
        "dram.latency_ns": float(random.integers(20, 200)),
    }
    for buffer in ("activation", "weight", "output"):
        fields[f"buffers.{buffer}_bytes"] = 1 << int(random.integers(14, 21))
    if base.compute.looks_up_tables:
        fields["buffers.table_bytes"] = 1 << int(random.integers(16, 21))
        fields["compute.precompute"] = str(random.choice(["fused", "fused", "separate", "none"]))
    return base.with_fields(fields)


def _operation(random: np.random.Generator) -> TracedOperation:
    """A projection of at most so many products, prefill and decode alike often."""
    while True:
        m = 1 if random.integers(2) else int(2 ** random.uniform(0, 11))
        k, n = (int(2 ** random.uniform(5, 14)) for _ in range(2))
        if m * k * n <= _MOST_MACS:
            break
    weights = _WEIGHTS[random.integers(len(_WEIGHTS))]
    return TracedOperation(0, "random", "mpgemm", m, k, n, 1, "int8-token", weights, "fp16", -1)
