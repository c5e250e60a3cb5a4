"""The roofline of a machine under a run: how fast it could be, and where each matrix operation stands below that.

           operations a second
      array peak ─────────────/──────────      a point under the slope waits for DRAM,
     vector peak ────────/────/──────────      one under a roof for the array or the vector unit
                        / ● /
                   ────/───/──── operations per DRAM byte

An operation is a multiplication or an addition: two for each multiply-accumulate. Source of the model: Williams,
Waterman, Patterson, "Roofline", CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from isa import FORMATS
from sim.timing import Machine, Result
from workloads.operations import MATRIX_KINDS, NO_LAYER

__all__ = ["OPERATIONS_PER_MAC", "Roof", "roofline_points", "roofs"]

OPERATIONS_PER_MAC = 2


@dataclass(frozen=True)
class Roof:
    """The peak of a unit, dense: a machine that skips zero terms may rise above it."""

    name: str
    operations_per_second: float


def roofs(result: Result) -> tuple[Roof, ...]:
    """The array's peak for each weight format of the run that it supports, and the vector unit's peak."""
    machine, table = result.machine, result.operations
    pairs = table.loc[table["kind"] == "mpgemm", ["input_format", "weight_format"]].drop_duplicates()
    found = []
    for activation, weight in pairs.itertuples(index=False):
        if machine.compute.supports(FORMATS[activation], FORMATS[weight]):
            per_cycle = machine.compute.lanes / machine.compute.pass_cycles(FORMATS[weight])
            found.append(Roof(f"array, {weight} weights", _operations_per_second(machine, per_cycle)))
    return *found, Roof("vector unit", _operations_per_second(machine, machine.vector.lanes))


def _operations_per_second(machine: Machine, macs_per_cycle: float) -> float:
    return OPERATIONS_PER_MAC * macs_per_cycle * machine.clock_ghz * 1e9


def roofline_points(result: Result) -> pd.DataFrame:
    """The matrix operations of a run, equal names of a phase taken together over layers and steps.

    Returns
    -------
    DataFrame with `phase`, `name`, `kind`, `layers` (how many have it; 0 outside the layers), `count`, `dram_bytes`,
    `operations_per_dram_byte` (infinite where no byte moves), `operations_per_second`, `unit` ("array" or "vector
    unit") and `utilization` of that unit (0 to 1).
    """
    keys = ["phase", "name", "kind"]
    table = result.operations[result.operations["kind"].isin(MATRIX_KINDS)]
    sizes = table[["batch", "m", "k", "n"]].astype("float64")
    work = pd.DataFrame(
        {
            "macs": sizes.prod(axis=1),
            "dram_bytes": table["dram_read_bytes"] + table["dram_write_bytes"],
            "cycles": table["cycles"],
            "useful_lane_cycles": table["useful_lane_cycles"],
        }
    )
    groups = pd.concat([table[[*keys, "layer"]], work], axis=1).groupby(keys, observed=True, sort=False)
    points = groups[list(work)].sum()
    points["count"] = groups.size()
    points["layers"] = groups["layer"].agg(lambda layers: layers[layers != NO_LAYER].nunique())
    operations = OPERATIONS_PER_MAC * points["macs"]
    points["operations_per_dram_byte"] = operations / points["dram_bytes"]
    points["operations_per_second"] = operations / points["cycles"] * result.machine.clock_ghz * 1e9
    on_array = points["useful_lane_cycles"] > 0
    points["unit"] = on_array.map({True: "array", False: "vector unit"})
    on_vector = points["macs"] / (points["cycles"] * result.machine.vector.lanes)
    of_array = points["useful_lane_cycles"] / (points["cycles"] * result.machine.compute.lanes)
    points["utilization"] = of_array.where(on_array, on_vector)
    return points.drop(columns=["macs", "cycles", "useful_lane_cycles"]).reset_index()
