"""The laws of compute units: LUT array, table precompute, INT8 and bit-serial arrays, vector unit.

Each law starts at a published point and says how far it reaches beyond. Numbers live in `cost_models/published/`;
memories in `cost_models.memory`. At 1 GHz a power of 1 mW is an energy of 1 pJ a cycle.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import astuple, dataclass
from functools import cache

from cost_models.component import Component
from cost_models.figures import PublishedFigure, figure, figures_named

__all__ = [
    "LutArrayGates",
    "bit_serial_array",
    "half_table_additions",
    "int8_mac_array",
    "lut_array",
    "lut_array_gates",
    "table_precompute",
    "vector_unit",
]

# The published LUT array looks up INT8 activations and adds into INT32 accumulators.
LUT_ACTIVATION_BITS = 8
LUT_ACCUMULATOR_BITS = 32
OPERATIONS_PER_MULTIPLY_ACCUMULATE = 2
UM2_PER_MM2 = 1e6
OPERATIONS_PER_TERA_OPERATION = 1e12
HERTZ_PER_GIGAHERTZ = 1e9


@dataclass(frozen=True)
class LutArrayGates:
    """Size of a LUT array's parts, each in areas of a NAND2 gate."""

    tables: float
    weights: float
    multiplexers: float
    sign_flips: float
    accumulators: float

    @property
    def total(self) -> float:
        """All parts together."""
        return float(sum(astuple(self)))


def lut_array_gates(m: int, n: int, k: int) -> LutArrayGates:
    """Count the gates of a LUT array of M tables, N weight groups and K activations a group.

    Notes
    -----
    The structure of LUT Tensor Core (arXiv:2408.06003, equations 4 to 8 and the elongated array), in flip-flops,
    two-input multiplexers, XOR gates and full adders of the ASAP7 library: M half tables of 2^(K-1) entries of
    8 + ceil(log2 K) bits and N groups of K weight bits in registers; and for each of the M·N lanes a 2^(K-1)-to-1
    multiplexer, a sign flip, and a 32-bit adder with its register. Wires, drivers of the broadcast and control are
    not counted.
    """
    entry_bits = LUT_ACTIVATION_BITS + _growth_bits(k)
    entries = 2 ** (k - 1)
    lanes = m * n
    return LutArrayGates(
        tables=m * entries * entry_bits * _nand2_areas("flip_flop"),
        weights=n * k * _nand2_areas("flip_flop"),
        multiplexers=lanes * (entries - 1) * entry_bits * _nand2_areas("multiplexer"),
        sign_flips=lanes * entry_bits * _nand2_areas("xor2"),
        accumulators=lanes * LUT_ACCUMULATOR_BITS * (_nand2_areas("full_adder") + _nand2_areas("flip_flop")),
    )


@cache
def _nand2_areas(cell: str) -> float:
    """Area of a cell in areas of a NAND2 gate of the same library."""
    area_um2 = {dict(item.at)["cell"]: item.value for item in figures_named("cell area", "um2")}
    return area_um2[cell] / area_um2["nand2"]


def _growth_bits(terms: int) -> int:
    """ceil(log2(terms)): how many bits a sum of that many terms is wider than one of them."""
    return (terms - 1).bit_length()


def lut_array(m: int, n: int, k: int) -> Component:
    """LUT array of M tables and N weight groups; action "lookup": one of the M·N lookups of a cycle.

    A lookup takes one group of K activations through one bit plane of its K weights and accumulates: K one-bit
    multiply-accumulates. INT8 activations. Building the tables is not in it: see `table_precompute`.

    Parameters
    ----------
    m, n : int
        Tables, and weight groups that each table is broadcast to; 1 or more.
    k : int
        Activations of a group; 1 or more.

    Notes
    -----
    Area and power of the M2 N64 K4 array are those of LUT Tensor Core's Table 2 ("published"). For other shapes both
    scale with the gates that `lut_array_gates` counts ("predicted"): equal area and equal activity a gate.
    """
    area, power = figure("lut_array area", "um2"), figure("lut_array power at 1 GHz", "mW")
    published_shape = _numbers_at(area)
    scale = lut_array_gates(m, n, k).total / lut_array_gates(**published_shape).total
    shape = {"m": m, "n": n, "k": k}
    return Component(
        class_name="lut_array",
        attributes=shape,
        area_um2=area.value * scale,
        energy_pj={"lookup": power.value * scale / (m * n)},
        node_nm=area.node_nm,
        kind="published" if shape == published_shape else "predicted",
        sources=_sources(area, power, *figures_named("cell area", "um2")),
    )


def half_table_additions(k: int) -> Counter[int]:
    """Additions that build one half table from K activations, by the number of activations in each sum.

    A half table of K activations holds every a1 ± a2 ± ... ± aK. Each of its 2^(K-1) entries is one addition or
    subtraction of an entry of the half tables of both halves of the group, and those are built in the same way:
    adds(1) = 0, adds(K) = 2^(K-1) + adds(ceil(K/2)) + adds(floor(K/2)). Even halves need the fewest additions: 12 for
    K = 4, {2: 4, 4: 8}.
    """
    if k == 1:
        return Counter()
    return Counter({k: 2 ** (k - 1)}) + half_table_additions((k + 1) // 2) + half_table_additions(k // 2)


def table_precompute(k: int, activation_bits: int) -> Component:
    """Builder of one half table a cycle; action "table": the 2^(K-1) entries of one group of K activations.

    Parameters
    ----------
    k : int
        Activations of a group; 1 or more.
    activation_bits : int
        Width of one activation; 1 or more.

    Notes
    -----
    Always "predicted". Energy: Horowitz's integer additions at 45 nm, linear in the width of each sum, not scaled to
    28 nm; registers and wires are not in it. Area: the full adders of all additions, at the area a full adder that
    Table 2 of LUT Tensor Core gives at 28 nm: the array with M builders inside less the array without, for K = 4 and
    INT8. K = 1 needs no builder: a table is the activation itself.
    """
    narrow, wide = figures_named("integer addition", "pJ")
    narrow_bits, wide_bits = _numbers_at(narrow)["bits"], _numbers_at(wide)["bits"]
    pj_per_bit = (wide.value - narrow.value) / (wide_bits - narrow_bits)
    additions_pj = [
        additions * (narrow.value + (sum_bits - narrow_bits) * pj_per_bit)
        for sum_bits, additions in _additions_by_width(k, activation_bits)
    ]

    without, within = figure("lut_array area", "um2"), figure("lut_array area with its table builders inside", "um2")
    published = _numbers_at(within)
    builder_um2 = (within.value - without.value) / published["m"]
    scale = _full_adders(k, activation_bits) / _full_adders(published["k"], LUT_ACTIVATION_BITS)
    return Component(
        class_name="table_precompute",
        attributes={"k": k, "activation_bits": activation_bits},
        area_um2=builder_um2 * scale,
        energy_pj={"table": math.fsum(additions_pj)},
        node_nm=narrow.node_nm,
        kind="predicted",
        sources=_sources(narrow, wide, without, within),
    )


def _additions_by_width(k: int, activation_bits: int) -> list[tuple[int, int]]:
    """(bits of the sum, additions) of a half table's additions."""
    return [(activation_bits + _growth_bits(terms), additions) for terms, additions in half_table_additions(k).items()]


def _full_adders(k: int, activation_bits: int) -> int:
    """Full adders of a half table's additions, each addition as wide as its sum."""
    return sum(sum_bits * additions for sum_bits, additions in _additions_by_width(k, activation_bits))


def int8_mac_array(lanes: int) -> Component:
    """INT8 × INT8 multiply-accumulate array; action "multiply_accumulate": one lane in one cycle.

    Parameters
    ----------
    lanes : int
        Multiply-accumulates of a cycle; 1 or more.

    Notes
    -----
    LUT Tensor Core's Table 1, A100 INT8 tensor core normalized to 28 nm: efficiency, and density at 1.41 GHz. Its
    printed area a multiprocessor is left aside: it contradicts density and peak of the same row. Linear in lanes;
    "published" for whole tensor cores of 512 lanes.
    """
    efficiency = figure("int8_mac_array efficiency", "TOPS/W")
    density, clock = figure("int8_mac_array density", "TOPS/mm2"), figure("int8_mac_array clock", "GHz")
    lane_operations_per_second = OPERATIONS_PER_MULTIPLY_ACCUMULATE * clock.value * HERTZ_PER_GIGAHERTZ
    lane_um2 = lane_operations_per_second / (density.value * OPERATIONS_PER_TERA_OPERATION) * UM2_PER_MM2
    return Component(
        class_name="int8_mac_array",
        attributes={"lanes": lanes},
        area_um2=lanes * lane_um2,
        energy_pj={"multiply_accumulate": OPERATIONS_PER_MULTIPLY_ACCUMULATE / efficiency.value},
        node_nm=density.node_nm,
        kind="published" if lanes % _numbers_at(density)["lanes"] == 0 else "predicted",
        sources=_sources(efficiency, density, clock),
    )


def bit_serial_array(lanes: int) -> Component:
    """Bit-serial array; action "lane_cycle": one term of one weight times one activation.

    Parameters
    ----------
    lanes : int
        Weight terms of a cycle; 1 or more.

    Notes
    -----
    BitMoD's processing element of four lanes with its registers. It multiplies FP16 activations, with exponent
    matching and dequantization inside: an upper bound for INT8 activations. Lanes are rounded up to whole processing
    elements for the area; "published" where they fill them.
    """
    area, power = figure("bit_serial_array area", "um2"), figure("bit_serial_array power at 1 GHz", "mW")
    element_lanes = _numbers_at(area)["lanes"]
    return Component(
        class_name="bit_serial_array",
        attributes={"lanes": lanes},
        area_um2=math.ceil(lanes / element_lanes) * area.value,
        energy_pj={"lane_cycle": power.value / element_lanes},
        node_nm=area.node_nm,
        kind="published" if lanes % element_lanes == 0 else "predicted",
        sources=_sources(area, power),
    )


def vector_unit(lanes: int) -> Component:
    """FP16 vector unit; action "operation": one FP16 multiply-add of one lane.

    Parameters
    ----------
    lanes : int
        Multiply-adds of a cycle; 1 or more.

    Notes
    -----
    BitMoD's FP16 multiplier and adder with registers, one a lane. No divider, exponential or lookup is in it.
    """
    area, power = figure("vector_unit area", "um2"), figure("vector_unit power at 1 GHz", "mW")
    return Component(
        class_name="vector_unit",
        attributes={"lanes": lanes},
        area_um2=lanes * area.value,
        energy_pj={"operation": power.value},
        node_nm=area.node_nm,
        kind="published",
        sources=_sources(area, power),
    )


def _numbers_at(item: PublishedFigure) -> dict[str, int]:
    """The attributes that a figure of a compute unit stands for, all of them numbers."""
    return {name: int(value) for name, value in item.at}


def _sources(*figures: PublishedFigure) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.source for item in figures))
