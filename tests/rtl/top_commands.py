"""Random commands of a unit: every type, mode and space, addresses that the hardware takes, sizes from one on."""

from __future__ import annotations

import random
from dataclasses import dataclass

from isa.instructions import Addresses, EngineInstruction, Lmma, Load, LutGen, Scale, Store
from isa.instructions.types import ELEMENT_DTYPES, SCRATCHPADS, WEIGHT_TYPES, Space
from isa.layouts import group_bytes, row_bytes
from rtl.commands import WORK_OF
from rtl.configuration import ACCUMULATOR_BYTES, Configuration

__all__ = ["CommandMaker", "Made"]

_INTEGERS = tuple(f"int{bits}" for bits in range(1, 9))
_TRIES = 1000


@dataclass(frozen=True)
class Made:
    """A command, where its pointers point to, and what their addresses are multiples of."""

    instruction: EngineInstruction
    at: Addresses
    grains: tuple[tuple[str, int], ...] = ()

    def grain(self, pointer: str) -> int:
        """What the address of a pointer is a multiple of."""
        return dict(self.grains).get(pointer, 1)


class CommandMaker:
    """Makes commands; pointers in them are numbered 0, 1, ...

    Parameters
    ----------
    configuration : Configuration
    rng : random.Random
    memory_bytes : int
        Of the memory that may be read and written.
    """

    def __init__(self, configuration: Configuration, rng: random.Random, memory_bytes: int) -> None:
        self._configuration, self._rng, self._memory_bytes = configuration, rng, memory_bytes
        self._makers = [self._load, self._lmma, self._scale, self._store]
        if configuration.looks_up_tables:
            self._makers.append(self._lutgen)

    def any(self) -> Made:
        """A command."""
        return self._rng.choice(self._makers)()

    def of_integers(self) -> Made:
        """A command that makes no floats."""
        while True:
            made = self.any()
            if not isinstance(made.instruction, Scale) and not getattr(made.instruction, "result", "int").startswith(
                "fp"
            ):
                return made

    def _size(self, space: Space) -> int:
        return self._memory_bytes if space == "memory" else self._configuration.unit.size_bytes(space)

    def _fit(self, instruction: EngineInstruction, **grains: int) -> Made | None:
        """Addresses at which a command fits into its spaces, if there are any."""
        pointers = {field.name for field in WORK_OF[instruction.engine].fields if field.kind == "pointer"}
        zero = dict.fromkeys(pointers, 0)
        ends = dict.fromkeys(pointers, 0)
        spaces = dict[str, Space]()
        for name in pointers:
            moved = zero | {name: 1 << 30}
            for region in (*instruction.reads(moved), *instruction.writes(moved)):
                if region.address >= 1 << 30:
                    spaces[name], ends[name] = region.space, max(ends[name], region.end - (1 << 30))
        at = dict[str, int]()
        for name in sorted(pointers):
            room, grain = self._size(spaces[name]) - ends[name], grains.get(name, 1)
            if room < 0:
                return None
            most = room // grain
            at[name] = grain * self._rng.choice([0, most, *(self._rng.randint(0, most) for _ in range(4))])
        return Made(instruction, at, tuple(grains.items()))

    def _count(self, most: int) -> int:
        """Mostly few."""
        return min(most, self._rng.choice([1, self._rng.randint(1, 4), self._rng.randint(1, most)]))

    def _load(self) -> Made:
        rng = self._rng
        while True:
            space: Space = rng.choice([item for item in SCRATCHPADS if self._size(item)])
            rows, size = self._count(8), rng.choice([rng.randint(1, 20), rng.randint(1, 300), 16 * rng.randint(1, 8)])
            grain = 1
            if space == "accumulator":
                grain, size = ACCUMULATOR_BYTES, -(-size // ACCUMULATOR_BYTES) * ACCUMULATOR_BYTES
            pitch = rng.choice([0, size, size + rng.randint(0, 50), rng.randint(0, 700), 4096 - size % 7])
            load = Load(space=space, source=0, target=1, rows=rows, row_bytes=size, pitch_bytes=pitch)
            if made := self._fit(load, source=1, target=grain):
                return made

    def _lutgen(self) -> Made:
        rng, unit = self._rng, self._configuration.unit
        while True:
            kind, depth = rng.choice(_INTEGERS), rng.choice([rng.randint(1, 12), rng.randint(1, 100)])
            pitch = rng.choice([0, row_bytes(depth, int(kind[3:])), rng.randint(0, 200)])
            made = self._fit(
                LutGen(
                    k=unit.k, activation=kind, source=0, target=1, rows=self._count(5), depth=depth, pitch_bytes=pitch
                ),
                target=self._configuration.table_bytes,
            )
            if made:
                return made

    def _lmma(self) -> Made:
        rng, unit, configuration = self._rng, self._configuration.unit, self._configuration
        while True:
            kind, weight = rng.choice(_INTEGERS), rng.choice(configuration.weight_types)
            depth = rng.choice([rng.randint(1, 2 * unit.k), rng.randint(1, 100)])
            tables = configuration.looks_up_tables
            grain = configuration.table_bytes if tables else 1
            width = -(-depth // unit.k) * grain if tables else row_bytes(depth, int(kind[3:]))
            pitch = rng.choice([0, width, width + grain * rng.randint(0, 20)])
            made = self._fit(
                Lmma(
                    m=unit.m, n=unit.n, k=unit.k, activation=kind, weight=weight, accumulator="int32",
                    inputs="table" if tables else "activation", order="blocks",
                    mode=rng.choice(["overwrite", "accumulate"]), source=0, weights=1, target=2,
                    rows=self._count(3 * unit.m), columns=self._count(3 * unit.n), depth=depth, pitch_bytes=pitch,
                ),
                source=grain,
                weights=group_bytes(unit.n, unit.k, 1 if tables else WEIGHT_TYPES[weight].bits),
                target=ACCUMULATOR_BYTES,
            )  # fmt: skip
            if made:
                return made

    def _scale(self) -> Made:
        rng = self._rng
        for _ in range(_TRIES):
            scale = rng.choice(["fp16", "fp32"])
            made = self._fit(
                Scale(
                    granularity=rng.choice(["row", "group"]), rule=rng.choice(["multiply", "multiply", "divide"]),
                    columns_have=rng.choice(["each", "each", "one"]), scale=scale, source=0, target=1,
                    column_scales=2, row_scales=3, rows=self._count(5), columns=self._count(40),
                ),
                source=ACCUMULATOR_BYTES, target=ACCUMULATOR_BYTES,
                column_scales=ELEMENT_DTYPES[scale].itemsize,
            )  # fmt: skip
            if made is None:
                continue
            source, target = made.at["source"], made.at["target"]
            size = made.instruction.writes(made.at)[0].size_bytes
            if rng.random() < 0.3:
                return Made(made.instruction, {**made.at, "target": source}, made.grains)
            if abs(source - target) >= size:
                return made
        raise AssertionError("no scale fits into the scratchpads")

    def _store(self) -> Made:
        rng = self._rng
        while True:
            origin = "table" if self._configuration.looks_up_tables and rng.random() < 0.4 else "accumulator"
            element = "int16" if origin == "table" else rng.choice(["int32", "fp32"])
            result = rng.choice(["fp16", "fp32"] if element == "fp32" else list(ELEMENT_DTYPES))
            mode, columns = rng.choice(["overwrite", "overwrite", "accumulate"]), self._count(60)
            grain = ELEMENT_DTYPES[result].itemsize if mode == "accumulate" else 1
            pitch = columns * ELEMENT_DTYPES[result].itemsize + grain * rng.choice([0, rng.randint(0, 20), 1])
            store = Store(
                space=rng.choice(["memory", "activation"]), mode=mode, origin=origin, element=element, result=result,
                source=0, target=1, rows=self._count(5), columns=columns, pitch_bytes=pitch,
            )  # fmt: skip
            if made := self._fit(store, source=ACCUMULATOR_BYTES if origin == "accumulator" else 1, target=grain):
                return made
