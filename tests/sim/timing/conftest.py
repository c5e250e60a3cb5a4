"""Machines to vary, and shapes to run on them."""

from __future__ import annotations

from typing import Any

import pytest

from sim.timing import Machine, load_machine
from sim.timing.machine import parse_machine
from workloads import Trace, load_model_architecture, shape_only_trace

KINDS: dict[str, dict[str, Any]] = {
    "lut": {"kind": "lut"},
    "bit-serial": {"kind": "bit-serial"},
    "mac": {"kind": "mac"},
}


def machine_of(kind: str = "mac", **fields: Any) -> Machine:
    """A machine of small round numbers, with fields changed by dotted path."""
    document = load_machine("int8-mac").model_dump()
    document |= {"name": kind, "compute": {"m": 2, "n": 64, "k": 4, **KINDS[kind]}}
    return parse_machine(document, "test").with_fields(fields)


@pytest.fixture(scope="session")
def small_shapes() -> Trace:
    """Prefill and decode of the shipped model's shapes."""
    return shape_only_trace(load_model_architecture("tern-18m"), prefill_tokens=24, decode_steps=2)
