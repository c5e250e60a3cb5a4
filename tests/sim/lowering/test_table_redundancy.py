"""How often each table is made: LUT Tensor Core's example (section 3.1), counted from the instructions of programs."""

from fractions import Fraction

import pytest
from lowering_cases import SHIPPED, considered_cuts, in_cut, small_machine

from isa.instructions import LutGen
from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from sim.lowering import lower
from sim.timing import load_machine
from sim.timing.product import MatrixProduct


def redundancy(lowered):
    """Tables that the programs make, for each distinct one of the product."""
    product = lowered.product
    programs = [*lowered.programs, *([lowered.tables.program] if lowered.tables else [])]
    made = sum(
        times * instruction.tables
        for program in programs
        for instruction, times in zip(program.instructions, program.repetitions(), strict=True)
        if isinstance(instruction, LutGen)
    )
    return Fraction(made, product.copies * product.m * -(-product.k // lowered.unit.k))


def opt_175b(precompute):
    """[4096, 12288] x [12288, 12288] on an array of N = 4, with room for 64 whole rows and their tables."""
    changes = {"compute.n": 4, "compute.precompute": precompute}
    changes |= {"buffers.activation_bytes": 1 << 20, "buffers.table_bytes": 1 << 22}
    machine = load_machine(SHIPPED["lut"]).with_fields(changes)
    product = MatrixProduct(4096, 12288, 12288, 1, ACTIVATION_TYPES["int8"], WEIGHT_TYPES["int2"], "int32")
    return lower(machine, machine.compute, product)


def test_without_sharing_every_table_of_the_opt_175b_example_is_made_3072_times():
    assert redundancy(opt_175b("none")) == 12288 // 4 == 3072


def test_a_separate_phase_makes_every_table_of_the_example_once():
    lowered = opt_175b("separate")
    assert redundancy(lowered) == 1
    assert not any(isinstance(item, LutGen) for program in lowered.programs for item in program.instructions)


def test_the_fused_phase_makes_every_table_of_the_example_once_where_tables_of_whole_rows_fit():
    assert redundancy(opt_175b("fused")) == 1


@pytest.mark.parametrize(("table_bytes", "once"), [(1 << 15, True), (1 << 10, False)])
def test_fused_tables_are_made_as_often_as_the_loops_say_and_once_only_where_whole_rows_fit(table_bytes, once):
    """The tables of two rows, which the array takes at a time, are 2 KiB."""
    machine = small_machine("lut", 2, 4, 4, 1 << 12, **{"buffers.table_bytes": table_bytes})
    product = MatrixProduct(8, 256, 32, 1, ACTIVATION_TYPES["int8"], WEIGHT_TYPES["ternary"], "int32")
    lowered = lower(machine, machine.compute, product)
    cuts = considered_cuts(lowered)
    factors = set()
    for number in range(0, len(cuts.tile_m), 7):
        cut = in_cut(lowered, cuts.take(number))
        nest = cut.choice.nest
        assert redundancy(cut) == int(nest.table_remakes)
        # One tile of all columns asks for no table twice, whatever fits.
        if nest.rows.size > 1 and nest.columns.tiles > 1:
            factors.add(redundancy(cut))
    assert len(factors) > 2
    assert (1 in factors) == once
