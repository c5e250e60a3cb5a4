"""A small unit in a simulation that counts how often every line, branch and bit of it was used."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from amaranth.back import verilog
from small_unit import OpenDevice, SmallKind, small_hardware

import rtl
from rtl.driver import MemoryTiming
from rtl.simulation import LIBRARY, build_simulation
from rtl.top import Top

__all__ = ["CountingDevice", "counting_device"]

_TOP = "top"
_DRIVER = Path(rtl.__path__[0]) / "driver.cpp"
_WRITE = """
#include "verilated_cov.h"
extern "C" void bitloom_write_coverage(Device* device, const char* path) {
    device->context.coveragep()->write(path);
}
"""
_COUNTING = replace(
    LIBRARY,
    options=(*LIBRARY.options, "--coverage-line", "--coverage-toggle"),
    variables=("OPT_FAST=-O1", "OPT_GLOBAL=-O1", "OPT_SLOW=-O0"),
)


class CountingDevice(OpenDevice):
    """A device that counts."""

    def write_coverage(self, path: Path) -> None:
        """Write what was counted since the device was made (`verilator_coverage.read_coverage`)."""
        write = self._library.bitloom_write_coverage
        write.argtypes, write.restype = (ctypes.c_void_p, ctypes.c_char_p), None
        write(self._handle, str(path).encode())


def counting_device(kind: SmallKind, memory: MemoryTiming) -> CountingDevice:
    """The small unit of a kind, built for counting."""
    hardware = small_hardware(kind)
    with TemporaryDirectory(prefix="bitloom-counting-") as name:
        source, driver = Path(name) / "top.v", Path(name) / "driver.cpp"
        top = Top(hardware.configuration)
        source.write_text(verilog.convert(top, name=_TOP, emit_src=False, strip_internal_attrs=True))
        driver.write_text(_DRIVER.read_text() + _WRITE)
        library = build_simulation([source], _TOP, driver, _COUNTING)
    return CountingDevice(library, hardware.configuration, memory)
