"""A component as a compiled model: ports by name, and streams that move a million payloads a second at random paces.

It is for tests that need many cases or many designs. Where a testbench itself takes part, cycle by cycle, there is
`cocotb_runner`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import Value
from amaranth.lib import wiring
from numpy.typing import NDArray

from rtl.simulation import LIBRARY, SimulationKind, build_simulation

__all__ = [
    "BrokenStreamError",
    "Simulation",
    "Stream",
    "compile_component",
    "compile_verilog",
    "port_widths",
    "to_verilog",
]

Bytes = NDArray[np.uint8]

_DRIVER = Path(__file__).with_name("stream_driver.cpp")
_TOP = "top"
_RULES = {1: "valid fell before the payload was taken", 2: "the payload changed before it was taken"}


# A test spends more time on the compiler than on what it has compiled.
_QUICKLY_BUILT = SimulationKind(LIBRARY.options, ("OPT_FAST=-O1", "OPT_GLOBAL=-O1", "OPT_SLOW=-O0"))


class BrokenStreamError(AssertionError):
    """A stream of the component broke the rules of streams."""


class _StreamEnd(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("valid", "ready", "payload", "source")),
        *((name, ctypes.c_uint64) for name in ("count", "done")),
        *((name, ctypes.c_uint32) for name in ("pace", "bytes")),
        *((name, ctypes.c_void_p) for name in ("data", "cycles", "last", "mask")),
        *((name, ctypes.c_uint32) for name in ("offers", "broken")),
    )


@dataclass(frozen=True)
class Stream:
    """What an end of a stream is to move.

    Parameters
    ----------
    port : str
        Name of the stream, such as `step`.
    payloads : sequence of int, or int
        Payloads to offer; or the number of payloads to take.
    pace : float
        Probability of offering or taking in a cycle; in other cycles a source shows garbage.
    """

    port: str
    payloads: Sequence[int] | int
    pace: float = 1.0


@dataclass(frozen=True)
class Moved:
    """What a stream moved: `payloads`, and the cycle of each, counted from the begin of the exchange."""

    payloads: list[int]
    cycles: NDArray[np.uint64]


def to_verilog(component: wiring.Component) -> str:
    """The component's Verilog; its module is `top`."""
    return str(verilog.convert(component, name=_TOP, emit_src=False, strip_internal_attrs=True))


def port_widths(component: wiring.Component) -> dict[str, int]:
    """Widths of the component's ports, clock and reset among them."""
    flattened = component.signature.flatten(component)
    return {"clk": 1, "rst": 1} | {"__".join(map(str, path)): len(Value.cast(value)) for path, _, value in flattened}


def compile_component(component: wiring.Component) -> _Library:
    """Build the model of a component, or find it in the cache."""
    return compile_verilog(to_verilog(component), port_widths(component))


def compile_verilog(text: str, widths: Mapping[str, int]) -> _Library:
    """Build the model of Verilog with a module `top` of such ports, or find it in the cache."""
    names = " ".join(f"X({name.replace('__', '___05F')})" for name in widths)
    with TemporaryDirectory(prefix="bitloom-compiled-") as name:
        source, driver = Path(name) / "top.v", Path(name) / "driver.cpp"
        source.write_text(text)
        driver.write_text(f"#define PORTS {names}\n{_DRIVER.read_text()}")
        return _Library(build_simulation([source], _TOP, driver, _QUICKLY_BUILT), dict(widths))


class _Library:
    """A compiled design, of which simulations can be made."""

    def __init__(self, path: Path, widths: dict[str, int]) -> None:
        self.functions, self.widths = ctypes.CDLL(str(path)), widths
        self.functions.simulation_create.restype = ctypes.c_void_p
        self.functions.simulation_exchange.restype = ctypes.c_uint64
        for name in ("destroy", "set", "get", "bytes", "reset", "exchange"):
            getattr(self.functions, f"simulation_{name}").argtypes = {
                "destroy": [ctypes.c_void_p],
                "set": [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p],
                "get": [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p],
                "bytes": [ctypes.c_void_p, ctypes.c_int],
                "reset": [ctypes.c_void_p, ctypes.c_int],
                "exchange": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64],
            }[name]

    def simulation(self, **inputs: int) -> Simulation:
        """A new simulation after its reset, with these inputs set before."""
        return Simulation(self, inputs)


class Simulation:
    """One simulation of a compiled design; a context manager."""

    def __init__(self, library: _Library, inputs: Mapping[str, int]) -> None:
        self._functions, self._widths = library.functions, library.widths
        self._numbers = {name: number for number, name in enumerate(library.widths)}
        self._model = ctypes.c_void_p(self._functions.simulation_create())
        self._bytes = {
            name: self._functions.simulation_bytes(self._model, number) for name, number in self._numbers.items()
        }
        for name, value in inputs.items():
            self[name] = value
        self.reset()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self._functions.simulation_destroy(self._model)

    def __getitem__(self, name: str) -> int:
        value = ctypes.create_string_buffer(self._bytes[name])
        self._functions.simulation_get(self._model, self._numbers[name], value)
        return int.from_bytes(value.raw, "little")

    def __setitem__(self, name: str, value: int) -> None:
        self._functions.simulation_set(self._model, self._numbers[name], value.to_bytes(self._bytes[name], "little"))

    def reset(self, cycles: int = 2) -> None:
        """Hold the reset for some cycles."""
        self._functions.simulation_reset(self._model, cycles)

    def exchange(self, *streams: Stream, cycles: int = 1_000_000, seed: int = 1) -> list[Moved]:
        """Move payloads until all streams are done or the cycles are over; what each stream has moved, in order.

        Raises
        ------
        BrokenStreamError
            If an offer of the component was not kept up until it was taken.
        """
        ends = (_StreamEnd * len(streams))()
        arrays = [self._lay_out(end, stream) for end, stream in zip(ends, streams, strict=True)]
        self._functions.simulation_exchange(self._model, ends, len(streams), cycles, seed)
        for end, stream in zip(ends, streams, strict=True):
            if end.broken:
                raise BrokenStreamError(f"{stream.port}: {_RULES[end.broken]}")
        moved = []
        for end, (data, times, *_) in zip(ends, arrays, strict=True):
            payloads = [int.from_bytes(payload.tobytes(), "little") for payload in data[: end.done]]
            moved.append(Moved(payloads, times[: end.done]))
        return moved

    def _lay_out(self, end: _StreamEnd, stream: Stream) -> tuple[Any, ...]:
        """Fill in an end; the arrays that it points to."""
        names = {part: f"{stream.port}__{part}" for part in ("valid", "ready", "payload")}
        for part, name in names.items():
            setattr(end, part, self._numbers[name])
        size, width = self._bytes[names["payload"]], self._widths[names["payload"]]
        source = not isinstance(stream.payloads, int)
        payloads = [0] * stream.payloads if isinstance(stream.payloads, int) else stream.payloads
        packed = b"".join(payload.to_bytes(size, "little") for payload in payloads)
        data = np.frombuffer(bytearray(packed), np.uint8).reshape(len(payloads), size)
        times = np.zeros(len(payloads), np.uint64)
        last = np.zeros(size, np.uint8)
        mask = np.frombuffer(bytearray(((1 << width) - 1).to_bytes(size, "little")), np.uint8)
        end.source, end.count, end.pace, end.bytes = source, len(payloads), round(stream.pace * 65536), size
        arrays = data, times, last, mask
        for field, array in zip(("data", "cycles", "last", "mask"), arrays, strict=True):
            setattr(end, field, array.ctypes.data)
        return arrays
