"""The arrays that multiply activations, and the ternary one, against matrix products, at every pace of streams."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from cocotb_runner import run_cocotb
from compiled import Simulation, Stream, compile_component
from product_arrays import (
    Block,
    SideBySide,
    configuration_of,
    product_block,
    random_block,
    random_ternary_block,
    sums_payload,
)

from isa import FORMATS
from rtl.arrays.accumulators import Accumulators, adder_tree
from rtl.arrays.bit_serial import BitSerialArray
from rtl.arrays.mac import MacArray
from rtl.arrays.terms import DenseTerms, NonZeroTerms
from rtl.arrays.ternary import TernaryArray
from rtl.configuration import Configuration, UnsupportedConfiguration
from sim.timing.terms import dense_terms
from sim.timing.units.arrays import BitSerialArray as TimedArray

_SHAPE = 2, 4, 2
_MACS = {f"mac{bits}": configuration_of("mac", bits, _SHAPE) for bits in (1, 2, 8)}
_DENSE = {f"dense{bits}": configuration_of("bit-serial", bits, _SHAPE) for bits in (1, 5, 8)}
_SKIPPING = {
    f"skipping{bits}": configuration_of("bit-serial", bits, _SHAPE, skips_zero_terms=True) for bits in (2, 5, 8)
}
_CONFIGURATIONS = _MACS | _DENSE | _SKIPPING
_MUS = {f"ternary{mu}": mu for mu in (1, 2, 3, 5)}
_TERNARY_SHAPE = 2, 3
_PACES = [(1.0, 1.0), (0.5, 1.0), (1.0, 0.3), (0.4, 0.6)]


@pytest.fixture(scope="module")
def arrays():
    """Every array of this module in one compiled design."""
    components = {name: MacArray(item) for name, item in _MACS.items()}
    components |= {name: BitSerialArray(item) for name, item in (_DENSE | _SKIPPING).items()}
    components |= {name: TernaryArray(m=_TERNARY_SHAPE[0], n=_TERNARY_SHAPE[1], mu=mu) for name, mu in _MUS.items()}
    with compile_component(SideBySide(components)).simulation() as simulation:
        yield simulation


def _block(name: str, rng: random.Random) -> Block:
    if name in _MUS:
        return random_ternary_block(*_TERNARY_SHAPE, _MUS[name], rng)
    return random_block(_CONFIGURATIONS[name], rng)


def _exchange(arrays: Simulation, name: str, blocks: list[Block], paces=(1.0, 1.0), seed: int = 1):
    """What the array moved at its two ends."""
    steps = [step for block in blocks for step in block.steps]
    taken, given = arrays.exchange(
        Stream(f"{name}_step", steps, paces[0]), Stream(f"{name}_sums", len(blocks), paces[1]), seed=seed
    )
    assert given.payloads == [block.sums for block in blocks]
    return taken, given


@pytest.mark.parametrize("paces", _PACES)
@pytest.mark.parametrize("name", [*_CONFIGURATIONS, *_MUS])
def test_sums_are_products_whatever_the_pace(arrays, name, paces):
    rng = random.Random(f"{name}{paces}")
    _exchange(arrays, name, [_block(name, rng) for _ in range(150)], paces, seed=rng.getrandbits(32))


@pytest.mark.parametrize("name", [*_MACS, *_MUS])
def test_arrays_take_a_step_every_cycle_and_give_its_sums_after_their_latency(arrays, name):
    rng = random.Random(name)
    blocks = [_block(name, rng) for _ in range(20)]
    taken, given = _exchange(arrays, name, blocks)
    assert np.diff(taken.cycles).max() == 1
    latency = TernaryArray.LATENCY_CYCLES if name in _MUS else MacArray.LATENCY_CYCLES
    ends = np.cumsum([len(block.steps) for block in blocks]) - 1
    assert (given.cycles == taken.cycles[ends] + latency).all()


@pytest.mark.parametrize("name", [*_DENSE, *_SKIPPING])
def test_terms_take_the_cycles_of_the_timing_model(arrays, name):
    configuration, rng = _CONFIGURATIONS[name], np.random.default_rng(3)
    unit, bits = configuration.unit, configuration.weight_bits
    if bits == 1:
        codes = rng.choice([-1, 1], (unit.n, 64 * unit.k))
    else:
        codes = rng.integers(-(1 << bits - 1), 1 << bits - 1, (unit.n, 64 * unit.k))
        codes[:, ::3] &= 1  # fewer terms
    taken, given = _exchange(arrays, name, [product_block(configuration, codes[: unit.m] % 50, codes)])
    timed = TimedArray(
        kind="bit-serial", m=unit.m, n=unit.n, k=unit.k, synchronization_groups=1, skips_zero_terms=name in _SKIPPING
    )
    if name in _SKIPPING:
        cycles, _ = timed.operand_cycles(codes.astype(np.int8), FORMATS[f"int{max(bits, 2)}"])
        # A pass of zeros alone needs a cycle to be taken.
        expected = np.maximum(cycles.ravel(), 1)
    else:
        expected = np.full(64, timed.pass_cycles(bits))
    assert (np.diff(taken.cycles, prepend=np.uint64(2**64 - 1)) == expected).all()
    assert given.cycles[0] == taken.cycles[-1] + BitSerialArray.LATENCY_CYCLES


@pytest.mark.parametrize("bits", range(1, 9))
def test_terms_are_as_many_as_the_timing_model_says(bits):
    assert DenseTerms(lanes=1, width=bits, bits=bits).digits == dense_terms(bits)


@pytest.mark.parametrize("name", ["mac2", "dense8", "skipping8", "ternary3"])
def test_a_reset_in_the_middle_leaves_a_working_array(arrays, name):
    rng = random.Random(name)
    for cycles in range(1, 40):
        steps = [step for _ in range(20) for step in _block(name, rng).steps]
        arrays.exchange(Stream(f"{name}_step", steps, 0.8), Stream(f"{name}_sums", 20, 0.3), cycles=cycles, seed=cycles)
        arrays[f"{name}_step__valid"] = arrays[f"{name}_sums__ready"] = 0
        arrays.reset(rng.randint(1, 3))
        assert arrays[f"{name}_sums__valid"] == 0
        _exchange(arrays, name, [_block(name, rng) for _ in range(3)], (0.8, 0.8))


@pytest.mark.parametrize("name", ["mac8", "dense8", "skipping8"])
@pytest.mark.parametrize("activation", [-128, 127])
def test_accumulators_wrap_around_at_32_bits(arrays, name, activation):
    configuration = _CONFIGURATIONS[name]
    unit, groups = configuration.unit, 1 << 17
    activations = np.full((unit.m, 3 * unit.k), activation)
    weights = np.full((unit.n, 3 * unit.k), -128)
    weights[1, 0] += 1
    first, middle, last = product_block(configuration, activations, weights).steps
    sums = activations @ weights.T + (groups - 3) * unit.k * activation * -128
    assert abs(int(sums[0, 0])) >= 1 << 31
    _exchange(arrays, name, [Block([first, *[middle] * (groups - 2), last], sums_payload(sums))])


@pytest.mark.parametrize("name", list(_CONFIGURATIONS))
def test_every_weight_code_multiplies_right(arrays, name):
    configuration = _CONFIGURATIONS[name]
    unit, bits = configuration.unit, configuration.weight_bits
    codes = np.array([-1, 1]) if bits == 1 else np.arange(-(1 << bits - 1), 1 << bits - 1)
    blocks = []
    for lane in range(unit.k):
        for activation in (-128, -127, -1, 0, 1, 85, 127):
            activations = np.zeros((unit.m, unit.k), np.int64)
            activations[:, lane] = activation
            for start in range(0, len(codes), unit.n):
                weights = np.tile(codes[(start + np.arange(unit.n)) % len(codes)][:, None], unit.k)
                blocks.append(product_block(configuration, activations, weights))
    _exchange(arrays, name, blocks)


def test_one_bit_is_read_in_either_way(arrays):
    """Two's complement of one bit, 0 and -1, has no weight type, but the step says which it is."""
    configuration = _MACS["mac1"]
    block = product_block(configuration, np.array([[5, -7], [100, 3]]), np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]))
    odd = 1 << 4
    assert block.steps[0] & odd
    _, given = arrays.exchange(Stream("mac1_step", [block.steps[0] ^ odd]), Stream("mac1_sums", 1))
    bits = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    sums = np.array([[5, -7], [100, 3]]) @ -bits.T
    assert given.payloads == [int.from_bytes(sums.astype("<i4").tobytes(), "little")]


@pytest.mark.parametrize("array", [MacArray, BitSerialArray])
def test_a_configuration_of_another_kind_is_refused(array):
    other: Configuration = configuration_of("mac" if array is BitSerialArray else "bit-serial", 2)
    with pytest.raises(UnsupportedConfiguration, match=r"unit\.kind"):
        array(other)
    with pytest.raises(UnsupportedConfiguration, match=r"unit\.kind"):
        array(replace(other, unit=replace(other.unit, kind="lut", table_bytes=4096)))


def test_wrong_arguments_are_refused():
    for arguments in ({"m": 0, "n": 1}, {"m": 1, "n": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            Accumulators(**arguments, dot=signed(8))
    for dot in (unsigned(8), signed(1), signed(33)):
        with pytest.raises(ValueError, match="dot is"):
            Accumulators(m=1, n=1, dot=dot)
    with pytest.raises(ValueError, match="at least one value"):
        adder_tree([])
    for terms in (DenseTerms, NonZeroTerms):
        with pytest.raises(ValueError, match="lanes"):
            terms(lanes=0, width=2, bits=2)
        with pytest.raises(ValueError, match="bits must be 1 to 8"):
            terms(lanes=1, width=2, bits=9)
        with pytest.raises(ValueError, match="width"):
            terms(lanes=1, width=5, bits=4)


def test_arrays_work_at_paces_of_their_own_in_a_simulation_of_events():
    cases = {
        "mac": {"kind": "mac", "weight_bits": 2},
        "skipping": {"kind": "bit-serial", "weight_bits": 4, "skips_zero_terms": True},
        "ternary": {"kind": "ternary", "shape": [2, 3, 3]},
    }
    components = {
        "mac": MacArray(configuration_of(**cases["mac"])),
        "skipping": BitSerialArray(configuration_of(**cases["skipping"])),
        "ternary": TernaryArray(m=2, n=3, mu=3),
    }
    assert len(run_cocotb(SideBySide(components), "bench_arrays", parameters=cases)) == 2
