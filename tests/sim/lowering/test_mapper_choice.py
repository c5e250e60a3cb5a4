"""The mapper's cut against all others on small problems, each simulated: choosing costs little."""

import numpy as np
import pytest
from lowering_cases import in_cut, small_machine

from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from sim.lowering import lower
from sim.timing import load_machine
from sim.timing.dram import BankModel
from sim.timing.event import ProgramSource, simulate_programs
from sim.timing.nest import Cuts, Nest
from sim.timing.product import MatrixProduct, Scaling
from sim.timing.tasks import Costs

SPACES = ("activation", "weight", "table", "accumulator", "scale")
DENSE_BIT_SERIAL = {"compute.skips_zero_terms": False, "compute.synchronization_groups": 2}
MACHINES = {
    "lut fused": ("lut", {}),
    "lut none": ("lut", {"compute.precompute": "none"}),
    "mac": ("mac", {}),
    "bit-serial dense": ("bit-serial", DENSE_BIT_SERIAL),
    "lut, two cores": ("lut", {"cores": 2}),
    "mac, slow memory": ("mac", {"dram.bandwidth_gb_per_second": 3.2}),
}
SHAPES = {"decode": (1, 64, 64), "prefill": (4, 32, 48)}


def simulated_cycles(lowered):
    """Cycles of the programs in the event model."""
    machine, unit = lowered.machine, lowered.unit
    memory = BankModel(machine.dram, machine.clock_ghz)
    costs = Costs(machine, unit, memory)
    sources = [ProgramSource(f"core {core}", program, costs) for core, program in enumerate(lowered.programs)]
    return simulate_programs(machine, sources, memory).cycles


def every_cut(lowered):
    """Every loop order, whole rows or not, one or two places, and every multiple of the array's sizes that fits."""
    unit, part, nest = lowered.unit, lowered.parts[0], lowered.choice.nest

    def multiples(size, step):
        return sorted({min(size, step * count) for count in range(1, -(-size // step) + 1)})

    depths, columns = multiples(part.k, unit.k * unit.groups_per_window), multiples(part.n, unit.n)
    if nest.hardware.tables_each_block:
        columns = columns[:1]
    grids = np.meshgrid([0, 1], multiples(part.m, unit.m), depths, columns, [0, 1], [1, 2], indexing="ij")
    cuts = Cuts(*(grid.ravel().astype(np.int64) for grid in grids))
    distinct = (cuts.whole_rows == 0) | (cuts.tile_k < part.k)
    cuts = cuts.take(distinct & ((cuts.columns_outer == 0) | ((cuts.tile_m < part.m) & (cuts.tile_n < part.n))))
    nests = Nest(nest.hardware, nest.products, cuts)
    used = {space: np.asarray(getattr(nests, f"{space}_scratchpad_bytes")) for space in SPACES}
    fits = [used[space] <= lowered.machine.scratchpad_bytes(space) for space in SPACES]
    return cuts.take(np.logical_and.reduce(np.broadcast_arrays(*fits)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_chosen_cut_is_within_five_percent_of_the_best_of_all(machine, shape):
    kind, changes = MACHINES[machine]
    small = small_machine(kind, 2, 16, 4, 1 << 12, **changes)
    weight = WEIGHT_TYPES["int8" if kind == "mac" else "ternary"]
    product = MatrixProduct(*SHAPES[shape], 1, ACTIVATION_TYPES["int8"], weight, "fp16", Scaling("row"))
    lowered = lower(small, small.compute, product)
    cuts = every_cut(lowered)
    every = [simulated_cycles(in_cut(lowered, cuts.take(index))) for index in range(len(cuts.tile_m))]
    assert len(every) > 10
    assert simulated_cycles(lowered) <= 1.05 * min(every)


def test_large_products_are_double_buffered_where_that_takes_tens_of_thousands_of_tiles():
    """Llama-2-70B's down projection, prefill of 2048. In one place nothing is loaded while the array works; a cut that
    hides its loads takes little more than the array's own cycles."""
    machine = load_machine("int8-mac")
    int8 = ACTIVATION_TYPES["int8"]
    product = MatrixProduct(2048, 28672, 8192, 1, int8, WEIGHT_TYPES["int8"], "fp16", Scaling("row"))
    timing = lower(machine, machine.compute, product).choice.timing
    assert timing.cycles <= 1.02 * timing.compute_cycles
