"""The functional interpreter: what an mpGEMM program does to a memory image, without time.

    Program ──► FrontEnd ──► five queues ──► engines, one instruction at a time ──► Execution
                                 ▲                │
                                 └── tokens ◄─────┘

An instruction's meaning stands beside its definition in `isa.instructions`; here are the queues and tokens that decide
when it is executed (`engines`), memory and scratchpads (`spaces`), what a program amounts to (`counts`), and the checks
that a program is right: what is ordered before what (`clocks`), and which bytes were written and by whom (`accesses`).
A wrong program ends in a `ProgramError` that names the instruction. Cycles are the subject of `sim.timing`.
"""

from sim.functional.interpreter.counts import Counts, counts_of
from sim.functional.interpreter.engines import Actor, Order, producers_first, random_order
from sim.functional.interpreter.errors import ErrorKind, Place, ProgramError
from sim.functional.interpreter.run import MOST_INSTRUCTIONS, MOST_OPERATIONS, Execution, run_program

__all__ = [
    "MOST_INSTRUCTIONS",
    "MOST_OPERATIONS",
    "Actor",
    "Counts",
    "ErrorKind",
    "Execution",
    "Order",
    "Place",
    "ProgramError",
    "counts_of",
    "producers_first",
    "random_order",
    "run_program",
]
