"""`bitloom list`: what is shipped, under the names that other commands take."""

from __future__ import annotations

from typing import Any

from isa import FORMATS, Format
from sim.cli.output import JsonOption, print_json, print_table
from sim.functional import BACKENDS
from sim.simd.kernel import CpuKernel
from sim.simd.kernels import KERNELS
from sim.study.reproductions import REPRODUCTIONS
from sim.study.sweep import shipped_studies
from sim.timing import load_machine, shipped_machines
from sim.timing.cpu.core import load_core, shipped_cores
from workloads import load_model_architecture, shipped_models

__all__ = ["list_command"]

# Bits per value, with scales, are those of a tensor of this many rows and columns.
_USUAL_SHAPE = (4096, 4096)


def list_command(as_json: JsonOption = False) -> None:
    """List shipped models, machines, CPU cores and kernels, formats (bits per value of a 4096 x 4096 tensor), backends,
    studies and publications.

    Example: `bitloom list --json`
    """
    document: dict[str, list[dict[str, Any]]] = {
        "models": [_model(name) for name in shipped_models()],
        "machines": [_machine(name) for name in shipped_machines()],
        "cores": [_core(name) for name in shipped_cores()],
        "kernels": [_kernel(kernel) for kernel in KERNELS.values()],
        "formats": [_format(value) for value in FORMATS.values()],
        "backends": [{"name": value.name, "summary": value.summary} for value in BACKENDS.values()],
        "studies": [{"name": name} for name in shipped_studies()],
        "publications": [{"name": name} for name in REPRODUCTIONS],
    }
    if as_json:
        print_json(document)
        return
    for title, rows in document.items():
        columns = {
            key.replace("_", " "): "left" if isinstance(value, str) else "right" for key, value in rows[0].items()
        }
        print_table(title.capitalize(), columns, [[_text(value) for value in row.values()] for row in rows])


def _model(name: str) -> dict[str, Any]:
    architecture = load_model_architecture(name)
    return {
        "name": name,
        "projection_weights": architecture.projection_weights,
        "weight_format": architecture.weight_format,
        "layers": architecture.layers,
        "context_tokens": architecture.context_tokens,
        "checkpoint": "shipped" if shipped_models()[name].is_dir() else "shapes only",
    }


def _format(number_format: Format) -> dict[str, Any]:
    return {
        "name": number_format.name,
        "bits": number_format.bits,
        "bits_per_value": number_format.bits_per_value(*_USUAL_SHAPE),
        "kind": number_format.kind,
        "source": number_format.source,
    }


def _machine(name: str) -> dict[str, Any]:
    machine = load_machine(name)
    return {
        "name": name,
        "lanes": machine.lanes,
        "clock_ghz": machine.clock_ghz,
        "area_um2": machine.area_um2,
        "description": machine.description,
    }


def _core(name: str) -> dict[str, Any]:
    core = load_core(name)
    features = " ".join(core.features)
    return {
        "name": name,
        "cores": core.cores,
        "clock_ghz": core.clock_ghz,
        "features": features,
        "description": core.description,
    }


def _kernel(kernel: CpuKernel) -> dict[str, Any]:
    return {"name": kernel.name, "features": " ".join(sorted(kernel.features)), "source": kernel.source}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"
