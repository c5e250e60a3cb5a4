"""Small products on small machines, with random operands, and what numpy makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from isa import InputError
from isa.instructions.types import ACTIVATION_TYPES, ELEMENT_DTYPES, WEIGHT_TYPES, WeightType
from isa.layouts import row_bytes
from sim.lowering import Lowered, candidate_cuts, lower
from sim.lowering.images import ProductOperands, pack_product_weights
from sim.timing.machine import Machine, load_machine
from sim.timing.nest import Cuts
from sim.timing.product import MatrixProduct, Scaling
from sim.timing.units import ArrayUnit

SHIPPED = {"lut": "lut-m2n64k4", "mac": "int8-mac", "bit-serial": "bit-serial", "vector": "int8-mac"}
SCRATCHPADS = ("activation", "weight", "output", "table", "scale")


def small_machine(kind: str, m: int, n: int, k: int, scratchpad_bytes: int = 1 << 14, **changes: Any) -> Machine:
    """A shipped machine with a small array (`vector`: small vector unit) and equal scratchpads."""
    array = {"vector.n": n} if kind == "vector" else {"compute.m": m, "compute.n": n, "compute.k": k}
    buffers = {f"buffers.{name}_bytes": scratchpad_bytes for name in SCRATCHPADS}
    if kind != "lut":
        buffers["buffers.table_bytes"] = 0
    return load_machine(SHIPPED[kind]).with_fields(array | buffers | changes)


@dataclass(frozen=True, eq=False)
class Case:
    """A product on a unit of a machine, and its operands as integers (and scales)."""

    machine: Machine
    unit: ArrayUnit
    product: MatrixProduct
    activations: np.ndarray
    weights: np.ndarray
    column_scales: np.ndarray | None
    row_scales: np.ndarray | None

    @property
    def operands(self) -> ProductOperands:
        """What `run_lowered` takes."""
        packed = pack_product_weights(self.unit, self.product.weight, self.weights)
        return ProductOperands(self.activations, packed, self.column_scales, self.row_scales)

    @property
    def expected(self) -> np.ndarray:
        """The results, from int64; scaled in float32, group after group."""
        product, scaling = self.product, self.product.scaling
        dtype = ELEMENT_DTYPES[product.result]
        x, w = self.activations.astype(np.int64), self.weights.astype(np.int64)
        if scaling is None:
            with np.errstate(over="ignore"):
                return (x @ w.transpose(0, 2, 1)).astype(dtype)
        size = scaling.group_size or product.k
        total = None
        for group, start in enumerate(range(0, product.k, size)):
            sums = x[:, :, start : start + size] @ w[:, :, start : start + size].transpose(0, 2, 1)
            columns = self.column_scales[:, group, None].astype(np.float32)
            rows = self.row_scales[:, :, None]
            part = sums.astype(np.float32) * (columns / rows if scaling.rule == "divide" else columns * rows)
            total = part if total is None else total + part
        with np.errstate(over="ignore"):
            return total.astype(dtype)


def case_of(machine: Machine, unit: ArrayUnit, product: MatrixProduct, seed: int) -> Case:
    """A case with random operands, extremes among them."""
    random = np.random.default_rng(seed)
    copies, m, k, n = product.copies, product.m, product.k, product.n
    if product.activation.floating:
        # Integers: float32 adds them up exactly, in any order.
        activations = random.integers(-64, 65, (copies, m, k)).astype(np.float16)
    else:
        top = 1 << product.activation.bits - 1
        activations = random.integers(-top, top, (copies, m, k)).astype(np.int8)
    weights = random.choice(codes_of(product.weight), (copies, n, k))
    scaling = product.scaling
    if scaling is None:
        return Case(machine, unit, product, activations, weights, None, None)
    shape = {"tensor": (1, 1, 1), "row": (copies, 1, n), "group": (copies, -(-k // (scaling.group_size or 1)), n)}
    column_scales = random.uniform(0.1, 2, shape[scaling.granularity]).astype(ELEMENT_DTYPES[scaling.element])
    row_scales = random.uniform(0.5, 2, (copies, m)).astype(np.float32)
    return Case(machine, unit, product, activations, weights, column_scales, row_scales)


def codes_of(weight: WeightType) -> np.ndarray:
    """Every code of a stored type (of floats: small integers)."""
    if weight.name == "ternary":
        return np.array([-1, 0, 1])
    if weight.coding == "odd":
        return np.arange(1 - (1 << weight.bits), 1 << weight.bits, 2)
    if weight.coding == "float":
        return np.arange(-9, 10)
    return np.arange(-(1 << weight.bits - 1), 1 << weight.bits - 1)


@st.composite
def machines(draw: st.DrawFn) -> tuple[Machine, ArrayUnit]:
    """Machines of every kind of array, of one to three cores, with scratchpads from tight to ample; and the unit."""
    kind = draw(st.sampled_from(list(SHIPPED)))
    changes: dict[str, Any] = {"cores": draw(st.integers(1, 3)), "queue_depth": draw(st.sampled_from([1, 2, 8]))}
    if kind == "lut":
        changes["compute.precompute"] = draw(st.sampled_from(["fused", "separate", "none"]))
    if kind == "bit-serial":
        changes["compute.synchronization_groups"] = draw(st.integers(1, 3))
    size = draw(st.sampled_from([1 << 11, 1 << 12, 1 << 16]))
    m, n, k = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 8, 16])), draw(st.integers(1, 5))
    machine = small_machine(kind, m, n, k, size, **changes)
    return machine, machine.vector if kind == "vector" else machine.compute


@st.composite
def scalings(draw: st.DrawFn, unit: ArrayUnit, activation_bits: int) -> Scaling | None:
    """Every granularity, rule and element; groups are of whole windows and whole bytes."""
    granularity = draw(st.sampled_from([None, "tensor", "row", "group"]))
    if granularity is None:
        return None
    group_size = 0
    if granularity == "group":
        step = unit.k if unit.k * activation_bits % 8 == 0 else int(np.lcm(unit.k, 8))
        group_size = step * draw(st.integers(1, 4))
    rule, element = draw(st.sampled_from(["multiply", "divide"])), draw(st.sampled_from(["fp16", "fp32"]))
    return Scaling(granularity, group_size, rule, element)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Products of odd shapes, with operands and results in memory or on chip."""
    machine, unit = draw(machines())
    m, k, n = (draw(st.integers(1, most)) for most in (12, 50, 50))
    copies = draw(st.integers(1, 3))
    if unit is machine.vector:
        activation, scaling, result = ACTIVATION_TYPES["fp16"], None, draw(st.sampled_from(["fp16", "fp32"]))
        weight = WEIGHT_TYPES[draw(st.sampled_from(["fp16", "int8", "int4"]))]
    else:
        activation = ACTIVATION_TYPES[f"int{draw(st.sampled_from([8, 8, 4, 3, 1]))}"]
        weight = WEIGHT_TYPES[draw(st.sampled_from(["binary", "ternary", "int3", "int4", "int8"]))]
        scaling = draw(scalings(unit, activation.bits))
        result = draw(st.sampled_from(["int32", "fp32"] if scaling is None else ["fp16", "fp32"]))
    if scaling is not None and scaling.granularity == "group":
        unit = unit.within_groups(scaling.group_size)
    # As in a trace: a tensor stays on chip if it fits half the scratchpad.
    half = machine.buffers.activation_bytes // 2
    inputs, outputs = copies * m * row_bytes(k, activation.bits), copies * m * n * ELEMENT_DTYPES[result].itemsize
    stays = [draw(st.booleans()) and size_bytes <= half for size_bytes in (inputs, outputs)]
    product = MatrixProduct(m, k, n, copies, activation, weight, result, scaling, *stays)
    return case_of(machine, unit, product, draw(st.integers(0, 2**32 - 1)))


def lowered_case(case: Case) -> Lowered:
    """The product as the mapper cuts it; another example where it does not fit."""
    try:
        return lower(case.machine, case.unit, case.product)
    except InputError:
        assume(False)
        raise


def considered_cuts(lowered: Lowered) -> Cuts:
    """Every cut that the mapper considers for a product (of its largest part)."""
    given = int(lowered.choice.nest.products.tables_given)
    return candidate_cuts(lowered.machine, lowered.unit, lowered.parts[0], given)


def in_cut(lowered: Lowered, cut: Cuts) -> Lowered:
    """The same product in another cut."""
    return replace(lowered, choice=replace(lowered.choice, nest=replace(lowered.choice.nest, cuts=cut)))
