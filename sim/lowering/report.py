"""Mapping reports: how a lowered product is cut, and why.

A report says what the mapper chose (loop order, tile sizes, places), what bounds the time of it, what it moves against
the least possible, how full the scratchpads are, and among how many cuts it was chosen. Traffic and tables are counted
from the programs themselves; times are those of the closed form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from isa.instructions import ANYWHERE, EngineInstruction, Load, LutGen, SetPointer, Store
from isa.instructions.types import SCRATCHPADS, Space
from isa.program import Program
from sim.lowering.lower import Lowered
from sim.lowering.memory_map import memory_map
from sim.timing.nest import Nest, Pieces

__all__ = ["Bound", "MappingReport", "OperandTraffic", "ScratchpadUse", "mapping_report"]

Bound = Literal["array", "tables", "channel", "scale", "latency"]


@dataclass(frozen=True)
class OperandTraffic:
    """Bytes of one operand over the memory channel, all cores.

    Parameters
    ----------
    operand : str
        The name of its buffer.
    moved_bytes : int
    least_bytes : int
        Every byte once; tables that are made beforehand twice, because they are written and read.
    """

    operand: str
    moved_bytes: int
    least_bytes: int


@dataclass(frozen=True)
class ScratchpadUse:
    """How much of a scratchpad the tiles of one core take."""

    scratchpad: Space
    used_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class MappingReport:
    """How a product is cut on a machine.

    Parameters
    ----------
    machine, unit : str
        Names of the machine and of the unit's kind.
    m, k, n, copies : int
        Of the whole product.
    array : tuple of int
        M, N and K of the unit.
    cores : int
        Cores that have a part.
    loop_order : {"m n k", "n m k"}
        From the outermost loop to the innermost.
    tile_m, tile_k, tile_n, tiles_m, tiles_k, tiles_n : int
        Sizes of whole tiles and their number, of the largest part.
    whole_rows : bool
        Whether activations (or tables) of all inputs are there at once, though weights are cut.
    places : int
        Of a tile that is followed by another: 2 for double buffering.
    bound_by : {"array", "tables", "channel", "scale", "latency"}
        What is busy longest; latency where the product is too short for any to matter.
    cycles : int
        In closed form, tables that are made beforehand included.
    array_cycles, table_cycles, channel_cycles, scale_cycles, latency_cycles : int
        What each is busy; of latency, the memory's and the array's.
    traffic : tuple of OperandTraffic
        Operands that are moved at all.
    scratchpads : tuple of ScratchpadUse
        Those that the machine has.
    considered, timed : int
        Cuts that fit, and cuts whose time was computed.
    fastest_cycles : int
        The least time among those, tables that are made beforehand included.
    table_redundancy : float or None
        How often each table is made; None where none are looked up.
    """

    machine: str
    unit: str
    m: int
    k: int
    n: int
    copies: int
    array: tuple[int, int, int]
    cores: int
    loop_order: Literal["m n k", "n m k"]
    tile_m: int
    tile_k: int
    tile_n: int
    tiles_m: int
    tiles_k: int
    tiles_n: int
    whole_rows: bool
    places: int
    bound_by: Bound
    cycles: int
    array_cycles: int
    table_cycles: int
    channel_cycles: int
    scale_cycles: int
    latency_cycles: int
    traffic: tuple[OperandTraffic, ...]
    scratchpads: tuple[ScratchpadUse, ...]
    considered: int
    timed: int
    fastest_cycles: int
    table_redundancy: float | None

    @property
    def moved_bytes(self) -> int:
        """Bytes of all operands."""
        return sum(item.moved_bytes for item in self.traffic)

    @property
    def least_bytes(self) -> int:
        """Bytes of all operands that are moved, each once."""
        return sum(item.least_bytes for item in self.traffic)

    @property
    def busy_cycles(self) -> dict[Bound, int]:
        """What could bound the time, and for how long it is busy."""
        cycles = (self.array_cycles, self.table_cycles, self.channel_cycles, self.scale_cycles, self.latency_cycles)
        return dict(zip(get_args(Bound), cycles, strict=True))

    def to_document(self) -> dict[str, Any]:
        """The report for JSON."""
        return asdict(self) | {"moved_bytes": self.moved_bytes, "least_bytes": self.least_bytes}

    def to_text(self) -> str:
        """The report for people."""
        return "\n".join(f"{heading:<12}{text}" for heading, text in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        m, n, k = self.array
        copies = f", {self.copies:,} copies" if self.copies > 1 else ""
        cores = f", {self.cores} cores" if self.cores > 1 else ""
        yield "product", f"[{self.m:,} x {self.k:,}] x [{self.k:,} x {self.n:,}]{copies}"
        yield "unit", f"{self.unit} m{m}n{n}k{k} of {self.machine}{cores}"
        tiles = {"m": (self.tiles_m, self.tile_m), "n": (self.tiles_n, self.tile_n), "k": (self.tiles_k, self.tile_k)}
        loops = (f"{name}: {tiles[name][0]:,} x {tiles[name][1]:,}" for name in self.loop_order.split())
        yield "loops", " > ".join(loops)
        rows = ", whole rows of activations" if self.whole_rows else ""
        yield "buffering", f"{'double' if self.places > 1 else 'single'}{rows}"
        busy = ", ".join(f"{name} {cycles:,}" for name, cycles in self.busy_cycles.items() if cycles)
        yield "time", f"{self.cycles:,} cycles, bound by {self.bound_by} (busy: {busy})"
        for item in self.traffic:
            factor = f"{item.moved_bytes / item.least_bytes:,.2f} times the least"
            yield item.operand, f"{item.moved_bytes:,} bytes, {factor}"
        used = (f"{item.scratchpad} {item.used_bytes / item.size_bytes:.0%}" for item in self.scratchpads)
        yield "scratchpads", ", ".join(used)
        if self.table_redundancy is not None:
            yield "redundancy", f"each table is made {self.table_redundancy:,.2f} times"
        slower = self.cycles - self.fastest_cycles
        given_up = f"{slower:,} cycles ({slower / self.fastest_cycles:.2%}) slower than the fastest, to move less"
        yield "search", f"{self.considered:,} cuts fit, {self.timed:,} timed; {given_up if slower else 'the fastest'}"


def mapping_report(lowered: Lowered) -> MappingReport:
    """The report of a lowered product."""
    machine, unit, product, choice = lowered.machine, lowered.unit, lowered.product, lowered.choice
    nest, totals, before = choice.nest, choice.timing.totals, lowered.tables
    inputs, weights, results = lowered.shares
    loads = totals.input_load_cycles * inputs + (totals.weight_load_cycles + totals.scale_load_cycles) * weights
    channel = round(float(loads + totals.store_cycles * results)) + (before.channel_cycles if before else 0)
    latency = round(machine.memory_timings.latency_cycles) if channel else 0
    busy: dict[Bound, int] = {
        "array": int(totals.array_cycles),
        "tables": int(totals.table_cycles) + (before.table_cycles if before else 0),
        "channel": channel,
        "scale": int(totals.scale_cycles),
        "latency": latency + unit.pipeline_cycles,
    }
    programs_before = before.cycles if before else 0
    return MappingReport(
        machine=machine.name,
        unit=unit.unit_kind,
        m=product.m,
        k=product.k,
        n=product.n,
        copies=product.copies,
        array=(unit.m, unit.n, unit.k),
        cores=len(lowered.parts),
        loop_order="n m k" if int(nest.cuts.columns_outer) else "m n k",
        **_tiles(nest),
        whole_rows=bool(nest.input_depths.tiles == 1 and nest.inputs.tiles > 1),
        places=int(nest.cuts.places),
        bound_by=max(busy, key=lambda name: busy[name]),
        cycles=int(choice.timing.cycles) + programs_before,
        array_cycles=busy["array"],
        table_cycles=busy["tables"],
        channel_cycles=busy["channel"],
        scale_cycles=busy["scale"],
        latency_cycles=busy["latency"],
        traffic=tuple(_traffic(lowered)),
        scratchpads=tuple(_scratchpads(lowered)),
        considered=choice.considered,
        timed=choice.timed,
        fastest_cycles=choice.fastest_cycles + programs_before,
        table_redundancy=float(_redundancy(lowered)) if unit.looks_up_tables else None,
    )


def _tiles(nest: Nest) -> dict[str, int]:
    pieces: dict[str, Pieces] = {"m": nest.rows, "k": nest.inputs, "n": nest.columns}
    sizes = {f"tile_{name}": int(piece.size) for name, piece in pieces.items()}
    return sizes | {f"tiles_{name}": int(piece.tiles) for name, piece in pieces.items()}


def _programs(lowered: Lowered) -> tuple[Program, ...]:
    """Every program that is executed."""
    return (*lowered.programs, *([lowered.tables.program] if lowered.tables else []))


def _traffic(lowered: Lowered) -> Iterator[OperandTraffic]:
    moved = Counter[str]()
    for program in _programs(lowered):
        moved.update(_moved_bytes(program))
    buffers = memory_map(lowered.unit, lowered.product, 0, "tables" if lowered.tables else None).buffers
    for buffer in buffers:
        if moved[buffer.name]:
            once = 2 * buffer.size_bytes if buffer.name == "tables" else buffer.size_bytes
            yield OperandTraffic(buffer.name, moved[buffer.name], once)


def _moved_bytes(program: Program) -> Counter[str]:
    """Bytes between memory and scratchpads by the buffer that a pointer was set to."""
    names = {buffer.address: buffer.name for buffer in program.buffers if buffer.space == "memory"}
    bases = {item.target: item.base for item in program.instructions if isinstance(item, SetPointer)}
    moved = Counter[str]()
    for times, instruction in zip(program.repetitions(), program.instructions, strict=True):
        if isinstance(instruction, Load):
            moved[names[bases[instruction.source]]] += times * _size_bytes(instruction)
        elif isinstance(instruction, Store) and instruction.space == "memory":
            moved[names[bases[instruction.target]]] += times * _size_bytes(instruction)
    return moved


def _size_bytes(instruction: EngineInstruction) -> int:
    return instruction.writes(ANYWHERE)[0].size_bytes


def _scratchpads(lowered: Lowered) -> Iterator[ScratchpadUse]:
    for space in SCRATCHPADS:
        if size_bytes := lowered.machine.scratchpad_bytes(space):
            used_bytes = int(getattr(lowered.choice.nest, f"{space}_scratchpad_bytes"))
            yield ScratchpadUse(space, used_bytes, size_bytes)


def _redundancy(lowered: Lowered) -> Fraction:
    """Tables that are made, for each distinct one (LUT Tensor Core, ISCA 2025, section 3.1)."""
    made = sum(
        times * instruction.tables
        for program in _programs(lowered)
        for times, instruction in zip(program.repetitions(), program.instructions, strict=True)
        if isinstance(instruction, LutGen)
    )
    product = lowered.product
    return Fraction(made, product.copies * product.m * -(-product.k // lowered.unit.k))
