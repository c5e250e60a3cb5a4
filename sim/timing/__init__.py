"""Timing of machines: descriptions of machines, and how long they take for what they execute.

`machine` describes a machine (TOML), `units` its compute arrays, `dram` its memory. `nest` counts the loops of a matrix
product, `bounds` says how long they take at least and `analytic` how long, without simulating them; `points` does so
for a million products at once. `tasks` says what an instruction costs and `event` simulates programs of them by SimPy.
How products become programs is the subject of `sim.lowering`, what a trace is on a machine that of `sim.evaluation`.
Energy and area of a component come from `cost_models`.
"""

from sim.timing.machine import Machine, load_machine, load_machines, shipped_machines

__all__ = ["Machine", "load_machine", "load_machines", "shipped_machines"]
