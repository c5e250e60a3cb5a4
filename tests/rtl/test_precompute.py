"""The table precompute unit against the golden tables, and its adders counted in what Amaranth makes of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from simulated_pins import SimulatedPins, simulate

from isa.layouts import LARGEST_TABLE_GROUP, tables
from rtl.arrays.precompute import TableBuilder, adder_count

GROUPS = range(1, LARGEST_TABLE_GROUP + 1)


def _activations(k: int, bits: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1
    extremes = np.array([least, most, 0, -1, most - 1, least])
    generator = np.random.default_rng(k)
    corners = extremes[generator.integers(0, len(extremes), (40, k))]
    uniform = [[least] * k, [most] * k, [0] * k]
    return np.concatenate((uniform, corners, generator.integers(least, most + 1, (60, k)))).astype(np.int8)


@pytest.mark.parametrize(("k", "bits"), [*((k, 8) for k in GROUPS), (4, 1), (4, 2), (3, 5)])
def test_tables_are_those_of_the_instruction_set(k: int, bits: int) -> None:
    activations = _activations(k, bits)
    made = []

    async def bench(pins: SimulatedPins) -> None:
        for row in activations:
            fields = [int(value) & (1 << bits) - 1 for value in row]
            pins.set("activations", sum(value << place * bits for place, value in enumerate(fields)))
            made.append(pins.get("entries").to_bytes(1 << k, "little"))

    component = TableBuilder(k=k, activation_bits=bits)
    simulate(component, bench)
    entries = np.frombuffer(b"".join(made), "<i2").reshape(len(activations), 1, -1)
    assert (entries == tables(activations, k)).all()


@pytest.mark.parametrize("k", GROUPS)
def test_adders_are_as_many_as_stated_and_no_more(k: int) -> None:
    cells = re.findall(r"cell \$(\w+)", rtlil.convert(TableBuilder(k=k), name="top"))
    arithmetic = [cell for cell in cells if cell in ("add", "sub", "neg", "mul", "alu", "macc", "lcu", "fa")]
    assert len(arithmetic) == adder_count(k)


@pytest.mark.parametrize("k", [3, 4, 5, 6, 7, 8])
def test_adders_are_fewer_than_entry_by_entry_and_than_halves_combined(k: int) -> None:
    def combined(size: int) -> int:
        """All sums of the halves first, then each of one half with each of the other."""
        return 0 if size == 1 else (1 << size - 1) + combined(size // 2) + combined(size - size // 2)

    assert adder_count(k) < combined(k) < (k - 1) << k - 1


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 9}, {"k": 4, "activation_bits": 0}, {"k": 4, "activation_bits": 9}])
def test_wrong_arguments_are_refused_by_name(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{list(wrong)[-1]} is"):
        TableBuilder(**wrong)
