"""A core on which cycles can be counted by hand."""

from __future__ import annotations

from typing import Any

from sim.timing.cpu.core import Core, core_of

_BY_HAND = {"source": "by hand"}


def small_core(**changes: Any) -> Core:
    """Two pipes A and B and one for each of loads, stores and integers; four dispatched a cycle, a buffer of 64."""
    document: dict[str, Any] = {
        "name": "small",
        "description": "a core of tests",
        "clock_ghz": 1.0,
        "cores": 4,
        "features": ["avx2"],
        "vector_bytes": 32,
        "dispatch_width": 4,
        "reorder_buffer": 64,
        "pipes": ["A", "B", "L", "S", "I"],
        "loads": {
            "pipes": ["L"], "store_pipes": ["S"], "bytes": 32, "latency_cycles": 5, "line_split_cycles": 1, **_BY_HAND,
        },
        "caches": [
            {"name": "L1", "size_bytes": 4096, "gb_per_second": 64.0, "latency_ns": 5.0, **_BY_HAND},
            {
                "name": "L2", "size_bytes": 65536, "gb_per_second": 32.0, "latency_ns": 15.0, "exposed_share": 0.5,
                **_BY_HAND,
            },
        ],
        "dram": {
            "gb_per_second": 8.0, "total_gb_per_second": 16.0, "latency_ns": 100.0, "streams_of_a_page": 1, **_BY_HAND,
        },
        "instructions": {
            "integer": {"pipes": ["I"], "latency_cycles": 1, **_BY_HAND},
            "vpaddw": {"pipes": ["A", "B"], "latency_cycles": 1, **_BY_HAND},
            "vpmaddubsw": {"pipes": ["A"], "latency_cycles": 3, **_BY_HAND},
            "vpmaddwd": {"pipes": ["B"], "cycles": 2, "latency_cycles": 4, **_BY_HAND},
        },
        **_BY_HAND,
    }  # fmt: skip
    return core_of(document | changes, "tests")
