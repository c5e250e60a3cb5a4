"""Programs on the hardware, on the interpreter and on the event model: the same bytes, and nearly the same cycles.

product ─► lower ─► program + operands ─┬─► device: memory, counters
                                        ├─► interpreter: memory
                                        └─► event model: cycles
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isa import FORMATS, Format, InputError
from isa.instructions.types import ACTIVATION_TYPES
from isa.program import Program
from sim.evaluation.activity import Activity
from sim.evaluation.hardware_timing import random_operands
from sim.evaluation.operand_cycles import lmma_cycles
from sim.evaluation.timing import event_timing
from sim.evaluation.work import Work
from sim.functional.interpreter import run_program
from sim.functional.lowered import run_lowered
from sim.hardware.description import Hardware
from sim.hardware.execution import HardwareExecution
from sim.lowering import Lowered, lower
from sim.lowering.images import MemoryImage, ProductOperands
from sim.timing.product import MatrixProduct, Scaling
from sim.timing.units import ArrayUnit
from workloads import Architecture, shape_only_trace

__all__ = ["HardwareRun", "compare_with_hardware", "projection_run", "projections_of_a_token", "random_runs"]

_FORMATS = ("ternary", "ternary", "int1", "int2", "int4", "int8")
_MOST_MACS = 1 << 22


@dataclass(frozen=True, eq=False)
class HardwareRun:
    """A product with operands, lowered for the machine as it is built.

    Parameters
    ----------
    name : str
    lowered : Lowered
    weight_format : Format
    codes : int8 [n, k]
        The weights.
    operands : ProductOperands
    """

    name: str
    lowered: Lowered
    weight_format: Format
    codes: np.ndarray
    operands: ProductOperands

    @property
    def lmma_cycles(self) -> tuple[np.ndarray, ...] | None:
        """Cycles of each `lmma`, where operand values decide them."""
        unit = self.lowered.unit
        if unit.serial_operand == "none":
            return None
        cycles, _ = unit.operand_cycles(self.codes, self.weight_format)
        return lmma_cycles(self.lowered, cycles)


def random_runs(hardware: Hardware, samples: int, seed: int) -> Iterator[HardwareRun]:
    """Random products that the hardware multiplies and its scratchpads hold: prefill and decode, odd shapes and even,
    weights of every type, sums as they are or scaled by tensor, row and group.

    Parameters
    ----------
    hardware : Hardware
    samples : int
    seed : int
        The same seed gives the same products.
    """
    random = np.random.default_rng(seed)
    formats = [name for name in _FORMATS if _is_built_for(hardware, FORMATS[name])]
    if not formats:
        raise InputError(
            f"machine {hardware.machine.name}",
            "weights",
            hardware.configuration.weight_types,
            "any of " + ", ".join(_FORMATS),
        )
    found = 0
    while found < samples:
        weight_format = FORMATS[formats[random.integers(len(formats))]]
        try:
            yield _run_of(hardware, _product(hardware, weight_format, random), weight_format, random)
        except InputError:
            continue  # no tile of this product fits these scratchpads
        found += 1


def projections_of_a_token(
    hardware: Hardware, architecture: Architecture, layers: int = 1 << 16
) -> Iterator[HardwareRun]:
    """Every low-bit product of a decoded token in the first layers of a ternary model, random weights."""
    trace = shape_only_trace(architecture, prefill_tokens=0, decode_steps=1, context_tokens=1)
    table = trace.operations[(trace.operations["kind"] == "mpgemm") & (trace.operations["layer"] < layers)]
    sizes = zip(table["layer"], table["name"], table["k"], table["n"], strict=True)
    return (projection_run(hardware, f"layer {layer}, {name}", 1, int(k), int(n)) for layer, name, k, n in sizes)


def projection_run(hardware: Hardware, name: str, m: int, k: int, n: int) -> HardwareRun:
    """A product of ternary weights whose sums leave as they are."""
    unit, weight_format, random = hardware.machine.compute, FORMATS["ternary"], np.random.default_rng(0)
    product = MatrixProduct(m, k, n, 1, ACTIVATION_TYPES["int8"], unit.weight_type(weight_format), "int32")
    codes = random.integers(-1, 2, (n, k)).astype(np.int8)
    operands = random_operands(unit, product, codes[None], random)
    return HardwareRun(name, lower(hardware.machine, unit, product), weight_format, codes, operands)


def _is_built_for(hardware: Hardware, weight_format: Format) -> bool:
    stored = hardware.machine.compute.weight_type(weight_format)
    return stored.name in hardware.configuration.weight_types


def _product(hardware: Hardware, weight_format: Format, random: np.random.Generator) -> MatrixProduct:
    unit = hardware.machine.compute
    while True:
        m = 1 if random.integers(2) else int(2 ** random.uniform(0, 6))
        k, n = (int(2 ** random.uniform(3, 11)) for _ in range(2))
        if random.integers(2):
            k, n = -(-k // 64) * 64, -(-n // 64) * 64
        if m * k * n <= _MOST_MACS:
            break
    scaling = _scaling(hardware, random)
    result = "int32" if scaling is None else str(random.choice(["fp16", "fp32"]))
    on_chip = bool(random.integers(4) == 0) and m * k <= hardware.configuration.unit.activation_bytes // 2
    return MatrixProduct(
        m, k, n, 1, ACTIVATION_TYPES["int8"], unit.weight_type(weight_format), result, scaling, input_on_chip=on_chip
    )


def _scaling(hardware: Hardware, random: np.random.Generator) -> Scaling | None:
    kind = random.choice(["none", "none", "tensor", "row", "group"])
    rule, element = str(random.choice(["multiply", "multiply", "divide"])), str(random.choice(["fp16", "fp32"]))
    if kind == "none":
        return None
    if kind != "group":
        return Scaling(kind, 0, rule, element)  # type: ignore[arg-type]
    step = int(np.lcm(hardware.machine.compute.k, 8))
    return Scaling("group", step * int(random.choice([4, 8, 16])), rule, element)  # type: ignore[arg-type]


def _run_of(
    hardware: Hardware, product: MatrixProduct, weight_format: Format, random: np.random.Generator
) -> HardwareRun:
    unit: ArrayUnit = hardware.machine.compute
    if product.scaling is not None and product.scaling.granularity == "group":
        unit = unit.within_groups(product.scaling.group_size)
    lowered = lower(hardware.machine, unit, product)
    m, k, n, scaling = product.m, product.k, product.n, product.scaling
    codes = random.choice(np.array(weight_format.codes, np.int8), (1, n, k))
    operands = random_operands(unit, product, codes, random)
    name = f"{m} x {k} x {n} {weight_format.name}, {product.result}"
    if scaling is not None:
        name += f", scales of {scaling.granularity}, {scaling.rule}"
    return HardwareRun(name, lowered, weight_format, codes[0], operands)


def compare_with_hardware(
    hardware: Hardware,
    execution: HardwareExecution,
    runs: Iterable[HardwareRun],
    progress: Callable[[int], object] = lambda _number: None,
) -> pd.DataFrame:
    """Cycles of the RTL against those of the event model, and memory against the interpreter's.

    Parameters
    ----------
    hardware : Hardware
    execution : HardwareExecution
        Of a device of that hardware.
    runs : iterable of HardwareRun
    progress : called with 1 for every run

    Returns
    -------
    DataFrame, one row a run: `name`, `rtl_cycles`, `event_cycles`, `error` (event over RTL, minus 1), `equal` (whether
    all memory is), and cycles in which the array takes operands (`array_steps`).

    Raises
    ------
    DeviceError
        If the hardware stops with an error.
    """
    rows = []
    for run in runs:
        before = execution.spent.counters
        check = _Both(execution)
        run_lowered(run.lowered, run.operands, check)
        after = execution.spent.counters
        work = Work(run.lowered.unit, run.lowered, run.lmma_cycles, 0, Activity())
        event, rtl = event_timing(hardware.machine, work).cycles, after.cycles - before.cycles
        rows.append(
            {
                "name": run.name,
                "rtl_cycles": rtl,
                "event_cycles": event,
                "error": event / rtl - 1,
                "equal": check.equal,
                "array_steps": after.array_steps - before.array_steps,
            }
        )
        progress(1)
    return pd.DataFrame(rows)


class _Both:
    """Executes on the hardware and on the interpreter, and notes whether they leave the same memory."""

    def __init__(self, execution: HardwareExecution) -> None:
        self._execution, self.equal = execution, True

    def __call__(self, program: Program, image: MemoryImage, buffer: str) -> np.ndarray:
        wanted = run_program(program, image.memory.copy(), scratchpads=image.scratchpads)
        found = self._execution.run(program, image)
        self.equal &= bool((found == wanted.memory).all())
        return wanted.contents(buffer)
