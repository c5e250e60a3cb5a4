"""Products by hardware: lowered for a shipped machine, and run by the RTL of that machine in Verilator's simulation.

    weights ──packed once──┐
    activations [tokens] ──┴─► lower (m = tokens) ─► binary program ─► control port, memory port ─► int32 sums

Every accumulator is compared with the integer product, so that a run that comes to its end has shown them all equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isa import Format
from isa.instructions.types import ACTIVATION_TYPES
from sim.functional.backends.base import Backend, Int8, Product
from sim.functional.backends.row_sums import WHOLE_ROW
from sim.functional.lowered import run_lowered
from sim.lowering import lower
from sim.lowering.images import ProductOperands, pack_product_weights
from sim.timing.machine import load_machine
from sim.timing.product import MatrixProduct

if TYPE_CHECKING:
    from sim.hardware.description import Hardware
    from sim.hardware.execution import HardwareExecution, Spent

__all__ = ["MACHINE", "RTL_BACKENDS", "DifferentAccumulatorsError", "Unit", "rtl_unit"]

MACHINE = "lut-m2n64k4"
"""The shipped machine that is built, but for the lanes that scale sums: here they leave as they are, and fewer lanes
are built and simulated in less time."""
SCALE_LANES = 8


class DifferentAccumulatorsError(RuntimeError):
    """The hardware computed something else than the product."""


@dataclass
class Unit:
    """The unit that multiplies, and what it has done so far.

    Parameters
    ----------
    hardware : Hardware
    of_one_token, of_several : HardwareExecution
        Both on the same device: decode and prefill are counted apart.
    accumulators : int
        Compared so far; all of them equal.
    """

    hardware: Hardware
    of_one_token: HardwareExecution
    of_several: HardwareExecution
    accumulators: int = 0

    @property
    def spent(self) -> tuple[Spent, Spent]:
        """What products of one token and of several have taken."""
        return self.of_one_token.spent, self.of_several.spent


@cache
def rtl_unit() -> Unit:
    """The unit of this process; its simulation is built at the first use of a version of the hardware.

    Raises
    ------
    InputError
        If Amaranth, Verilator or a compiler is missing.
    """
    from sim.hardware.description import hardware_of
    from sim.hardware.execution import HardwareExecution

    hardware = hardware_of(load_machine(MACHINE).with_fields({"vector.n": SCALE_LANES}))
    device = hardware.device()
    return Unit(hardware, HardwareExecution(device), HardwareExecution(device))


def _on_hardware(weight: Int8, weight_format: Format) -> Product:
    unit = rtl_unit()
    machine = unit.hardware.machine
    outputs, inputs = weight.shape
    stored = machine.compute.weight_type(weight_format)
    packed = pack_product_weights(machine.compute, stored, weight[None]) if weight.size else None
    columns = np.ascontiguousarray(weight.T, np.int32)

    def product(activations: Int8) -> NDArray[np.int32]:
        tokens = len(activations)
        if packed is None or not tokens:
            return np.zeros((tokens, outputs), np.int32)
        whole = MatrixProduct(tokens, inputs, outputs, 1, ACTIVATION_TYPES["int8"], stored, "int32")
        execution = unit.of_one_token if tokens == 1 else unit.of_several
        lowered = lower(machine, machine.compute, whole)
        sums: NDArray[np.int32] = run_lowered(lowered, ProductOperands(activations[None], packed), execution)[0]
        different = int((sums != activations.astype(np.int32) @ columns).sum())
        if different:
            raise DifferentAccumulatorsError(f"{different} of {sums.size} accumulators of {whole} differ in hardware")
        unit.accumulators += sums.size
        return sums

    return product


RTL_BACKENDS: tuple[Backend, ...] = (
    Backend(
        "rtl",
        f"binary mpGEMM programs on the RTL of the machine {MACHINE}, simulated cycle by cycle",
        _on_hardware,
        source="arXiv 2408.06003, section 3; arXiv 1807.04188",
        accumulators=WHOLE_ROW,
    ),
)
