"""What many tests share: the shipped model, one recorded run, the fixtures' folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from isa import FORMATS, InputError
from sim.functional import Generation, GoldenModel, Sampler, load_model, record_trace
from sim.functional.backends import BACKENDS
from workloads import Trace

# Examples share the machine with other workers: a slow one is no failure.
settings.register_profile("bitloom", deadline=None, print_blob=True)
settings.load_profile("bitloom")


def pytest_itemcollected(item: pytest.Item) -> None:
    """What runs on the backend `rtl` needs its simulation, which takes minutes to build."""
    if "rtl" in _backends_of(item):
        item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What runs in C needs a processor that has the kernel's instructions."""
    for name in _backends_of(item):
        if lacking := _lacking(name):
            pytest.skip(lacking)


def _backends_of(item: pytest.Item) -> list[str]:
    parameters = getattr(item, "callspec", None)
    values = parameters.params.values() if parameters else ()
    names = (getattr(value, "name", value) for value in values)
    return [name for name in names if isinstance(name, str) and name in BACKENDS]


@cache
def _lacking(name: str) -> str:
    """What keeps this computer from running a backend in C; nothing if nothing does."""
    if not name.startswith("native"):
        return ""
    try:
        BACKENDS[name].prepare(np.zeros((1, 128), np.int8), FORMATS["ternary"])
    except InputError as error:
        return str(error)
    return ""


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
