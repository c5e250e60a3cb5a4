"""A compiled scale engine between scratchpads, in one call. No tests are here."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from compiled import to_verilog
from engine_bench import Command
from numpy.typing import NDArray

from isa.program import Unit
from rtl.commands import command_layout
from rtl.configuration import Configuration
from rtl.engines.scale import ScaleEngine
from rtl.simulation import build_library

__all__ = ["CONFIGURATION", "Trace", "run"]

CONFIGURATION = Configuration(
    unit=Unit("lut", 2, 8, 4, 1024, 1024, 1024, 2048, 640), weight_bits=2, scale_lanes=4, bus_bytes=8
)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Trace:
    """What happened to each command: cycles [count], -1 where it did not; codes of errors [count]."""

    accepted: NDArray[np.int64]
    done: NDArray[np.int64]
    failed: NDArray[np.int64]
    errors: NDArray[np.uint8]


def run(
    commands: Sequence[Command],
    accumulators: Bytes,
    scales: Bytes,
    *,
    seed: int = 0,
    idle: float = 0,
    reset_at: int = -1,
) -> Trace:
    """Execute commands, offered with a probability of 1 - `idle` a cycle; the accumulators are changed in place.

    After a reset in cycle `reset_at` all commands come once more.
    """
    words = -(-command_layout("scale").size // 32)
    bits = b"".join(item.payload.to_bytes(4 * words, "little") for item in commands)
    given = np.frombuffer(bits, np.uint32).copy()
    cycles = [np.full(len(commands), -1, np.int64) for _ in range(3)]
    errors = np.zeros(len(commands), np.uint8)
    request = _Run(
        _address(given),
        *(len(commands), words, _address(accumulators), _address(scales)),
        *(len(accumulators), len(scales), CONFIGURATION.scale_lanes),
        *(*map(_address, cycles), _address(errors), seed, idle, reset_at, 200_000),
    )
    violations = _library().run(ctypes.byref(request))
    assert violations == 0, (
        "the commands never ended" if violations < 0 else f"{violations} accesses or errors too many"
    )
    return Trace(*cycles, errors)


class _Run(ctypes.Structure):
    _fields_ = (
        ("commands", ctypes.c_void_p),
        *((name, ctypes.c_size_t) for name in ("count", "words")),
        *((name, ctypes.c_void_p) for name in ("accumulators", "scales")),
        *((name, ctypes.c_size_t) for name in ("accumulator_bytes", "scale_bytes", "lanes")),
        *((name, ctypes.c_void_p) for name in ("accepted", "done", "failed", "errors")),
        ("seed", ctypes.c_uint64),
        ("idle", ctypes.c_double),
        *((name, ctypes.c_int64) for name in ("reset_at", "limit")),
    )


def _address(array: NDArray[Any]) -> int:
    return array.ctypes.data


@cache
def _library() -> ctypes.CDLL:
    with TemporaryDirectory() as folder:
        source = Path(folder) / "top.v"
        source.write_text(to_verilog(ScaleEngine(CONFIGURATION)))
        library = ctypes.CDLL(str(build_library([source], "top", Path(__file__).with_name("scale_bench.cpp"))))
    library.run.restype = ctypes.c_int64
    return library
