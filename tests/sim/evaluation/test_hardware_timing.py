"""A trace takes simulated hardware about as long as the event model of that hardware; another machine is refused."""

from __future__ import annotations

import pytest
from small_unit import small_hardware

from isa import InputError
from sim.evaluation import simulate
from sim.timing import load_machine
from workloads import load_model_architecture, shape_only_trace


def test_operations_take_the_event_models_time():
    machine = small_hardware("lut").machine
    trace = shape_only_trace(load_model_architecture("tern-18m"), prefill_tokens=3, decode_steps=1, context_tokens=8)
    measured, modelled = (simulate(machine, trace, fidelity).operations for fidelity in ("rtl", "event"))
    on_array = measured["kind"] == "mpgemm"
    error = (measured["cycles"] / modelled["cycles"] - 1).abs()
    assert 0 < error[on_array].max() <= 0.03
    assert (error[~on_array] == 0).all()
    parts = measured[["fill_cycles", "compute_cycles", "stall_cycles", "drain_cycles"]]
    assert (parts.sum(axis=1) == measured["cycles"]).all()
    assert (parts >= 0).all(axis=None)


def test_a_machine_that_the_hardware_is_not_is_refused():
    trace = shape_only_trace(load_model_architecture("tern-18m"), prefill_tokens=1, decode_steps=0, context_tokens=0)
    with pytest.raises(InputError, match=r"vector\.divide_cycles"):
        simulate(load_machine("lut-m2n64k4"), trace, "rtl")
