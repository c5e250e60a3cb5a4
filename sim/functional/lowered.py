"""Runs lowered products: operands in, results out, with the binary programs in between.

`sim.lowering` makes the programs and lays operands out in memory, `sim.functional.interpreter` or hardware executes one
program; here the programs of a product, one a core and the one that makes tables beforehand, are run one after the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.program import Program
from isa.program_file import program_bytes, program_of
from sim.functional.interpreter import Order, producers_first, run_program
from sim.lowering import Lowered
from sim.lowering.images import (
    MemoryImage,
    ProductOperands,
    joined,
    memory_image,
    operands_of_parts,
    output_of,
    tables_of_parts,
)

__all__ = ["Execute", "interpreted", "run_lowered"]

Execute = Callable[[Program, MemoryImage, str], NDArray[np.uint8]]
"""Runs a program on an image, and gives the bytes that are then in a buffer."""


def interpreted(order: Order = producers_first) -> Execute:
    """Execution by the interpreter.

    Every program is written as a file's bytes and read back first, so that it is the binary that runs.

    Parameters
    ----------
    order : Order
        Who takes the next turn in the interpreter.
    """
    return partial(_interpreted, order)


def _interpreted(order: Order, program: Program, image: MemoryImage, buffer: str) -> NDArray[np.uint8]:
    execution = run_program(_from_binary(program), image.memory, scratchpads=image.scratchpads, order=order)
    return execution.contents(buffer)


def run_lowered(lowered: Lowered, operands: ProductOperands, execute: Execute | None = None) -> NDArray[Any]:
    """The results [copies, m, n] of a product.

    Parameters
    ----------
    lowered : Lowered
    operands : ProductOperands
        Of the whole product.
    execute : Execute, optional
        What runs the programs; the interpreter by default.

    Raises
    ------
    ProgramError
        If a program breaks a rule of the interpreter, or is too long for it.
    ValueError
        If operands do not have the sizes of the product.
    """
    execute = execute or interpreted()
    tables: list[NDArray[np.uint8] | None] = [None] * len(lowered.parts)
    if lowered.tables is not None:
        program = lowered.tables.program
        made = execute(program, memory_image(program, lowered.product, operands), "tables")
        tables = list(tables_of_parts(lowered, made))
    results = []
    parts = zip(lowered.parts, lowered.programs, operands_of_parts(lowered, operands), tables, strict=True)
    for part, program, own, given in parts:
        results.append(output_of(part, execute(program, memory_image(program, part, own, given), "output")))
    return joined(lowered, results)


@lru_cache(maxsize=1024)
def _from_binary(program: Program) -> Program:
    return program_of(program_bytes(program), "lowered program")
