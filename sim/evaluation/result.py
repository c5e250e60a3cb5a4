"""What comes out of a simulation: one row an operation, and totals, a data frame away from any plot.

Columns of `operations`: those of the trace, then `RESULT_COLUMNS`, then one column `actions.<component>.<action>` for
every action of the machine. Counts and energy of a row are of the whole operation, all copies included.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from sim.evaluation.activity import Activity
from sim.timing.machine import Machine

__all__ = ["ACTION_PREFIX", "BOUNDS", "BYTE_COLUMNS", "RESULT_COLUMNS", "Fidelity", "Result"]

Fidelity = Literal["analytic", "event", "rtl"]
BOUNDS = ("array", "vector", "precompute", "scale", "dram", "latency")
"""What an operation's time is bound by: work of the array or the vector unit, table precompute, scaling of sums, memory
channel, or what is left when an operation is too short for any of them (memory latency and pipeline)."""

BYTE_COLUMNS = tuple(Activity().memory_bytes())
RESULT_COLUMNS = (
    "cycles",
    "fill_cycles",
    "compute_cycles",
    "stall_cycles",
    "drain_cycles",
    "bound_by",
    "useful_lane_cycles",
    "utilization",
    *BYTE_COLUMNS,
    "energy_pj",
)
ACTION_PREFIX = "actions."


@dataclass(frozen=True)
class Result:
    """A trace on a machine.

    Parameters
    ----------
    machine : Machine
    fidelity : {"analytic", "event"}
    operations : DataFrame
        See the module's text.
    prefill_tokens, decode_tokens : int
        Tokens that entered the model in the prefill, and in the decode steps, over all sequences.
    operand_values : bool
        Whether real operand values decided cycles (recorded trace) or dense work was assumed.
    """

    machine: Machine
    fidelity: Fidelity
    operations: pd.DataFrame
    prefill_tokens: int
    decode_tokens: int
    operand_values: bool

    @property
    def cycles(self) -> int:
        """Clock cycles of the whole run; operations follow one another."""
        return int(self.operations["cycles"].sum())

    @property
    def seconds(self) -> float:
        """Time of the whole run."""
        return self._seconds(self.cycles)

    @property
    def energy_pj(self) -> float:
        """Energy of all actions of the run, in picojoules."""
        return float(self.operations["energy_pj"].sum())

    @property
    def energy_per_token_pj(self) -> float:
        """Energy of the run over the tokens that went through the model."""
        return self.energy_pj / (self.prefill_tokens + self.decode_tokens)

    def phase_energy_per_token_pj(self, phase: Literal["prefill", "decode"]) -> float | None:
        """Energy of a phase over the tokens that entered the model in it, None if there is no such phase."""
        tokens = self.prefill_tokens if phase == "prefill" else self.decode_tokens
        energy = self.operations.loc[self.operations["phase"] == phase, "energy_pj"].sum()
        return float(energy) / tokens if tokens else None

    @property
    def prefill_tokens_per_second(self) -> float | None:
        """Prompt tokens a second, None without a prefill."""
        cycles = self._phase_cycles("prefill")
        return self.prefill_tokens / self._seconds(cycles) if cycles else None

    @property
    def decode_tokens_per_second(self) -> float | None:
        """Decoded tokens a second over all sequences, None without decode steps."""
        cycles = self._phase_cycles("decode")
        return self.decode_tokens / self._seconds(cycles) if cycles else None

    @property
    def utilization(self) -> float:
        """Share of the array's lane-cycles, over the whole run, that did useful work (0 to 1)."""
        return float(self.operations["useful_lane_cycles"].sum()) / (self.cycles * self.machine.lanes)

    def bound_by(self, phase: str | None = None) -> str | None:
        """What bounds most of the time, of a phase or of the run; None if there is no such phase."""
        table = self.operations if phase is None else self.operations[self.operations["phase"] == phase]
        if table.empty:
            return None
        return str(table.groupby("bound_by", observed=True)["cycles"].sum().idxmax())

    def by_operation(self) -> pd.DataFrame:
        """Sums over the steps: one row for each phase, layer and operation name, with `count` operations in it."""
        keys = ["phase", "layer", "name", "kind"]
        numbers = [name for name in self.operations.columns if name.startswith(ACTION_PREFIX)]
        numbers += [name for name in RESULT_COLUMNS if name not in ("bound_by", "utilization")]
        groups = self.operations.groupby(keys, observed=True, sort=False)
        table = groups[numbers].sum()
        table.insert(0, "count", groups.size())
        lanes = table["cycles"] * self.machine.lanes
        table.insert(1, "utilization", table["useful_lane_cycles"] / lanes)
        longest = self.operations.loc[groups["cycles"].idxmax()].set_index(keys)["bound_by"]
        table.insert(2, "bound_by", longest)
        return table.reset_index()

    def summary(self) -> dict[str, Any]:
        """The machine's line in a report, units in the keys."""
        return {
            "name": self.machine.name,
            "prefill_tokens_per_second": self.prefill_tokens_per_second,
            "decode_tokens_per_second": self.decode_tokens_per_second,
            "energy_per_token_pj": self.energy_per_token_pj,
            "prefill_energy_per_token_pj": self.phase_energy_per_token_pj("prefill"),
            "decode_energy_per_token_pj": self.phase_energy_per_token_pj("decode"),
            "area_um2": self.machine.area_um2,
            "utilization": self.utilization,
            "bound_by": self.bound_by(),
            "prefill_bound_by": self.bound_by("prefill"),
            "decode_bound_by": self.bound_by("decode"),
            "cycles": self.cycles,
            "seconds": self.seconds,
            "energy_pj": self.energy_pj,
            "fidelity": self.fidelity,
            "operand_values": self.operand_values,
        }

    def to_document(self) -> dict[str, Any]:
        """Everything as one JSON-ready document: summary, components with their sources, operations over all steps."""
        table = self.by_operation()
        actions = [name for name in table.columns if name.startswith(ACTION_PREFIX)]
        rows = json.loads(table.drop(columns=actions).to_json(orient="records"))
        counts = table[actions].rename(columns=lambda name: name.removeprefix(ACTION_PREFIX)).to_dict(orient="records")
        operations = [row | {"actions": count} for row, count in zip(rows, counts, strict=True)]
        return self.summary() | {"components": self._components(), "operations": operations}

    def _components(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "count": part.count,
                "area_um2": part.component.area_um2,
                "energy_pj": dict(part.component.energy_pj),
                "node_nm": part.component.node_nm,
                "kind": part.component.kind,
                "sources": list(dict.fromkeys(part.component.sources)),
            }
            for name, part in self.machine.parts.items()
        ]

    def _phase_cycles(self, phase: str) -> int:
        return int(self.operations.loc[self.operations["phase"] == phase, "cycles"].sum())

    def _seconds(self, cycles: int) -> float:
        return cycles / (self.machine.clock_ghz * 1e9)
