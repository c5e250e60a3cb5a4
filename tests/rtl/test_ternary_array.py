"""The ternary array's numbers, tables and adders; its sums, beside other arrays', in `test_product_arrays`."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Value
from amaranth.sim import Simulator
from product_arrays import ternary_block

from isa import FORMATS, Operand
from isa.packings import PACKINGS
from rtl.arrays.ternary import (
    TernaryArray,
    TernaryTable,
    adder_count,
    entry_count,
    number_bits,
    ternary_step_layout,
)
from sim.functional.backends.lut_ternary import lut_ternary_backend

_MUS = range(1, 6)


@pytest.mark.parametrize("mu", _MUS)
def test_a_table_is_made_with_the_adders_that_are_counted(mu):
    cells = re.findall(r"cell \$(\w+)", rtlil.convert(TernaryTable(mu=mu), name="top"))
    assert sum(cell in ("add", "sub") for cell in cells) == adder_count(mu)
    assert not {"neg", "mul", "mux"} & set(cells)


def test_shared_adders_are_fewer_than_those_of_entries_summed_up_each_by_itself():
    for mu, shared, separate in ((2, 2, 2), (3, 10, 14), (4, 36, 68), (5, 116, 284)):
        signs = [weights for weights in product((-1, 0, 1), repeat=mu) if weights > (0,) * mu]
        assert len(signs) == entry_count(mu)
        assert adder_count(mu) == shared
        assert sum(sum(map(abs, weights)) - 1 for weights in signs) == separate


@pytest.mark.parametrize("mu", _MUS)
def test_a_table_has_every_sum_whose_first_sign_is_positive(mu):
    table = TernaryTable(mu=mu)
    signs = np.array([weights for weights in product((-1, 0, 1), repeat=mu) if weights > (0,) * mu])
    corners = list(product((-128, 127), repeat=mu))
    random = np.random.default_rng(mu).integers(-128, 128, (20, mu)).tolist()

    async def check(context):
        for inputs in [*corners, *random]:
            context.set(table.inputs, list(inputs))
            assert [context.get(table.entries[index]) for index in range(len(signs))] == (signs @ inputs).tolist()

    simulator = Simulator(table)
    simulator.add_testbench(check)
    simulator.run()


def test_numbers_are_those_of_the_packings():
    codes = np.random.default_rng(1).integers(-1, 2, (7, 15)).astype(np.int8)
    operand = Operand(codes, np.ones(1, np.float32), FORMATS["ternary"])
    for mu, name in ((3, "trits-3-in-5"), (5, "trits-5-in-8")):
        bits = np.unpackbits(PACKINGS[name].pack(operand).reshape(7, -1), axis=1, bitorder="little")
        fields = bits[:, : 15 // mu * number_bits(mu)].reshape(7, 15 // mu, -1)
        numbers = fields @ (1 << np.arange(number_bits(mu)))
        digits = codes.reshape(7, -1, mu).astype(np.int64) + 1
        assert (numbers == digits @ 3 ** np.arange(mu - 1, -1, -1)).all()


@pytest.mark.parametrize("mu", _MUS)
def test_sums_are_those_of_the_algorithm_of_ternary_tables(mu):
    """What simulations hold the array to is the algorithm of the paper, as the golden inference has it."""
    random = np.random.default_rng(mu)
    weights, activations = random.integers(-1, 2, (4, 4 * mu)), random.integers(-128, 128, (2, 4 * mu))
    numbers = (weights.reshape(4, 4, mu) + 1) @ 3 ** np.arange(mu - 1, -1, -1)
    sums = lut_ternary_backend(mu).prepare(weights.astype(np.int8), FORMATS["ternary"])(activations.astype(np.int8))
    expected = int.from_bytes(np.asarray(sums, "<i4").tobytes(), "little")
    assert ternary_block(mu, activations, numbers).sums == expected


@pytest.mark.parametrize(("mu", "bits"), [(1, 2), (2, 4), (3, 5), (4, 7), (5, 8)])
def test_a_number_takes_the_fewest_bits_that_hold_it(mu, bits):
    assert number_bits(mu) == bits
    assert len(Value.cast(TernaryArray(m=2, n=3, mu=mu).step.payload.numbers)) == 3 * bits


def test_wrong_arguments_are_refused():
    for mu in (0, 6):
        for make in (lambda: TernaryTable(mu=mu), lambda: TernaryArray(m=1, n=1, mu=mu)):  # noqa: B023
            with pytest.raises(ValueError, match="mu is"):
                make()
    for name in ("m", "n"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            TernaryArray(**({"m": 1, "n": 1, "mu": 3} | {name: 0}))
    assert ternary_step_layout(m=1, n=1, mu=3).size == 2 + 24 + 5
