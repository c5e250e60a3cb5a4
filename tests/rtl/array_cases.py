"""Random `lmma` and `lutgen` commands for a configuration, and scratchpads full of what hurts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from engine_bench import Command, EngineBench, GoldenStorage, Lanes, Pins, Port, ScratchpadModel
from numpy.typing import NDArray

from isa.instructions import EngineInstruction, Lmma, LutGen, Region, operands_of
from isa.instructions.compute import INTEGER_ACTIVATIONS
from isa.instructions.types import WEIGHT_TYPES, Space
from rtl.configuration import Configuration
from rtl.engines.activations import read_bytes
from rtl.engines.drain import Drain

__all__ = ["Cases", "array_bench", "regions_of", "table_bench"]

Bytes = NDArray[np.uint8]
Ports = tuple[Port, ...]


def array_bench(pins: Pins, configuration: Configuration, storage: GoldenStorage, name: str = "") -> EngineBench:
    """An `ArrayEngine` at pins that begin with `name`, with its scratchpads."""
    unit = configuration.unit
    inputs: Space = "table" if configuration.looks_up_tables else "activation"
    width = configuration.table_bytes if configuration.looks_up_tables else read_bytes(unit.k)
    lanes = (Lanes(f"{name}accumulators", 4 * unit.n),), (Lanes(f"{name}results", 4 * unit.n),)
    rows = tuple(Port(f"{name}inputs_{row}", width) for row in range(unit.m))
    weights = (Port(f"{name}weights", configuration.plane_bytes),)
    models = {inputs: (rows, ()), "weight": (weights, ()), "accumulator": lanes}
    return _bench(pins, name, storage, models, "accumulator")


def table_bench(pins: Pins, configuration: Configuration, storage: GoldenStorage, name: str = "") -> EngineBench:
    """A `TableEngine`, likewise."""
    count = configuration.tables_per_cycle
    reads = (Port(f"{name}activations", read_bytes(count * configuration.unit.k)),)
    writes = tuple(Port(f"{name}tables_{number}", configuration.table_bytes) for number in range(count))
    return _bench(pins, name, storage, {"activation": (reads, ()), "table": ((), writes)}, "table")


def _bench(
    pins: Pins, name: str, storage: GoldenStorage, ports: Mapping[Space, tuple[Ports, Ports]], result: Space
) -> EngineBench:
    models = {space: ScratchpadModel(storage.spaces[space], *each) for space, each in ports.items()}
    return EngineBench(pins, name, models, result)


class Cases:
    """Commands of one kind, "lmma" or "lutgen", and contents, for a configuration."""

    def __init__(self, configuration: Configuration, kind: str) -> None:
        self.configuration, self.kind = configuration, kind
        lmma = kind == "lmma"
        self.inputs: Space = "table" if lmma and configuration.looks_up_tables else "activation"
        self.result: Space = "accumulator" if lmma else "table"

    def storage(self) -> GoldenStorage:
        """Scratchpads full of random bytes, or of extremes."""
        unit = self.configuration.unit
        spaces: dict[Space, Bytes] = {
            "activation": _content(unit.activation_bytes),
            "weight": _content(unit.weight_bytes),
            "table": _content(unit.table_bytes),
            "accumulator": _content(unit.accumulator_bytes),
        }
        # The least int16 has no negative, and no sum of eight activations comes near it.
        tables = spaces["table"].view("<i2")
        tables[tables == -(1 << 15)] += 1
        return GoldenStorage(spaces)

    def command(self, **chosen: Any) -> Command:
        """A command that lies within the scratchpads, with some operands given."""
        while True:
            values = self._lmma() if self.kind == "lmma" else self._lutgen()
            placed = self._placed(values | chosen)
            if placed:
                return placed

    def cycles(self, instruction: EngineInstruction) -> int:
        """For how long it works."""
        if isinstance(instruction, LutGen):
            groups = -(-instruction.depth // instruction.k)
            return instruction.rows * -(-groups // self.configuration.tables_per_cycle)
        assert isinstance(instruction, Lmma)
        return instruction.passes * self._planes(instruction)

    def flows(self, instruction: EngineInstruction) -> bool:
        """Whether its blocks of sums take as many steps as they have rows to write; and where it adds, as many cycles
        as pass until those before it are written."""
        if isinstance(instruction, LutGen):
            return True
        assert isinstance(instruction, Lmma)
        least = instruction.m if instruction.mode == "overwrite" else Drain.latency_cycles(instruction.m) + 1
        return instruction.groups * self._planes(instruction) >= least

    def alignment(self, pointer: str) -> int:
        """What the address of a pointer must be a multiple of."""
        table_bytes = self.configuration.table_bytes
        if self.kind == "lutgen":
            return {"source": 1, "target": table_bytes}[pointer]
        source = table_bytes if self.inputs == "table" else 1
        return {"source": source, "weights": self.configuration.plane_bytes, "target": 4}[pointer]

    def _planes(self, instruction: Lmma) -> int:
        return WEIGHT_TYPES[instruction.weight].bits if self.inputs == "table" else 1

    def _lmma(self) -> dict[str, Any]:
        unit = self.configuration.unit
        pitch = self.configuration.table_bytes * random.randint(0, 9)
        return {
            "m": unit.m,
            "n": unit.n,
            "k": unit.k,
            "inputs": self.inputs,
            "order": "blocks",
            "accumulator": "int32",
            "weight": random.choice(self.configuration.weight_types),
            "activation": random.choice(INTEGER_ACTIVATIONS),
            "mode": random.choice(("overwrite", "accumulate")),
            "rows": random.randint(1, 2 * unit.m + 1),
            "columns": random.choice((random.randint(1, 2 * unit.n + 1), unit.n)),
            "depth": random.choice((random.randint(1, 6 * unit.k), random.randint(1, 24))),
            "pitch_bytes": pitch if self.inputs == "table" else random.randint(0, 40),
        }

    def _lutgen(self) -> dict[str, Any]:
        return {
            "k": self.configuration.unit.k,
            "activation": random.choice(INTEGER_ACTIVATIONS),
            "rows": random.randint(1, 5),
            "depth": random.randint(1, 40),
            "pitch_bytes": random.randint(0, 70),
        }

    def _placed(self, values: Mapping[str, Any]) -> Command | None:
        """Anywhere within the scratchpads, often up to their end; None if they are too small."""
        kind = Lmma if self.kind == "lmma" else LutGen
        names = [name for name, operand in operands_of(kind).items() if operand.kind == "pointer"]
        at = dict.fromkeys(names, 0)
        instruction = kind(**{**values, **at})
        for pointer, region in zip(at, regions_of(instruction, at), strict=True):
            step = self.alignment(pointer)
            room = self.configuration.unit.size_bytes(region.space) - region.end
            if room < 0:
                return None
            at[pointer] = random.choice((random.randint(0, room // step), room // step)) * step
        return Command(instruction, at)


def regions_of(instruction: EngineInstruction, at: Mapping[str, int]) -> list[Region]:
    """What each pointer operand points to, in their order."""
    targets = instruction.writes(at)
    return [region for region in instruction.reads(at) if region not in targets] + list(targets)


def _content(size_bytes: int) -> Bytes:
    kind = random.choice(("random", "random", "zeros", "ones", "extremes"))
    if kind == "random":
        return np.frombuffer(random.randbytes(size_bytes), np.uint8).copy()
    if kind == "extremes":
        return np.array(random.choices((0x80, 0x7F, 0x00, 0xFF, 0x81), k=size_bytes), np.uint8)
    return np.full(size_bytes, 0 if kind == "zeros" else 255, np.uint8)
