"""A compiled store engine between scratchpads and a memory that hesitates, in one call. No tests are here."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from compiled import to_verilog
from engine_bench import Command
from numpy.typing import NDArray

from isa.instructions.types import Space
from isa.program import Unit
from rtl.commands import command_layout
from rtl.configuration import Configuration
from rtl.engines.store import StoreEngine
from rtl.simulation import build_library

__all__ = ["CONFIGURATION", "SPACES", "Trace", "run"]

CONFIGURATION = Configuration(
    unit=Unit("lut", 2, 8, 4, 1024, 1024, 768, 4096, 512), weight_bits=2, bus_bytes=8, outstanding_reads=16
)
SPACES: tuple[Space, ...] = ("memory", "activation", "accumulator", "table")

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Trace:
    """What happened.

    Parameters
    ----------
    accepted, done : int64 [count]
        Cycles, for each command.
    errors : list of int
        Codes in their order, the first `count` of them.
    beats, first_beat, last_beat : int
        Beats written to memory, and when the first and the last were.
    """

    accepted: NDArray[np.int64]
    done: NDArray[np.int64]
    errors: list[int]
    beats: int
    first_beat: int
    last_beat: int


def run(
    commands: Sequence[Command],
    contents: Mapping[Space, Bytes],
    *,
    seed: int = 0,
    idle: float = 0,
    stall: float = 0,
    latency_cycles: int = 0,
    reset_at: int = -1,
) -> Trace:
    """Execute commands; the contents of memory and of the activation scratchpad are changed in place.

    A command is offered with a probability of 1 - `idle` a cycle, and every channel of the memory is ready with 1 -
    `stall`. After a reset in cycle `reset_at`, in which the memory forgets what it was about, all commands come again.
    """
    words = -(-command_layout("store").size // 32)
    given = np.frombuffer(b"".join(item.payload.to_bytes(4 * words, "little") for item in commands), np.uint32).copy()
    accepted, done = (np.full(len(commands), -1, np.int64) for _ in range(2))
    errors = np.zeros(len(commands), np.uint8)
    request = _Run(
        given.ctypes.data,
        *(len(commands), words),
        *(contents[space].ctypes.data for space in SPACES),
        *(len(contents[space]) for space in SPACES),
        CONFIGURATION.bus_bytes,
        *(array.ctypes.data for array in (accepted, done, errors)),
        *(seed, idle, stall, latency_cycles, reset_at, 400_000),
    )
    broken = _library().run(ctypes.byref(request))
    assert broken >= 0, "the commands never ended"
    assert broken == 0, "accesses beyond a scratchpad, or rules of the memory port broken"
    codes = [int(code) for code in errors if code]
    return Trace(accepted, done, codes, request.beats, request.first_beat, request.last_beat)


class _Run(ctypes.Structure):
    _fields_: Any = (
        ("commands", ctypes.c_void_p),
        *((name, ctypes.c_size_t) for name in ("count", "words")),
        *((name, ctypes.c_void_p) for name in SPACES),
        *((f"{name}_bytes", ctypes.c_size_t) for name in (*SPACES, "bus")),
        *((name, ctypes.c_void_p) for name in ("accepted", "done", "errors")),
        ("seed", ctypes.c_uint64),
        *((name, ctypes.c_double) for name in ("idle", "stall")),
        *((name, ctypes.c_int64) for name in ("latency", "reset_at", "limit", "beats", "first_beat", "last_beat")),
    )


@cache
def _library() -> ctypes.CDLL:
    with TemporaryDirectory() as folder:
        source = Path(folder) / "top.v"
        source.write_text(to_verilog(StoreEngine(CONFIGURATION)))
        library = ctypes.CDLL(str(build_library([source], "top", Path(__file__).with_name("store_bench.cpp"))))
    library.run.restype = ctypes.c_int64
    return library
