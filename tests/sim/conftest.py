"""What tests of simulation share."""

from __future__ import annotations

import pytest

from workloads import Trace, load_model_architecture, shape_only_trace


@pytest.fixture(scope="session")
def small_shapes() -> Trace:
    """Prefill and decode of the shipped model's shapes."""
    return shape_only_trace(load_model_architecture("tern-18m"), prefill_tokens=24, decode_steps=2)
