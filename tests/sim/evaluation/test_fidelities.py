"""Closed form and event model agree, neither is faster than physics, and where they differ the reason is named."""

import numpy as np
import pytest

from sim.evaluation import simulate
from sim.evaluation.fidelity import AGREEMENT, MEDIAN_LIMIT, WORST_LIMIT, compare_fidelities, compare_random_pairs
from sim.timing import load_machine, shipped_machines
from workloads import load_model_architecture, shape_only_trace


def of_pairs(samples, seed):
    table = compare_random_pairs(samples, seed)
    return table, table["error"].abs()


def test_random_pairs_agree():
    table, deviation = of_pairs(30, 0)
    assert len(table) == 30
    assert deviation.median() <= MEDIAN_LIMIT
    assert deviation.max() <= WORST_LIMIT
    over = deviation > AGREEMENT
    assert set(table.loc[over, "reason"]) <= {"fill", "contention", "drain"}
    assert (table.loc[~over, "reason"] == "").all()


@pytest.mark.slow
def test_two_hundred_random_pairs_agree():
    _, deviation = of_pairs(200, 0)
    assert deviation.median() <= MEDIAN_LIMIT
    assert deviation.max() <= WORST_LIMIT


@pytest.mark.parametrize("machine", shipped_machines())
def test_every_operation_of_the_shipped_model_agrees(machine):
    trace = shape_only_trace(load_model_architecture("tern-18m"), prefill_tokens=64, decode_steps=1)
    table = compare_fidelities(*(simulate(load_machine(machine), trace, item) for item in ("analytic", "event")))
    assert table["error"].abs().max() <= AGREEMENT
    assert table["count"].sum() == len(trace.operations)


def test_the_hand_limits_of_a_llama_layer_hold():
    """One Llama-2-7B layer's seven products on 128 x 128 INT8 multipliers at 128 bytes a cycle: 25,296,896 cycles of
    computation (prefill of 2048) and 1,581,056 cycles of traffic (decode) are the least possible."""
    buffers = {f"buffers.{name}_bytes": 1 << 20 for name in ("activation", "weight", "output")}
    machine = load_machine("int8-mac").with_fields(
        {
            "compute.m": 128,
            "compute.n": 128,
            "compute.k": 1,
            "dram.bandwidth_gb_per_second": 128.0 * load_machine("int8-mac").clock_ghz,
            "dram.refresh_ns": 0.0,
            **buffers,
        }
    )
    architecture = load_model_architecture("llama-2-7b")
    for prefill, decode, limit in ((2048, 0, 25_296_896), (0, 1, 1_581_056)):
        trace = shape_only_trace(architecture, prefill_tokens=prefill, decode_steps=decode, weight_format="int8")
        table = simulate(machine, trace, "analytic").operations
        cycles = table.loc[(table["layer"] == 0) & (table["kind"] == "mpgemm"), "cycles"].sum()
        assert limit <= cycles <= 1.03 * limit


@pytest.mark.parametrize("fidelity", ["analytic", "event"])
def test_no_operation_is_faster_than_its_traffic_or_its_products(small_shapes, fidelity):
    machine = load_machine("int8-mac")
    table = simulate(machine, small_shapes, fidelity).operations
    assert table["utilization"].between(0, 1).all()
    moved = table["dram_read_bytes"] + table["dram_write_bytes"]
    assert (table["cycles"] >= np.floor(moved / machine.dram_bytes_per_cycle) - 1).all()
    macs = (table["batch"] * table["m"] * table["k"] * table["n"]).where(table["kind"] == "mpgemm", 0)
    assert (table["cycles"] >= macs / machine.compute.lanes).all()
