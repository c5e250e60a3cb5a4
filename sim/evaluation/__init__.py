"""What a machine makes of a trace: every operation lowered, timed in one of two fidelities, counted and summed.

    Trace ──fusion──► operations ──work──► programs, streams ──timing──► Result (one row an operation)

`work` says what an operation is on a machine, `timing` runs it through the closed form or the event model, `activity`
counts what it moved and did, `result` holds what comes out, `fidelity` holds the two fidelities against each other.
"""

from sim.evaluation.result import Fidelity, Result
from sim.evaluation.simulate import simulate

__all__ = ["Fidelity", "Result", "simulate"]
