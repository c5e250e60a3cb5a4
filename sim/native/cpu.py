"""The processor at hand: which vector instructions it has, how large its last cache is, which cores may be used."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from isa import InputError

__all__ = ["allowed_cpus", "cpu_features", "last_level_cache_bytes", "require_features"]

_CPU_INFO = Path("/proc/cpuinfo")
_X86 = ("x86_64", "amd64")
_USUAL_CACHE_BYTES = 32 << 20


@cache
def cpu_features() -> frozenset[str]:
    """The flags of /proc/cpuinfo, as `avx2` and `avx512_vnni`; none where there is no such file."""
    try:
        text = _CPU_INFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return next((frozenset(value.split()) for key, _, value in lines if key.strip() == "flags"), frozenset())


def require_features(needed: Sequence[str], used_by: str) -> None:
    """Check that this processor has vector instructions.

    Raises
    ------
    InputError
        If it is no x86-64 one, or lacks some; the message names what is missing and who needs it.
    """
    machine = platform.machine()
    if machine.lower() not in _X86:
        raise InputError("this computer", "processor", machine, f"x86_64, for which {used_by} is written")
    missing = [feature for feature in needed if feature not in cpu_features()]
    if missing:
        raise InputError(
            _CPU_INFO, "flags", f"no {' and no '.join(missing)}", f"{', '.join(needed)}, which {used_by} needs"
        )


def last_level_cache_bytes() -> int:
    """Size of the largest cache that the system tells of; 32 MB where it tells of none."""
    names = ("SC_LEVEL2_CACHE_SIZE", "SC_LEVEL3_CACHE_SIZE", "SC_LEVEL4_CACHE_SIZE")
    known = [os.sysconf(name) for name in names if name in os.sysconf_names]
    return max([size for size in known if size > 0], default=_USUAL_CACHE_BYTES)


def allowed_cpus() -> list[int]:
    """Numbers of the cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))
