"""The loops as numbers are the loops of the program: what `Nest` counts is what the instructions say."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from lowering_cases import cases, considered_cuts, in_cut, lowered_case

from isa.instructions import Lmma, Load, LutGen, Scale, SetPointer, Store
from isa.instructions.types import SCRATCHPADS
from sim.timing.nest import Nest

_ANYWHERE = {"source": 0, "target": 0}


def executed(program):
    """Every instruction with how often it is executed."""
    return zip(program.instructions, program.repetitions(), strict=True)


def tiles(pieces):
    """The sizes of the tiles of a dimension."""
    return [int(pieces.size)] * int(pieces.full) + [int(pieces.edge)] * bool(pieces.edge)


def counted(nest):
    """What the nest says is loaded by scratchpad and stored, in bytes, and made in tables."""
    products, hardware, result = nest.products, nest.hardware, Counter()
    copies, given = int(products.copies), bool(products.tables_given)

    def both(first, second, size):
        return copies * sum(size(np.asarray(a), np.asarray(b)) for a in tiles(first) for b in tiles(second))

    def size_bytes(tile):
        return int(tile.rows * tile.row_bytes)

    inputs = both(nest.rows, nest.input_depths, lambda *sizes: size_bytes(nest.input_tile(*sizes)))
    if not products.input_on_chip:
        result["table" if given else "activation"] = inputs * int(nest.input_reloads)
    weights = both(nest.columns, nest.inputs, lambda *sizes: size_bytes(nest.weight_tile(*sizes)))
    result["weight"] = weights * int(nest.weight_reloads)
    result["stored"] = copies * int(products.m * products.n * products.result_bytes)
    if hardware.table_lookup and not given:
        made = both(nest.rows, nest.table_depths, lambda rows, depth: rows * -(-depth // int(hardware.k)))
        result["tables"] = int(made) * int(nest.table_remakes)
    return +result


def programmed(program):
    """The same from the instructions (scales aside)."""
    result = Counter()
    for instruction, times in executed(program):
        match instruction:
            case Load() if instruction.space != "scale":
                result[instruction.space] += times * instruction.rows * instruction.row_bytes
            case LutGen():
                result["tables"] += times * instruction.tables
            case Store():
                result["stored"] += times * instruction.writes(_ANYWHERE)[0].size_bytes
    return result


def scratchpads(program, given):
    """The end of what a program uses of every scratchpad: its rings, and what stays on chip."""
    rings = {item.target: item.base + item.ring_bytes for item in program.instructions if isinstance(item, SetPointer)}
    ends = dict.fromkeys(SCRATCHPADS, 0)
    for buffer in program.buffers:
        if buffer.space != "memory" and not (given and buffer.role == "input"):
            ends[buffer.space] = max(ends[buffer.space], buffer.address + buffer.size_bytes)
    for instruction in program.instructions:
        if isinstance(instruction, Load | LutGen | Lmma | Scale):
            space = instruction.writes(_ANYWHERE)[0].space
            ends[space] = max(ends[space], rings[instruction.target])
    return ends


@settings(max_examples=150)
@given(case=cases(), data=st.data())
def test_a_program_does_and_uses_what_its_nest_counts(case, data):
    lowered = lowered_case(case)
    cuts = considered_cuts(lowered)
    lowered = in_cut(lowered, cuts.take(data.draw(st.integers(0, len(cuts.tile_m) - 1), "cut")))
    for nest, program in zip(lowered.nests, lowered.programs, strict=True):
        passes = sum(item.passes * times for item, times in executed(program) if isinstance(item, Lmma))
        assert passes == int(nest.passes)
        assert programmed(program) == counted(nest)
        used = scratchpads(program, given=lowered.tables is not None)
        assert used == {space: int(getattr(nest, f"{space}_scratchpad_bytes")) for space in SCRATCHPADS}


@settings(max_examples=150)
@given(case=cases())
def test_every_considered_cut_fits_the_scratchpads(case):
    lowered = lowered_case(case)
    cuts = considered_cuts(lowered)
    nest = Nest(lowered.choice.nest.hardware, lowered.choice.nest.products, cuts)
    for space in SCRATCHPADS:
        used = np.asarray(getattr(nest, f"{space}_scratchpad_bytes"))
        assert used.max() <= lowered.machine.scratchpad_bytes(space)


@settings(max_examples=60)
@given(case=cases())
def test_the_parts_of_several_cores_are_the_product_and_nearly_equal(case):
    lowered = lowered_case(case)
    parts, product = lowered.parts, lowered.product
    assert 1 <= len(parts) <= case.machine.cores
    assert sum(part.macs for part in parts) == product.macs
    if product.copies > 1:
        sizes = [part.copies for part in parts]
    else:
        sizes = [-(-part.n // lowered.unit.n) for part in parts]
        assert all(part.n % lowered.unit.n == 0 for part in parts[:-1])
    assert max(sizes) - min(sizes) <= 1
