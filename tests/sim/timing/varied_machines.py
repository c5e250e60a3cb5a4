"""Machines of small round numbers to vary in tests of machines, lowering and timing."""

from __future__ import annotations

from typing import Any

from sim.timing import Machine, load_machine
from sim.timing.machine import parse_machine

KINDS: dict[str, dict[str, Any]] = {
    "lut": {"kind": "lut"},
    "bit-serial": {"kind": "bit-serial"},
    "mac": {"kind": "mac"},
}


def machine_of(kind: str = "mac", **fields: Any) -> Machine:
    """A machine of small round numbers, with fields changed by dotted path."""
    document = load_machine("int8-mac").model_dump()
    document |= {"name": kind, "compute": {"m": 2, "n": 64, "k": 4, **KINDS[kind]}}
    document["buffers"] |= {"table_bytes": 131072}
    return parse_machine(document, "test").with_fields(fields)
