"""The closed form: its totals are those of the program, and no run is faster than what its engines have to do."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.front_end import Dispatched
from isa.instructions import EngineInstruction, Sync
from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from sim.lowering.lower import Lowered, lower
from sim.timing import load_machine, shipped_machines
from sim.timing.analytic import Memory, time_nests
from sim.timing.dram import service_cycles_bound
from sim.timing.nest import Tile
from sim.timing.product import MatrixProduct, Scaling
from sim.timing.tasks import Costs
from sim.timing.totals import Totals

SCALINGS = [None, Scaling("tensor"), Scaling("row", element="fp16"), Scaling("group", 64, element="fp16")]


class BytesMemory:
    """A memory that carries 10 bytes a cycle, wherever they are."""

    latency_cycles = 50

    def service_cycles(self, transfer):
        return -(-transfer.size_bytes // 10)


@st.composite
def lowered_products(draw) -> Lowered:
    machine = load_machine(draw(st.sampled_from(sorted(shipped_machines()))))
    sizes = {name: 1 << draw(st.integers(13, 17)) for name in ("activation", "weight", "output")}
    machine = machine.with_fields({f"buffers.{name}_bytes": size for name, size in sizes.items()})
    scaling = draw(st.sampled_from(SCALINGS))
    unit = machine.compute
    if scaling is not None and scaling.group_size:
        unit = unit.within_groups(scaling.group_size)
    m, k, n = draw(st.integers(1, 70)), draw(st.integers(1, 600)), draw(st.integers(1, 300))
    on_chip = draw(st.booleans()) and m * max(k, 2 * n) <= sizes["activation"] // 4
    weight = WEIGHT_TYPES["int8" if machine.compute.kind == "mac" else "int2"]
    product = MatrixProduct(
        m, k, n, draw(st.integers(1, 2)), ACTIVATION_TYPES["int8"], weight, "fp16", scaling, on_chip, on_chip
    )
    return lower(machine, unit, product)


def walked(lowered):
    """Cycles of each engine and of the channel, over every execution of every instruction (but `sync`)."""
    program, costs, memory = lowered.programs[0], Costs(lowered.machine, lowered.unit, BytesMemory()), BytesMemory()
    cycles = Counter()
    anywhere = dict.fromkeys(("source", "target", "weights", "column_scales", "row_scales"), 0)
    for position, (instruction, times) in enumerate(zip(program.instructions, program.repetitions(), strict=True)):
        if not isinstance(instruction, EngineInstruction) or isinstance(instruction, Sync):
            continue
        task = costs.task(Dispatched(position, instruction, anywhere))
        if task.transfer is not None:
            cycles[task.engine] += times * memory.service_cycles(task.transfer)
        else:
            cycles[task.engine] += times * task.cycles
    return cycles


@settings(max_examples=40)
@given(lowered=lowered_products())
def test_totals_are_those_of_the_program_walked(lowered):
    nest = lowered.choice.nest
    totals = Totals(nest, Memory.walked(BytesMemory()))
    engines = walked(lowered)
    assert int(totals.array_cycles) == engines["array"]
    assert int(totals.table_cycles) == engines["table"]
    assert int(totals.scale_cycles) == engines["scale"]
    assert int(totals.load_cycles) == engines["load"]
    assert int(totals.store_cycles + totals.move_cycles) == engines["store"]


@settings(max_examples=40)
@given(lowered=lowered_products())
def test_no_run_is_faster_than_its_engines(lowered):
    timing = time_nests(lowered.choice.nest, Memory.of(lowered.machine.memory_timings))
    totals, cycles = timing.totals, int(timing.cycles)
    assert cycles >= int(totals.array_cycles) + lowered.unit.pipeline_cycles
    assert cycles >= lowered.machine.cores * int(totals.load_cycles + totals.store_cycles)
    assert cycles >= int(totals.table_cycles)
    assert cycles >= int(totals.scale_cycles)
    parts = timing.fill_cycles, timing.compute_cycles, timing.stall_cycles, timing.drain_cycles
    assert min(map(int, parts)) >= 0
    assert sum(map(int, parts)) == cycles


@settings(max_examples=30)
@given(lowered=lowered_products())
def test_more_bandwidth_or_less_latency_never_makes_a_cut_much_slower(lowered):
    """Who waits for whom is estimated, so that a cycle more or less may change it a little."""
    machine = lowered.machine
    faster = machine.with_fields({"dram.latency_ns": 0.0})
    slow, fast = (
        int(time_nests(lowered.choice.nest, Memory.of(item.memory_timings)).cycles) for item in (machine, faster)
    )
    assert fast <= slow * 1.02


@pytest.mark.parametrize("machine", shipped_machines())
@given(
    rows=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    row_bytes=st.lists(st.integers(0, 5000), min_size=8, max_size=8),
    gap=st.lists(st.integers(0, 3000), min_size=8, max_size=8),
)
@settings(max_examples=20)
def test_the_short_form_of_contiguous_transfers_is_the_law(machine, rows, row_bytes, gap):
    timings = load_machine(machine).memory_timings
    count = len(rows)
    tile = Tile(np.array(rows), np.array(row_bytes[:count]), np.array(row_bytes[:count]) + np.array(gap[:count]))
    np.testing.assert_allclose(
        Memory.of(timings).service_cycles(tile), service_cycles_bound(timings, *tile), rtol=1e-12
    )
