"""Lowering: any matrix product of a trace becomes programs for a machine.

    MatrixProduct ──split among cores──► parts ──search──► cut ──write──► Program

`search` chooses loop order and tile sizes by the bounds and the closed form of `sim.timing`, `writer` writes the loops
of `sim.timing.nest` as instructions, `report` says why a cut was chosen, `images` lays operands out in memory and reads
results back. Which operations of a trace are lowered, and to which unit, is the subject of `sim.evaluation`.
"""

from sim.lowering.lower import Lowered, lower, split
from sim.lowering.search import Choice, candidate_cuts, choose_cut

__all__ = ["Choice", "Lowered", "candidate_cuts", "choose_cut", "lower", "split"]
