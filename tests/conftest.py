"""What many tests share: the shipped model, one recorded run, the fixtures' folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from sim.functional import Generation, GoldenModel, Sampler, load_model, record_trace
from workloads import Trace

# Examples share the machine with other workers: a slow one is no failure.
settings.register_profile("bitloom", deadline=None, print_blob=True)
settings.load_profile("bitloom")


def pytest_itemcollected(item: pytest.Item) -> None:
    """What runs on the backend `rtl` needs its simulation, which takes minutes to build."""
    parameters = getattr(item, "callspec", None)
    values = parameters.params.values() if parameters else ()
    names = (getattr(value, "name", value) for value in values)
    if any(isinstance(name, str) and name == "rtl" for name in names):
        item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Recorded data: see its README."""
    return Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def tern_18m() -> GoldenModel:
    """The shipped model."""
    return load_model("tern-18m")


@pytest.fixture(scope="session")
def recorded(tern_18m: GoldenModel) -> tuple[Generation, Trace]:
    """A short recorded run of two prompts of different lengths."""
    return record_trace(tern_18m, [[51, 942, 337, 1075, 3690], [532, 259]], 4, Sampler.greedy(), texts=["a", "b"])
