"""The store engine as a unit that is mutated: the claims of `test_store_engine`.

Hypothesis would look for the smallest commands that show each fault; here the first will do.
"""

from __future__ import annotations

import ctypes
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import store_library
import test_store_engine as claims
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutation_runs import Target, claims_of, on_own_driver
from store_library import CONFIGURATION

from rtl.engines.store import StoreEngine

__all__ = ["STORE_ENGINE"]

_FIRST_FAULT = settings(
    max_examples=200,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def _bench(path: Path) -> None:
    library = ctypes.CDLL(str(path))
    library.run.restype = ctypes.c_int64
    with patch.object(store_library, "_library", return_value=library):
        # Those that need no search first: they find nearly everything.
        for claim in claims_of(claims):
            claim()
        seeds, paces, latencies = st.integers(0, 1 << 32), claims.paces, st.sampled_from([0, 3, 40])
        _search(claims.test_rows_are_converted_and_written, claims.overwriting(), seeds, paces, paces, latencies)
        _search(claims.test_rows_are_added_to_what_is_there, claims.adding(), seeds, paces, latencies)


def _search(test: Any, *strategies: st.SearchStrategy[Any]) -> None:
    _FIRST_FAULT(seed(1)(given(*strategies)(test.hypothesis.inner_test)))()


STORE_ENGINE = Target(
    partial(StoreEngine, CONFIGURATION),
    partial(on_own_driver, Path(__file__).with_name("store_bench.cpp"), _bench),
)
