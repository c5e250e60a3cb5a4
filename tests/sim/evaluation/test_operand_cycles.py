"""Cycles from operand values: every pass is counted once, in the `lmma` that makes it, on the core that executes it."""

import numpy as np
import pytest

from isa import FORMATS
from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from sim.evaluation.operand_cycles import lmma_cycles
from sim.lowering import lower
from sim.timing import load_machine
from sim.timing.product import MatrixProduct, Scaling

M, K, N = 7, 448, 75
SMALL = {f"buffers.{name}_bytes": 1 << 12 for name in ("activation", "weight", "output", "scale")}


def lowered_on(cores, scaling=None, **fields):
    array = {"compute.m": 2, "compute.n": 8, "compute.k": 4, "vector.n": 8, "cores": cores}
    machine = load_machine("bit-serial").with_fields(array | SMALL | fields)
    unit = machine.compute if scaling is None else machine.compute.within_groups(scaling.group_size)
    product = MatrixProduct(M, K, N, 1, ACTIVATION_TYPES["int8"], WEIGHT_TYPES["int8"], "fp16", scaling)
    return lower(machine, unit, product)


def by_loops(lowered, pass_cycles):
    """The same, loop by loop: of every tile the windows that begin in it."""
    unit, blocks = lowered.unit, -(-N // lowered.unit.n)
    windows = -(-K // (unit.k * unit.groups_per_window))
    every = np.broadcast_to(pass_cycles, (-(-M // unit.m), blocks, windows))
    cores, first = [], 0
    for part, nest in zip(lowered.parts, lowered.nests, strict=True):
        step = {"m": int(nest.rows.size), "n": int(nest.columns.size), "k": int(nest.inputs.size)}
        outer, inner = ("n", "m") if nest.cuts.columns_outer else ("m", "n")
        size = {"m": M, "n": part.n, "k": K}
        cycles = []
        for a in range(0, size[outer], step[outer]):
            for b in range(0, size[inner], step[inner]):
                for k in range(0, K, step["k"]):
                    start = {outer: a, inner: b, "k": k}
                    total = 0
                    for row in range(start["m"], min(start["m"] + step["m"], M), unit.m):
                        for column in range(start["n"], min(start["n"] + step["n"], part.n), unit.n):
                            for depth in range(k, min(k + step["k"], K), unit.k * unit.groups_per_window):
                                window = depth // (unit.k * unit.groups_per_window)
                                total += every[row // unit.m, first + column // unit.n, window]
                    cycles.append(total)
        cores.append(cycles)
        first += -(-part.n // unit.n)
    return cores, int(every.sum())


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("serial", ["weights", "activations"])
@pytest.mark.parametrize("scaling", [None, Scaling("group", 64), Scaling("group", 448)], ids=["whole", "g64", "g448"])
@pytest.mark.parametrize("windows", [1, 4, 6, 32])
def test_every_window_is_counted_once_on_its_core_and_in_the_order_of_the_program(cores, serial, scaling, windows):
    fields = {"compute.serial": serial, "compute.synchronization_groups": windows}
    lowered = lowered_on(cores, scaling, **fields)
    random = np.random.default_rng(1)
    shape = (N, K) if serial == "weights" else (M, K)
    codes = random.integers(-128, 128, shape).astype(np.int8)
    pass_cycles, terms = lowered.unit.operand_cycles(codes, FORMATS["int8"])
    counted = lmma_cycles(lowered, pass_cycles)
    expected, total = by_loops(lowered, pass_cycles)
    assert [cycles.tolist() for cycles in counted] == expected
    assert sum(int(cycles.sum()) for cycles in counted) == total
    assert 0 < terms <= 4 * codes.size
