"""Analytic and event timing: neither is faster than physics, and they agree where work fits the double buffer."""

import numpy as np
import pytest
from varied_machines import machine_of
from hypothesis import given, settings
from hypothesis import strategies as st

from isa import FORMATS
from sim.evaluation import simulate
from sim.timing import load_machine, shipped_machines
from sim.timing.analytic import time_tiles, transfer_cycles
from sim.timing.event import simulate_tiles
from sim.evaluation.fidelity import AGREEMENT, compare_fidelities
from sim.timing.tiles import Tiles
from workloads import load_model_architecture, shape_only_trace

tile_lists = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(0, 3000), st.integers(0, 20_000)), min_size=1, max_size=25
).map(lambda rows: Tiles(*(np.array(column, np.int64) for column in zip(*rows, strict=True))))


@pytest.mark.parametrize("timing", [time_tiles, simulate_tiles])
@given(tiles=tile_lists, latency=st.integers(0, 300))
def test_no_run_is_faster_than_its_computation_or_its_traffic(timing, tiles, latency):
    machine = machine_of("mac", **{"dram.latency_ns": float(latency)})
    timed = timing(machine, tiles, 5)
    loads = transfer_cycles(machine, tiles.load_bytes)
    stores = transfer_cycles(machine, tiles.store_bytes)
    assert timed.cycles >= tiles.compute_cycles.sum() + 5
    assert timed.cycles >= loads.sum() + stores.sum()
    first = loads[0] + (latency if loads[0] else 0)
    assert timed.cycles >= first + tiles.compute_cycles[0]
    assert min(timed.fill_cycles, timed.compute_cycles, timed.stall_cycles, timed.drain_cycles) >= 0
    assert timed.compute_cycles == tiles.compute_cycles.sum()


@given(tiles=tile_lists)
def test_the_closed_form_never_claims_more_time_than_the_simulation_needs(tiles):
    """All of its terms are chains of dependences or work of one channel, which the simulation obeys; stores that drain
    last and were delayed are what it leaves out."""
    machine = machine_of()
    assert time_tiles(machine, tiles, 0).cycles <= simulate_tiles(machine, tiles, 0).cycles


@given(
    load=st.integers(0, 60_000), compute=st.integers(1, 6000), store=st.integers(0, 60_000), count=st.integers(1, 60)
)
def test_equal_tiles_agree_within_five_percent(load, compute, store, count):
    """Dense work that fits the double buffer: all tiles alike. Where the memory channel is asked for just what the
    array needs or up to a third more, loads and stores meet at the wrong moment, which the closed form does not see."""
    machine = machine_of()
    tiles = Tiles(*(np.full(count, value, np.int64) for value in (load, compute, store)))
    analytic, event = time_tiles(machine, tiles, 8).cycles, simulate_tiles(machine, tiles, 8).cycles
    transfers = sum(int(transfer_cycles(machine, np.array([size]))[0]) for size in (load, store))
    balanced = 0.95 < transfers / compute < 1.35
    one_tile = transfers + compute + machine.dram_latency_cycles
    assert abs(analytic - event) <= max((0.12 if balanced else AGREEMENT) * event, one_tile)


@pytest.mark.parametrize("machine", shipped_machines())
@pytest.mark.parametrize(
    ("model", "prefill", "decode", "weight_format"),
    [("tern-18m", 64, 2, None), ("llama-2-7b", 128, 1, "int4"), ("bitnet-2b4t", 128, 1, None)],
)
def test_shipped_machines_agree_within_five_percent_on_every_operation(machine, model, prefill, decode, weight_format):
    trace = shape_only_trace(
        load_model_architecture(model), prefill_tokens=prefill, decode_steps=decode, weight_format=weight_format
    )
    results = [simulate(load_machine(machine), trace, fidelity) for fidelity in ("analytic", "event")]
    table = compare_fidelities(*results)
    assert table["error"].abs().max() <= AGREEMENT
    assert table["count"].sum() == len(trace.operations)
    assert (table["reason"] == "").all()


def test_the_comparison_names_contention_where_stores_hold_loads_up(small_shapes):
    machine = machine_of("mac", **{"buffers.output_bytes": 1024, "buffers.activation_bytes": 1024})
    table = compare_fidelities(simulate(machine, small_shapes, "analytic"), simulate(machine, small_shapes, "event"))
    outside = table[table["error"].abs() > AGREEMENT]
    assert len(outside)
    assert set(outside["reason"]) <= {"fill", "contention", "drain"}
    assert "contention" in set(outside["reason"])


@settings(max_examples=25)
@given(
    kind=st.sampled_from(["mac", "lut", "bit-serial"]),
    m=st.sampled_from([1, 2, 8, 32]),
    n=st.sampled_from([16, 64, 256]),
    k=st.sampled_from([1, 4, 8]),
    bandwidth=st.sampled_from([1.0, 25.6, 400.0]),
    scratchpad=st.sampled_from([65536, 1 << 20]),
    prefill=st.integers(1, 40),
)
def test_any_machine_keeps_to_physics(kind, m, n, k, bandwidth, scratchpad, prefill):
    """Peers have printed cycles below the minimum and more than 100 % utilization: ours must not."""
    fields = {f"buffers.{name}_bytes": scratchpad for name in ("activation", "weight", "output")}
    machine = machine_of(
        kind, **{"compute.m": m, "compute.n": n, "compute.k": k, "dram.bandwidth_gb_per_second": bandwidth}, **fields
    )
    trace = shape_only_trace(load_model_architecture("tern-18m"), prefill_tokens=prefill, decode_steps=1)
    for fidelity in ("analytic", "event"):
        result = simulate(machine, trace, fidelity)
        table = result.operations
        assert table["utilization"].between(0, 1).all()
        assert 0 < result.utilization <= 1
        moved = table["dram_read_bytes"] + table["dram_write_bytes"]
        assert (table["cycles"] >= moved / machine.dram_bytes_per_cycle - 1).all()
        macs = (table["batch"] * table["m"] * table["k"] * table["n"]).where(table["kind"] == "mpgemm", 0)
        # No pass is faster than one cycle a weight bit plane (LUT), a term (bit-serial) or a product (MAC).
        least = macs * machine.compute.pass_cycles(FORMATS["ternary"]) / machine.compute.lanes
        assert (table["cycles"] >= least).all()
        assert (table["energy_pj"] > 0).all()
        parts = table[["fill_cycles", "compute_cycles", "stall_cycles", "drain_cycles"]].sum(axis=1)
        assert (parts == table["cycles"]).all()


def test_the_hand_limits_of_a_llama_layer_hold():
    """One Llama-2-7B layer's seven products on 128 x 128 INT8 multipliers at 128 bytes a cycle: 25,296,896 cycles of
    computation (prefill of 2048) and 1,581,056 cycles of traffic (decode) are the least possible."""
    machine = machine_of(
        "mac",
        **{"compute.m": 128, "compute.n": 128, "compute.k": 1, "dram.bandwidth_gb_per_second": 128.0},
        **{f"buffers.{name}_bytes": 1 << 20 for name in ("activation", "weight", "output")},
    )
    architecture = load_model_architecture("llama-2-7b")
    for prefill, decode, limit in ((2048, 0, 25_296_896), (0, 1, 1_581_056)):
        trace = shape_only_trace(architecture, prefill_tokens=prefill, decode_steps=decode, weight_format="int8")
        for fidelity in ("analytic", "event"):
            table = simulate(machine, trace, fidelity).operations
            cycles = table.loc[(table["layer"] == 0) & (table["kind"] == "mpgemm"), "cycles"].sum()
            assert limit <= cycles <= 1.03 * limit
