"""The C++ driver with a unit's Verilog as a library: built, opened, and told when its memory answers.

What a host does with it is the subject of `rtl.driver`; what Verilator needs, that of `rtl.simulation`.
"""

from __future__ import annotations

import ctypes
import hashlib
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from amaranth.back import verilog
from amaranth.lib import wiring

import isa
import rtl
from rtl.configuration import Configuration
from rtl.simulation import build_library, cached_folder

__all__ = ["MemoryTiming", "check", "library_for", "library_of", "opened"]

_DRIVER = Path(__file__).with_name("driver.cpp")
_TOP = "top"
_VERILOG = f"{_TOP}.v"


class _Timing(ctypes.Structure):
    """`Timing` of driver.cpp."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("read_latency", "write_latency", "latency_jitter", "bus_cycles", "bus_beats"),
            *("stall_256ths", "seed", "fault_begin", "fault_end"),
        )
    )


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """When the memory answers.

    Reads and writes share a data bus that serves bursts of each in turn, for about 64 cycles. Answers come in the order
    of the questions.

    Parameters
    ----------
    read_latency_cycles : int
        From the address of a burst to its first beat where the bus is free, at least 1; a beat has the bus when its
        latency begins.
    write_latency_cycles : int
        From the last beat of a burst to its answer, at least 1.
    cycles_per_beat : Fraction
        At least 1.
    latency_jitter_cycles : int
        Up to so many cycles are added to a latency, at random.
    stall_probability : float
        How often each of the five channels hesitates for a cycle, at random, in steps of 1/256; below 1.
    seed : int
        Of what is random.
    faults : range
        Addresses that answer with an error; none by default. Those beyond the memory always do.

    Raises
    ------
    ValueError
        If a value is outside of its range.
    """

    read_latency_cycles: int = 1
    write_latency_cycles: int = 1
    cycles_per_beat: Fraction = Fraction(1)
    latency_jitter_cycles: int = 0
    stall_probability: float = 0.0
    seed: int = 0
    faults: range = range(0)

    def __post_init__(self) -> None:
        for name, least in (("read_latency_cycles", 1), ("write_latency_cycles", 1), ("latency_jitter_cycles", 0)):
            check(name, getattr(self, name), least, 1 << 32)
        check("seed", self.seed, 0, (1 << 64) - 1)
        if self.cycles_per_beat < 1 or max(self.cycles_per_beat.as_integer_ratio()) >> 32:
            raise ValueError(f"cycles_per_beat is {self.cycles_per_beat}, must be 1 or more, of numbers below 2^32")
        if not 0 <= self.stall_probability < 1:
            raise ValueError(f"stall_probability is {self.stall_probability}, must be at least 0 and below 1")
        if self.faults.step != 1 or not 0 <= self.faults.start <= self.faults.stop < 1 << 64:
            raise ValueError(f"faults is {self.faults}, must be addresses that follow each other")

    def structure(self) -> ctypes.Structure:
        """What driver.cpp takes."""
        bus_cycles, bus_beats = self.cycles_per_beat.as_integer_ratio()
        return _Timing(
            *(self.read_latency_cycles, self.write_latency_cycles, self.latency_jitter_cycles, bus_cycles, bus_beats),
            *(int(256 * self.stall_probability), self.seed, self.faults.start, self.faults.stop),
        )


def library_for(configuration: Configuration) -> Path:
    """The simulation of the unit of a configuration; if it is not in the cache, it is built, which takes a minute.

    Raises
    ------
    InputError
        If a tool for it is missing.
    """
    from rtl.top import Top  # imports all of the hardware, which nothing else here needs

    folder = cached_folder(f"verilog-{_sources_key(configuration)}", lambda path: _write(Top(configuration), path))
    return build_library([folder / _VERILOG], _TOP, _DRIVER)


def library_of(component: wiring.Component) -> Path:
    """The simulation of a unit with the ports `control` and `memory`, as `rtl.top.Top` has them.

    Raises
    ------
    InputError
        If a tool for it is missing.
    """
    with TemporaryDirectory(prefix="bitloom-verilog-") as name:
        _write(component, Path(name))
        return build_library([Path(name) / _VERILOG], _TOP, _DRIVER)


def _write(component: wiring.Component, folder: Path) -> None:
    (folder / _VERILOG).write_text(verilog.convert(component, name=_TOP, emit_src=False, strip_internal_attrs=True))


def _sources_key(configuration: Configuration) -> str:
    """A name for the Verilog of a configuration, without making it: a hash of everything that it is made of."""
    digest = hashlib.sha256(f"{configuration} {version('amaranth')}".encode())
    for package in (isa, rtl):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root)} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def opened(library: Path) -> ctypes.CDLL:
    """The functions `bitloom_...` of driver.cpp, with their types."""
    functions = ctypes.CDLL(str(library))
    device, word, number = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    for name, result, arguments in (
        ("create", device, (ctypes.POINTER(_Timing),)),
        ("destroy", None, (device,)),
        ("reset", None, (device, number)),
        ("attach", None, (device, device, number)),
        ("cycles", number, (device,)),
        ("violation", ctypes.c_char_p, (device,)),
        ("read", ctypes.c_int, (device, word, ctypes.POINTER(word))),
        ("write", ctypes.c_int, (device, word, word)),
        ("wait", ctypes.c_int, (device, word, word, number)),
    ):
        function = getattr(functions, f"bitloom_{name}")
        function.restype, function.argtypes = result, arguments
    return functions


def check(name: str, value: int, least: int, most: int) -> None:
    """ValueError if a number is outside of its range."""
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}, must be {least} to {most}")
