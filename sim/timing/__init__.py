"""Timing of machines: what a described machine does with a trace, in cycles, bytes and actions.

    Trace ──► Mapping (tiles of each operation) ──► analytic | event ──► Result (one row an operation)

`machine` describes a machine (TOML), `units` its compute arrays, `mapping` cuts operations into tiles that fit the
scratchpads, `analytic` times tiles in closed form and `event` by SimPy, `simulate` goes over a trace, `result` holds
what comes out. Energy and area of a component come from `cost_models`.
"""

from sim.timing.machine import Machine, load_machine, load_machines, shipped_machines
from sim.timing.result import Result
from sim.timing.simulate import simulate

__all__ = ["Machine", "Result", "load_machine", "load_machines", "shipped_machines", "simulate"]
