"""A CPU core as a value, read from a TOML file: pipes, instructions, loads, caches, DRAM, clock, each with its source.

The shipped cores are the files in `sim/machines/cpu/`; a new core, or one with an instruction more, is a new file there
or anywhere else. What programs cost on it is computed in `sim.timing.cpu.schedule` and `sim.timing.cpu.predict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isa import InputError
from sim.timing.machine import is_file, read_toml

__all__ = ["Cache", "Core", "Dram", "Loads", "Timing", "core_of", "load_core", "shipped_cores"]

_SHIPPED = Path(__file__).parents[2] / "machines" / "cpu"
_MOST_PIPES = 32

Positive = Annotated[float, Field(gt=0, le=1e6)]
Count = Annotated[int, Field(strict=True, ge=1, le=4096)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Source = Annotated[str, Field(min_length=1, max_length=400)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timing(_Model):
    """How long an instruction takes on vectors of the core's own width.

    Parameters
    ----------
    pipes : tuple of str
        Those that can execute it; it takes one of them.
    cycles : int
        For so long the pipe takes nothing else.
    latency_cycles : int
        From its operands to its result.
    accumulator_latency_cycles : int, optional
        From its first operand, which it adds to, where that may come later than the others.
    slots : int
        Places that it takes of those dispatched in a cycle.
    pieces : int
        Pipes that it takes, one after the other or side by side: 2 for an instruction of two operations, 0 for one that
        is nothing but a load.
    wide : Timing, optional
        On vectors wider than the core's; without it such vectors take the same pipes for as many times as long.
    source : str
    """

    pipes: tuple[Name, ...] = Field(min_length=1)
    cycles: Annotated[int, Field(strict=True, ge=1, le=256)] = 1
    latency_cycles: Annotated[int, Field(strict=True, ge=0, le=256)]
    accumulator_latency_cycles: Annotated[int | None, Field(strict=True, ge=0, le=256)] = None
    slots: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    pieces: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    wide: Timing | None = None
    source: Source


class Loads(_Model):
    """What loads and stores take.

    Parameters
    ----------
    pipes, store_pipes : tuple of str
    bytes : int
        Of one load; a wider one takes as many as it needs.
    latency_cycles : int
        Of a load that the first cache holds.
    line_split_cycles : int
        For so much longer a load takes its pipe if it crosses a cache line.
    source : str
    """

    pipes: tuple[Name, ...] = Field(min_length=1)
    store_pipes: tuple[Name, ...] = Field(min_length=1)
    bytes: Count
    latency_cycles: Count
    line_split_cycles: Annotated[int, Field(strict=True, ge=0, le=256)]
    source: Source


class Cache(_Model):
    """A level of cache, and how fast the level above reads from it.

    Parameters
    ----------
    name : str
    size_bytes : int
        What one core can have of it.
    gb_per_second : float
        Read by one core.
    total_gb_per_second : float, optional
        Read by all cores that share it; without it every core has its own.
    latency_ns : float
    exposed_share : float
        Of the time in which the level above reads from it, the share that no computation hides.
    source : str
    """

    name: Name
    size_bytes: Annotated[int, Field(strict=True, ge=1024, le=1 << 34)]
    gb_per_second: Positive
    total_gb_per_second: Positive | None = None
    latency_ns: Positive
    exposed_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    source: Source


class Dram(_Model):
    """Main memory.

    Parameters
    ----------
    gb_per_second : float
        Read by one core in one stream.
    total_gb_per_second : float
        Read by all cores.
    latency_ns : float
    streams_of_a_page : int
        Streams in one page of 4 KiB that the prefetchers follow; of more, those beyond are not foreseen.
    exposed_share : float
        Of what is shorter, computing or reading, the share that the other does not hide.
    source : str
    """

    gb_per_second: Positive
    total_gb_per_second: Positive
    latency_ns: Positive
    streams_of_a_page: Count
    exposed_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    source: Source

    def total_of(self, threads: int) -> float:
        """What so many threads read together, in GB/s."""
        return min(threads * self.gb_per_second, self.total_gb_per_second)


class Core(_Model):
    """A core, and the processor that it is in.

    Parameters
    ----------
    name, description : str
    clock_ghz : float
        With one busy core.
    all_cores_clock_ghz : float, optional
        With all cores busy; that of one without it.
    cores : int
    threads_per_core : int
    features : tuple of str
        Instruction sets: "avx2", "avx512", "vnni", "neon", "dotprod", ...
    vector_bytes : int
        Width of a pipe; wider instructions take it for longer.
    dispatch_width : int
        Instructions that enter the pipes' queues in a cycle.
    reorder_buffer : int
        Instructions that may be under way.
    operation_us : float
        From the end of an operation of a model's graph to the beginning of the next: threads meet.
    pipes : tuple of str
    mixed_share : float
        Of all places in the pipes for vectors, the share that a mix of instructions can fill: a pipe is chosen before
        it is known when operands will be there.
    loads : Loads
    caches : tuple of Cache
        From the first level on.
    dram : Dram
    instructions : mapping of str to Timing
        By mnemonic, as `sim.simd` has them; "integer" stands for additions, comparisons and branches of loops.
    source : str
        Of clock, widths and depths.
    """

    name: Name
    description: Source
    clock_ghz: Positive
    all_cores_clock_ghz: Positive | None = None
    cores: Count
    threads_per_core: Count = 1
    features: tuple[Name, ...]
    vector_bytes: Count
    dispatch_width: Count
    reorder_buffer: Count
    operation_us: Annotated[float, Field(ge=0, le=1e4)] = 2.0
    pipes: tuple[Name, ...] = Field(min_length=1, max_length=_MOST_PIPES)
    mixed_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    loads: Loads
    caches: tuple[Cache, ...] = Field(min_length=1)
    dram: Dram
    instructions: Mapping[Name, Timing]
    source: Source

    @model_validator(mode="after")
    def _pipes_are_there(self) -> Core:
        used: dict[str, tuple[str, ...]] = {
            "loads.pipes": self.loads.pipes,
            "loads.store_pipes": self.loads.store_pipes,
        }
        for name, timing in self.instructions.items():
            used[f"instructions.{name}.pipes"] = timing.pipes + (timing.wide.pipes if timing.wide else ())
        for field, pipes in used.items():
            if unknown := set(pipes) - set(self.pipes):
                raise ValueError(f"{field} names {sorted(unknown)}, which are none of the pipes {list(self.pipes)}")
        if "integer" not in self.instructions:
            raise ValueError("instructions has no integer, which loops take")
        return self

    @property
    def vector_pipes(self) -> tuple[str, ...]:
        """Pipes that execute instructions other than loads, stores and those on integers."""
        others = {*self.loads.pipes, *self.loads.store_pipes, *self.instructions["integer"].pipes}
        return tuple(pipe for pipe in self.pipes if pipe not in others)

    def clock_of(self, threads: int) -> float:
        """Clock in GHz with so many busy cores: from one to all, in a straight line."""
        if self.all_cores_clock_ghz is None or self.cores == 1:
            return self.clock_ghz
        share = (min(threads, self.cores) - 1) / (self.cores - 1)
        return self.clock_ghz + share * (self.all_cores_clock_ghz - self.clock_ghz)

    def with_fields(self, changes: Mapping[str, Any], source: str = "design") -> Core:
        """The core with some fields changed or instructions added, by dotted path, validated anew."""
        document = self.model_dump()
        for path, value in changes.items():
            *parents, last = path.split(".")
            table: Any = document
            for parent in parents:
                table = table.get(parent) if isinstance(table, dict) else None
            if not isinstance(table, dict):
                raise InputError(source, path, "no such field", f"a field of core {self.name}")
            table[last] = value
        return core_of(document, source)


def core_of(document: Mapping[str, Any], source: Path | str) -> Core:
    """A core from the contents of its file; `InputError` names the first field that is wrong."""
    try:
        return Core.model_validate(document)
    except ValidationError as error:
        raise InputError.first_of(source, error.errors()) from None


def shipped_cores() -> dict[str, Path]:
    """Files of the shipped cores by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"))}


def load_core(core: str | Path) -> Core:
    """The core of a shipped name or a TOML file.

    Raises
    ------
    InputError
        If there is no such core, the file is no TOML, or a field is missing, unknown or absurd.
    """
    path = shipped_cores().get(str(core), Path(core))
    if not is_file(path):
        raise InputError("--cpu", "core", str(core), "a TOML file, or one of " + ", ".join(shipped_cores()))
    return core_of(read_toml(path), path)
