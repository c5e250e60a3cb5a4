"""Runs lowered products: operands in, results out, with the binary programs in between.

`sim.lowering` makes the programs and lays operands out in memory, `sim.functional.interpreter` executes one program;
here the programs of a product, one a core and the one that makes tables beforehand, are run one after the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.program import Program
from isa.program_file import program_bytes, program_of
from sim.functional.interpreter import Order, producers_first, run_program
from sim.lowering import Lowered
from sim.lowering.images import (
    ProductOperands,
    joined,
    memory_image,
    operands_of_parts,
    output_of,
    tables_of_parts,
)

__all__ = ["run_lowered"]


def run_lowered(lowered: Lowered, operands: ProductOperands, order: Order = producers_first) -> NDArray[Any]:
    """The results [copies, m, n] of a product, computed by the interpreter.

    Every program is written as a file's bytes and read back first, so that it is the binary that runs.

    Parameters
    ----------
    lowered : Lowered
    operands : ProductOperands
        Of the whole product.
    order : Order
        Who takes the next turn in the interpreter.

    Raises
    ------
    ProgramError
        If a program breaks a rule of the interpreter, or is too long for it.
    ValueError
        If operands do not have the sizes of the product.
    """
    tables: list[NDArray[np.uint8] | None] = [None] * len(lowered.parts)
    if lowered.tables is not None:
        tables = list(tables_of_parts(lowered, _made_tables(lowered, lowered.tables.program, operands, order)))
    results = []
    parts = zip(lowered.parts, lowered.programs, operands_of_parts(lowered, operands), tables, strict=True)
    for part, program, own, given in parts:
        image = memory_image(program, part, own, given)
        execution = run_program(_from_binary(program), image.memory, scratchpads=image.scratchpads, order=order)
        results.append(output_of(part, execution.contents("output")))
    return joined(lowered, results)


def _made_tables(lowered: Lowered, program: Program, operands: ProductOperands, order: Order) -> NDArray[np.uint8]:
    image = memory_image(program, lowered.product, operands)
    execution = run_program(_from_binary(program), image.memory, scratchpads=image.scratchpads, order=order)
    return execution.contents("tables")


@lru_cache(maxsize=1024)
def _from_binary(program: Program) -> Program:
    return program_of(program_bytes(program), "lowered program")
