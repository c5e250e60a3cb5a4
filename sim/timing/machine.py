"""A machine as a value, read from a TOML file: compute array, vector unit, scratchpads, DRAM, clock, technology node.

A `Machine` never changes; a sweep is a sequence of machines made by `with_fields`. The shipped machines are the files
in `sim/machines/`; a new machine is a new file there or anywhere else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cost_models import component
from isa import InputError
from isa.instructions.types import Space
from isa.program import LARGEST_SCRATCHPAD_BYTES
from sim.timing.dram import Dram, Timings
from sim.timing.units import ComputeUnit, Part, VectorUnit

__all__ = [
    "Buffers",
    "Dram",
    "Machine",
    "is_file",
    "load_machine",
    "load_machines",
    "parse_machine",
    "shipped_machines",
]

_SHIPPED = Path(__file__).parent.parent / "machines"
_LARGEST_FILE_BYTES = 1 << 20
# What machine files call the scratchpads of instructions.
_SCRATCHPADS: dict[Space, str] = {
    "activation": "activation",
    "weight": "weight",
    "table": "table",
    "accumulator": "output",
    "scale": "scale",
}

Bytes = Annotated[int, Field(strict=True, ge=256, le=LARGEST_SCRATCHPAD_BYTES)]


class Buffers(BaseModel):
    """Scratchpads. A tile that is followed by another has two places, so that one is filled or drained while the array
    works on the other.

    Parameters
    ----------
    activation_bytes, weight_bytes, output_bytes : int
        Sizes; an activation that fits half its scratchpad stays there between operations.
    table_bytes : int
        Tables of activations; 0 for arrays that look up none.
    scale_bytes : int
        Scales of rows and columns.
    banks : int
        Of every scratchpad, each with one port.
    port_bytes : int, optional
        Width of that port: bytes a cycle, in event simulations. None: as wide as the array and the memory channel ever
        need. Mapping and the closed form do not know ports.
    move_bytes : int
        Bytes a cycle from the output to the activation scratchpad, for results that stay on chip.
    store_pipeline_cycles : int
        From the last byte of a store, as it leaves, until its place is free: conversion, and the memory's answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    activation_bytes: Bytes
    weight_bytes: Bytes
    output_bytes: Bytes
    table_bytes: Annotated[int, Field(strict=True, ge=0, le=LARGEST_SCRATCHPAD_BYTES)] = 0
    scale_bytes: Bytes = 65536
    banks: Annotated[int, Field(strict=True, ge=1, le=256)] = 2
    port_bytes: Annotated[int, Field(strict=True, ge=1, le=1 << 16)] | None = None
    move_bytes: Annotated[int, Field(strict=True, ge=1, le=1 << 16)] = 128
    store_pipeline_cycles: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 0


class Machine(BaseModel):
    """A standalone accelerator.

    Parameters
    ----------
    name, description : str
    family : "accelerator"
    clock_ghz : float
    technology_nm : int
        The node of the cost figures: 28, the only one with figures so far. Reports mark components of other nodes.
    cores : int
        Equal cores that share the memory, each with the arrays and scratchpads below.
    queue_depth : int
        Instructions that wait in the queue of each engine.
    compute, vector, buffers, dram
        The parts; `compute.kind` selects the array.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    description: str = ""
    family: Literal["accelerator"] = "accelerator"
    clock_ghz: Annotated[float, Field(ge=1e-3, le=100, allow_inf_nan=False)]
    technology_nm: Literal[28]
    cores: Annotated[int, Field(strict=True, ge=1, le=64)] = 1
    queue_depth: Annotated[int, Field(strict=True, ge=1, le=1024)] = 16
    compute: ComputeUnit
    vector: VectorUnit
    buffers: Buffers
    dram: Dram

    @property
    def dram_bytes_per_cycle(self) -> float:
        """DRAM bandwidth in bytes a clock cycle."""
        return self.dram.bandwidth_gb_per_second / self.clock_ghz

    @property
    def lanes(self) -> int:
        """Lanes of the arrays of all cores."""
        return self.compute.lanes * self.cores

    @cached_property
    def memory_timings(self) -> Timings:
        """The DRAM in cycles of this machine's clock."""
        return self.dram.timings(self.clock_ghz)

    def scratchpad_bytes(self, space: Space) -> int:
        """Size of a scratchpad, by the name that instructions use."""
        size: int = getattr(self.buffers, f"{_SCRATCHPADS[space]}_bytes")
        return size

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """Every component of the machine by the name that actions use."""
        buffers = {
            f"{name}_buffer": Part(component("sram", bytes=size))
            for name in _SCRATCHPADS.values()
            if (size := getattr(self.buffers, f"{name}_bytes"))
        }
        core = {**self.compute.parts(), **self.vector.parts(), **buffers}
        parts = {name: replace(part, count=part.count * self.cores) for name, part in core.items()}
        return {**parts, "dram": Part(component("dram", technology=self.dram.technology))}

    @property
    def area_um2(self) -> float:
        """Area of all parts on the chip, without wires between them."""
        return sum(part.component.area_um2 * part.count for part in self.parts.values())

    def with_fields(self, changes: Mapping[str, Any], source: str = "design") -> Machine:
        """The machine with some fields changed, by dotted path (`compute.m`), validated anew.

        Raises
        ------
        InputError
            If a path does not exist in this machine or a value is not valid there.
        """
        document = self.model_dump()
        for path, value in changes.items():
            *parents, last = path.split(".")
            table: Any = document
            for parent in parents:
                table = table.get(parent) if isinstance(table, dict) else None
            if not isinstance(table, dict) or last not in table:
                raise InputError(source, path, "no such field", f"a field of machine {self.name}")
            table[last] = value
        return parse_machine(document, source)


def parse_machine(document: Mapping[str, Any], source: Path | str) -> Machine:
    """A machine from the contents of its file; `InputError` names the first field that is wrong."""
    try:
        return Machine.model_validate(document)
    except ValidationError as error:
        raise InputError.first_of(source, error.errors()) from None


def shipped_machines() -> dict[str, Path]:
    """Files of the shipped machines by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"))}


def load_machine(machine: str | Path) -> Machine:
    """The machine of a shipped name or a TOML file.

    Raises
    ------
    InputError
        If there is no such machine, the file is no TOML, or a field is missing, unknown or absurd.
    """
    path = shipped_machines().get(str(machine), Path(machine))
    if not is_file(path):
        expected = "a TOML file, or one of " + ", ".join(shipped_machines())
        raise InputError("--machine", "machine", str(machine), expected)
    return parse_machine(read_toml(path), path)


def load_machines(machines: Sequence[str | Path]) -> list[Machine]:
    """Several machines, each under a name of its own; `InputError` if two share one, since results go by it."""
    loaded = [load_machine(machine) for machine in machines]
    for position, machine in enumerate(loaded):
        if machine.name in {other.name for other in loaded[:position]}:
            raise InputError(str(machines[position]), "name", machine.name, "a name that no other machine here has")
    return loaded


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_toml(path: Path) -> dict[str, Any]:
    """The contents of a TOML file; `InputError` if it is too large, unreadable or no TOML."""
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise InputError(path, "size", f"{path.stat().st_size} bytes", f"at most {_LARGEST_FILE_BYTES} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, "file", error.strerror or str(error), "a readable TOML file") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(path, "TOML", str(error), "a valid TOML document") from None
