"""Products by the instruction set: lowered for a shipped machine, encoded, and run by the functional interpreter.

    weights ──packed once──┐
    activations [tokens] ──┴─► lower (m = tokens) ─► binary program ─► interpreter ─► int32 sums

What a program does stands in `isa`, how one is made in `sim.lowering`, how it is run in `sim.functional.lowered`; here
is only which machine multiplies.
"""

from __future__ import annotations

from functools import cache, partial

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

__all__ = ["ISA_BACKENDS", "isa_backend"]

_machine = cache(load_machine)


def isa_backend(name: str, machine: str, array: str) -> Backend:
    """The backend that runs binary programs of a shipped machine.

    Parameters
    ----------
    name : str
    machine : str
        The shipped machine whose array, scratchpads and cores programs are made for; it is read when first used.
    array : str
        What the array does, for the summary.
    """
    return Backend(
        name,
        f"binary mpGEMM programs of the machine {machine}, interpreted: {array}",
        partial(_interpreted, machine),
        source="arXiv 2408.06003, section 3; arXiv 1807.04188",
        accumulators=WHOLE_ROW,
    )


def _interpreted(machine_name: str, weight: Int8, weight_format: Format) -> Product:
    machine = _machine(machine_name)
    unit = machine.compute
    outputs, inputs = weight.shape
    stored = unit.weight_type(weight_format)
    packed = pack_product_weights(unit, stored, weight[None]) if weight.size else None

    def product(activations: Int8) -> NDArray[np.int32]:
        tokens = len(activations)
        if packed is None or not tokens:
            return np.zeros((tokens, outputs), np.int32)
        whole = MatrixProduct(tokens, inputs, outputs, 1, ACTIVATION_TYPES["int8"], stored, "int32")
        sums: NDArray[np.int32] = run_lowered(lower(machine, unit, whole), ProductOperands(activations[None], packed))[
            0
        ]
        return sums

    return product


ISA_BACKENDS: tuple[Backend, ...] = (
    isa_backend("isa", "lut-m2n64k4", "table lookups"),
    isa_backend("isa_mac", "int8-mac", "multiply-accumulate"),
    isa_backend("isa_bit_serial", "bit-serial", "weight terms one after the other"),
)
