"""What a study is: base machines with grids over their fields, and workloads, read from a STUDY.toml file.

    STUDY.toml ──► Study ──► Points, one Machine and one Workload each

    [[design]]                          # one or more
    machine = "lut-m2n64k4"             # shipped name, or a TOML file beside the study
    grid = { "compute.n" = [32, 64] }   # the machines are the product of the lists

    [[workload]]                        # one or more
    model = "tern-18m"                  # shipped name, or a config.json or checkpoint folder beside the study
    prefill = 256
    weight_formats = ["ternary", "int4"]

This module reads, checks and enumerates. `sim.study.sweep` runs the points, `sim.study.store` keeps what comes out.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

import cost_models
import isa
import workloads
from isa import InputError, format_named
from sim import timing
from sim.evaluation.result import Fidelity
from sim.timing import Machine, load_machine, shipped_machines
from sim.timing.machine import is_file, read_toml
from workloads import Architecture, Trace, shape_only_trace, shipped_models
from workloads.catalog import load_model_architecture

__all__ = [
    "BITLOOM_VERSION",
    "FIDELITY",
    "SOURCES_DIGEST",
    "Design",
    "Point",
    "Study",
    "Workload",
    "load_study",
    "shipped_studies",
    "sources_digest",
]

BITLOOM_VERSION = version("bitloom")
FIDELITY: Fidelity = "analytic"
LARGEST_STUDY_POINTS = 10_000_000

_SHIPPED = Path(__file__).parent / "studies"
_SOURCES = ((isa, "**/*"), (cost_models, "**/*"), (timing, "**/*"), (workloads, "*"))


def sources_digest() -> str:
    """SHA-256 (hex) of the code and figures that decide results.

    Names and contents of every `.py` and `.toml` file of `isa`, `cost_models` and `sim.timing`, and of those directly
    in `workloads`, wherever the packages lie.
    """
    contents = {
        f"{package.__name__}/{path.relative_to(folder).as_posix()}": hashlib.sha256(path.read_bytes()).hexdigest()
        for package, pattern in _SOURCES
        for folder in [Path(inspect.getfile(package)).parent]
        for path in folder.glob(pattern)
        if path.suffix in (".py", ".toml")
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


# Taken on import, so that it is of the code that runs and not of an edit made since.
SOURCES_DIGEST = sources_digest()


@dataclass(frozen=True)
class Workload:
    """A model's run by its shapes alone.

    Parameters
    ----------
    architecture : Architecture
    prefill, decode : int
        Prompt tokens of each sequence, and decode steps after them; 0 leaves a phase out.
    context : int
        Tokens in the KV cache of each sequence when decoding begins.
    batch : int
        Sequences, all alike.
    weight_format, activation_format : str
        Names that `isa.format_named` knows.
    """

    architecture: Architecture
    prefill: int
    decode: int
    context: int
    batch: int
    weight_format: str
    activation_format: str

    def trace(self) -> Trace:
        """The shape-only trace of the run."""
        return self._steps(self.decode, self.context)

    def check(self) -> None:
        """`InputError` if the run is empty or longer than the model's context: its last step alone is tried."""
        self._steps(min(self.decode, 1), self.context + max(self.decode - 1, 0))

    def _steps(self, decode: int, context: int) -> Trace:
        return shape_only_trace(
            self.architecture,
            prefill_tokens=self.prefill,
            decode_steps=decode,
            context_tokens=context,
            batch=self.batch,
            weight_format=self.weight_format,
            activation_format=self.activation_format,
        )

    def document(self) -> dict[str, Any]:
        """Every field, JSON-ready."""
        return vars(self) | {"architecture": self.architecture.model_dump(mode="json")}


@dataclass(frozen=True)
class Point:
    """One machine on one workload."""

    machine: Machine
    workload: Workload

    @cached_property
    def point_id(self) -> str:
        """SHA-256 (hex) of all that decides the result: machine without its name and description, workload with the
        model's architecture, fidelity, bitloom's version, and its sources (see `sources_digest`)."""
        document = {
            "machine": self.machine.model_dump(mode="json", exclude={"name", "description"}),
            "workload": self.workload.document(),
            "fidelity": FIDELITY,
            "bitloom_version": BITLOOM_VERSION,
            "sources_digest": SOURCES_DIGEST,
        }
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Design:
    """A base machine, and the values that some of its fields (dotted paths) take."""

    machine: Machine
    grid: Mapping[str, tuple[object, ...]]

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.grid.values())

    def machines(self, source: str) -> Iterator[Machine]:
        """Every combination of the grid's values; `InputError` names `source` if one is no valid machine."""
        for values in product(*self.grid.values()):
            yield self.machine.with_fields(dict(zip(self.grid, values, strict=True)), source)


@dataclass(frozen=True)
class Study:
    """Designs × workloads, in the order of the file, workload by workload.

    `source` is the file that it was read from, `text` what stood there.
    """

    name: str
    description: str
    designs: tuple[Design, ...]
    workloads: tuple[Workload, ...]
    source: Path = field(compare=False)
    text: str = field(repr=False, compare=False)

    def __len__(self) -> int:
        return sum(len(design) for design in self.designs) * len(self.workloads)

    def points(self) -> Iterator[Point]:
        """Every point, made as it is asked for."""
        for workload in self.workloads:
            for machine in self.machines():
                yield Point(machine, workload)

    def machines(self) -> Iterator[Machine]:
        """The machines of every design, made as they are asked for."""
        for number, design in enumerate(self.designs):
            yield from design.machines(_design_name(self.source, number, design.machine))

    def document(self) -> dict[str, Any]:
        """The study with its machines and models resolved, JSON-ready."""
        return {
            "name": self.name,
            "description": self.description,
            "fidelity": FIDELITY,
            "bitloom_version": BITLOOM_VERSION,
            "sources_digest": SOURCES_DIGEST,
            "designs": [
                {"machine": design.machine.model_dump(mode="json"), "grid": dict(design.grid)}
                for design in self.designs
            ],
            "workloads": [workload.document() for workload in self.workloads],
        }


def _dotted(table: object) -> object:
    """A grid by dotted paths: TOML reads an unquoted `compute.n` as a table in a table."""
    if not isinstance(table, dict):
        return table
    flat: dict[str, object] = {}
    for name, value in table.items():
        below = _dotted(value)
        flat |= {f"{name}.{path}": item for path, item in below.items()} if isinstance(below, dict) else {name: value}
    return flat


def _known_format(name: str) -> str:
    try:
        return format_named(name).name
    except InputError as error:
        raise PydanticCustomError("unknown_format", "{known}", {"known": str(error.expected)}) from None


Count = Annotated[int, Field(strict=True, ge=0, le=1 << 20)]
Values = Annotated[list[Any], Field(min_length=1)]
FormatName = Annotated[str, AfterValidator(_known_format)]


class _DesignTable(BaseModel):
    model_config = ConfigDict(extra="forbid")

    machine: str
    grid: Annotated[dict[str, Values], BeforeValidator(_dotted)] = {}


class _WorkloadTable(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    prefill: Count = 0
    decode: Count = 0
    context: Count | None = None
    batch: Annotated[int, Field(strict=True, ge=1, le=1 << 20)] = 1
    weight_formats: Annotated[list[FormatName], Field(min_length=1)]
    activation_format: FormatName = "int8-token"


class _StudyTable(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    description: str = ""
    design: Annotated[list[_DesignTable], Field(min_length=1)]
    workload: Annotated[list[_WorkloadTable], Field(min_length=1)]


def shipped_studies() -> dict[str, Path]:
    """Files of the shipped studies by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"))}


def load_study(study: str | Path) -> Study:
    """The study of a shipped name or a TOML file. Nothing is simulated, and no grid is expanded.

    Raises
    ------
    InputError
        If there is no such study, machine or model; a field is missing, unknown or absurd; a grid names a field or a
        value that its machine does not have; a run does not fit the model's context; or there are more than 10^7
        points.
    """
    path = shipped_studies().get(str(study), Path(study))
    if not is_file(path):
        raise InputError("STUDY", "study", str(study), "a TOML file, or one of " + ", ".join(shipped_studies()))
    table = _read(path)
    machines = sum(math.prod(len(values) for values in design.grid.values()) for design in table.design)
    points = machines * sum(len(workload.weight_formats) for workload in table.workload)
    if points > LARGEST_STUDY_POINTS:
        raise InputError(path, "design × workload", f"{points} points", f"at most {LARGEST_STUDY_POINTS}")
    return Study(
        name=table.name,
        description=table.description,
        designs=tuple(_design(path, number, design) for number, design in enumerate(table.design)),
        workloads=tuple(
            workload for number, entry in enumerate(table.workload) for workload in _workloads(path, number, entry)
        ),
        source=path,
        text=path.read_text(encoding="utf-8"),
    )


def _read(path: Path) -> _StudyTable:
    try:
        return _StudyTable.model_validate(read_toml(path))
    except ValidationError as error:
        raise InputError.first_of(path, error.errors()) from None
    except RecursionError:
        raise InputError(path, "TOML", "thousands of tables in each other", "the tables of a study") from None


def _design(path: Path, number: int, table: _DesignTable) -> Design:
    """The design of one table, every value of its grid tried on the base machine."""
    file = path.parent / table.machine
    shipped = shipped_machines()
    if table.machine not in shipped and not is_file(file):
        raise InputError(
            path, f"design.{number}.machine", table.machine, "a TOML file, or one of " + ", ".join(shipped)
        )
    machine = load_machine(table.machine if table.machine in shipped else file)
    for field_path, values in table.grid.items():
        for value in values:
            machine.with_fields({field_path: value}, _design_name(path, number, machine))
    return Design(machine, {field_path: tuple(values) for field_path, values in table.grid.items()})


def _design_name(path: Path, number: int, machine: Machine) -> str:
    return f"{path}: design.{number} (machine {machine.name})"


def _workloads(path: Path, number: int, table: _WorkloadTable) -> Iterator[Workload]:
    """One workload for each weight format of a table."""
    file = path.parent / table.model
    shipped = shipped_models()
    if table.model not in shipped and not file.exists():
        expected = "a config.json, a checkpoint folder, or one of " + ", ".join(shipped)
        raise InputError(path, f"workload.{number}.model", table.model, expected)
    architecture = load_model_architecture(table.model if table.model in shipped else str(file))
    context = table.prefill if table.context is None else table.context
    sizes = table.prefill, table.decode, context, table.batch
    for weight_format in table.weight_formats:
        workload = Workload(architecture, *sizes, weight_format, table.activation_format)
        try:
            workload.check()
        except InputError as error:
            raise InputError(path, f"workload.{number} ({error.field})", error.found, error.expected) from None
        yield workload
