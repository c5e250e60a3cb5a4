"""An array with its engine, and the table engine where there are tables: what the benches of these are run on."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from isa.program import Unit, UnitKind
from rtl.arrays.lut import LutArray
from rtl.arrays.mac import MacArray
from rtl.configuration import Configuration
from rtl.engines.array import ArrayEngine
from rtl.engines.table import TableEngine

__all__ = ["ArrayWithEngine", "small_configuration"]


def small_configuration(
    kind: UnitKind = "lut", *, m: int = 2, k: int = 4, weight_bits: int = 4, tables_per_cycle: int = 2
) -> Configuration:
    """Eight columns, scratchpads that are small but hold a row of every kind, and no cycle to spare."""
    unit = Unit(kind, m, 8, k, 512, 512, 2048 if k == 8 else 512, 1024, 512)
    return Configuration(
        unit=unit, weight_bits=weight_bits, tables_per_cycle=tables_per_cycle, array_pipeline_cycles=6 + m
    )


class ArrayWithEngine(wiring.Component):  # type: ignore[misc]
    """The ports of the array engine but for the array's, and below `table` those of a table engine, if there is one."""

    def __init__(self, configuration: Configuration, table: TableEngine | None = None) -> None:
        self.array = (LutArray if configuration.looks_up_tables else MacArray)(configuration)
        self.engine = ArrayEngine(configuration, array_latency_cycles=self.array.LATENCY_CYCLES)
        members = {name: item for name, item in self.engine.signature.members.items() if name not in ("step", "sums")}
        self.engines = {"": self.engine}
        if table:
            self.engines["table"] = table
            members["table"] = Out(table.signature)
        super().__init__(members)

    def elaborate(self, _platform: object) -> Module:
        """Wires."""
        m = Module()
        m.submodules += [self.array, *self.engines.values()]
        wiring.connect(m, self.engine.step, self.array.step)
        wiring.connect(m, self.array.sums, self.engine.sums)
        for place, engine in self.engines.items():
            outside = getattr(self, place) if place else self
            for name, item in engine.signature.members.items():
                if name in ("step", "sums"):
                    continue
                if item.is_port:
                    m.d.comb += getattr(outside, name).eq(getattr(engine, name))
                else:
                    wiring.connect(m, wiring.flipped(getattr(outside, name)), getattr(engine, name))
        return m
