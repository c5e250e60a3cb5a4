"""A verilated unit as a device: a host that runs programs in a memory image, and what it then reads of the counters.

The loop over cycles is C++ (`driver.cpp`); here is the host that starts it. What a program is and what lies in its
memory is the caller's business.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rtl.axi import RESPONSE_OKAY
from rtl.configuration import Configuration
from rtl.driver_library import MemoryTiming, check, library_for, library_of, opened
from rtl.errors import ErrorCode
from rtl.registers import COUNTERS, REGISTERS, SOURCES, WORD_BYTES, Counters, Register, register

__all__ = ["Device", "DeviceError", "MemoryTiming", "library_of"]

_RESET_CYCLES = 4
_SLICE_CYCLES = 1 << 18
"""About a second of simulation: as long as an interrupt may wait."""
_STOP_CYCLES = 1 << 20
"""In which a unit has to end what is on its way."""
_MOST_CYCLES = 1 << 62


class DeviceError(RuntimeError):
    """A program that the unit could not execute to its end.

    Parameters
    ----------
    code : ErrorCode
    source : str
        Who raised it, of `rtl.registers.SOURCES`.
    position : int
        Where the front end was: an index of the program's instructions.
    """

    def __init__(self, code: ErrorCode, source: str, position: int) -> None:
        self.code, self.source, self.position = code, source, position
        reason = code.name.replace("_", " ").lower()
        super().__init__(f"{reason} ({source}), with the front end at instruction {position}")

    def __reduce__(self) -> tuple[type[DeviceError], tuple[ErrorCode, str, int]]:
        """Survive the way back from a worker process."""
        return type(self), (self.code, self.source, self.position)


class Device:
    """A unit with its memory port and control port connected, after a reset; a context manager.

    Scratchpads keep their contents from one program to the next.

    Parameters
    ----------
    library : Path
        What `library_of` has made of a unit.
    configuration : Configuration
        That of the unit.
    memory : MemoryTiming

    Raises
    ------
    ValueError
        If the registers say that the unit is another one.
    """

    def __init__(self, library: Path, configuration: Configuration, memory: MemoryTiming) -> None:
        self._library = opened(library)
        self._handle: int | None = self._library.bitloom_create(ctypes.byref(memory.structure()))
        try:
            self.reset()
            for item in REGISTERS:
                found, expected = self._read(item), item.value(configuration)
                if item.access == "constant" and found != expected:
                    raise ValueError(f"register {item.name} of {library} is {found:#x}, expected {expected:#x}")
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, configuration: Configuration, memory: MemoryTiming) -> Self:
        """A unit of that configuration; its simulation is built if it is not in the cache, which takes a minute.

        Raises
        ------
        InputError
            If a tool for it is missing.
        """
        return cls(library_for(configuration), configuration, memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the unit; a second time does nothing."""
        if self._handle is not None:
            self._library.bitloom_destroy(self._handle)
            self._handle = None

    def reset(self) -> None:
        """Make unit and memory port forget what they are doing."""
        self._library.bitloom_reset(self._open(), _RESET_CYCLES)

    @property
    def simulated_cycles(self) -> int:
        """Cycles since this device was made, those between programs included."""
        return int(self._library.bitloom_cycles(self._open()))

    def counters(self) -> Counters:
        """What was counted since the last start, of a program that has failed or is still running too."""
        return Counters(**{name: self._read(register(name)) for name in COUNTERS})

    def run(
        self,
        memory: NDArray[np.uint8],
        program_address: int,
        words: int,
        *,
        limit_cycles: int | None = None,
        progress: Callable[[int], None] | None = None,
        slice_cycles: int = _SLICE_CYCLES,
    ) -> Counters:
        """Execute a program.

        Parameters
        ----------
        memory : uint8 [bytes]
            The memory, contiguous and writable, which is changed in place; addresses beyond it answer with errors.
        program_address, words : int
            Where its instructions begin, in bytes, and how many there are.
        limit_cycles : int, optional
            When a program is stopped that has not ended.
        progress : callable, optional
            Called about every `slice_cycles` with the cycles since the start.
        slice_cycles : int
            Cycles between two chances to interrupt.

        Raises
        ------
        DeviceError
            If the unit stops with an error; `ErrorCode.ABORTED` when the limit was reached. It is ready for the next
            program.
        RuntimeError
            If the unit breaks the rules of AXI, does not answer or does not stop. It is then reset, as it is when
            anything else interrupts the run.
        ValueError
            If an argument is none that there can be.
        """
        if memory.dtype != np.uint8 or memory.ndim != 1 or not memory.flags.carray:
            raise ValueError(
                f"memory is {memory.dtype} {list(memory.shape)}, must be contiguous writable uint8 [bytes]"
            )
        check("program_address", program_address, 0, register("program_address").mask("address"))
        check("words", words, 0, register("program_words").mask("words"))
        check("slice_cycles", slice_cycles, 1, _MOST_CYCLES)
        check("limit_cycles", _MOST_CYCLES if limit_cycles is None else limit_cycles, 1, _MOST_CYCLES)
        handle = self._open()
        self._library.bitloom_attach(handle, memory.ctypes.data, memory.size)
        try:
            self._write(register("program_address"), program_address)
            self._write(register("program_words"), words)
            self._command("start")
            if not self._ends_within(limit_cycles or _MOST_CYCLES, slice_cycles, progress):
                self._command("stop")
                if not self._ends_within(_STOP_CYCLES, slice_cycles, None):
                    raise RuntimeError(f"the unit does not stop within {_STOP_CYCLES} cycles")
            return self._outcome()
        except DeviceError:
            raise
        except BaseException:
            self.reset()
            raise
        finally:
            self._library.bitloom_attach(handle, None, 0)

    def _ends_within(self, cycles: int, slice_cycles: int, progress: Callable[[int], None] | None) -> bool:
        """Whether the program has ended, after so many cycles at most."""
        status, begin = register("status"), self.simulated_cycles
        ended = 0
        while not ended and (done := self.simulated_cycles - begin) < cycles:
            mask, some = status.mask("finished", "failed"), min(slice_cycles, cycles - done)
            ended = self._library.bitloom_wait(self._handle, status.offset, mask, some)
            if ended < 0:
                raise self._broken("status")
            if progress is not None:
                progress(self.simulated_cycles - begin)
        return bool(ended)

    def _outcome(self) -> Counters:
        status = register("status")
        value = self._read(status)
        if status.extract("failed", value):
            code, source = status.extract("error", value), status.extract("source", value)
            raise DeviceError(ErrorCode(code), SOURCES[source], self._read(register("position")))
        return self.counters()

    def _command(self, name: str) -> None:
        self._write(register("control"), register("control").mask(name))

    def _read(self, item: Register) -> int:
        value, word = 0, ctypes.c_uint32()
        for number in range(item.words):
            offset = item.offset + WORD_BYTES * number
            if self._library.bitloom_read(self._open(), offset, ctypes.byref(word)) != RESPONSE_OKAY:
                raise self._broken(item.name)
            value |= word.value << 8 * WORD_BYTES * number
        return value

    def _write(self, item: Register, value: int) -> None:
        for number in range(item.words):
            word = value >> 8 * WORD_BYTES * number & (1 << 8 * WORD_BYTES) - 1
            if self._library.bitloom_write(self._open(), item.offset + WORD_BYTES * number, word) != RESPONSE_OKAY:
                raise self._broken(item.name)

    def _broken(self, name: str) -> RuntimeError:
        violation = self._library.bitloom_violation(self._handle)
        return RuntimeError(violation.decode() if violation else f"the control port refuses or ignores {name}")

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the device is closed")
        return self._handle
