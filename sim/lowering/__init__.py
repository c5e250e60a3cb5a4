"""Lowering: any matrix product of a trace becomes programs for a machine.

    MatrixProduct ──split among cores──► parts ──search──► cut ──write──► Program

`candidates` are the cuts that fit, `search` chooses among them by the bounds and the closed form of `sim.timing`,
`writer` writes the loops of `sim.timing.nest` as instructions, `report` says why a cut was chosen, `images` lays
operands out in memory and reads results back. Which operations of a trace are lowered, and to which unit, is the
subject of `sim.evaluation`.
"""

from sim.lowering.candidates import Problem, candidate_cuts
from sim.lowering.lower import Lowered, forget_lowered, lower, lower_all, split
from sim.lowering.search import Choice, choose_cuts

__all__ = [
    "Choice",
    "Lowered",
    "Problem",
    "candidate_cuts",
    "choose_cuts",
    "forget_lowered",
    "lower",
    "lower_all",
    "split",
]
