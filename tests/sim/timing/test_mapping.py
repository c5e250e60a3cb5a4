"""Tilings: they fit, they compute everything once, and they load what the loops say."""

import numpy as np
import pytest
from conftest import machine_of
from hypothesis import given
from hypothesis import strategies as st

from isa import FORMATS, InputError
from sim.timing.analytic import time_tiles
from sim.timing.mapping import _candidates, map_matrix, map_stream
from sim.timing.tiles import HALVES
from sim.timing.tiling import ArrayJob, MatrixProduct, expand

sizes = st.integers(1, 3000)
products = st.builds(
    MatrixProduct,
    m=st.integers(1, 300),
    k=sizes,
    n=sizes,
    copies=st.integers(1, 3),
    input_bits=st.sampled_from([8, 16]),
    weight_bits=st.integers(1, 16),
    output_bits=st.just(16),
    input_on_chip=st.booleans(),
    output_on_chip=st.booleans(),
)
kinds = st.sampled_from(["mac", "lut", "bit-serial"])
TERNARY = FORMATS["ternary"]


def ceil(a, b):
    return -(-a // b)


@given(product=products, kind=kinds, scratchpad=st.sampled_from([32768, 65536, 1 << 20]))
def test_a_tiling_fits_half_of_every_scratchpad_and_computes_everything_once(product, kind, scratchpad):
    fields = {f"buffers.{name}_bytes": scratchpad for name in ("activation", "weight", "output")}
    machine = machine_of(kind, **fields)
    job = ArrayJob(machine.compute, product, TERNARY)
    tiling = map_matrix(machine, job)
    m, k, n = (
        min(pair)
        for pair in ((tiling.cut.tile_m, product.m), (tiling.cut.tile_k, product.k), (tiling.cut.tile_n, product.n))
    )
    assert m * k * product.input_bits / 8 <= scratchpad / HALVES
    assert k * n * product.weight_bits / 8 <= scratchpad / HALVES
    assert m * n * 4 <= scratchpad / HALVES
    cycles = product.copies * job.busy_cycles
    assert tiling.tiles.compute_cycles.sum() == cycles
    assert (tiling.tiles.compute_cycles > 0).all()


@given(product=products, kind=kinds)
def test_traffic_is_never_below_what_must_move(product, kind):
    machine = machine_of(kind)
    job = ArrayJob(machine.compute, product, TERNARY)
    tiling = map_matrix(machine, job)
    weights = product.copies * product.k * product.n * product.weight_bits / 8
    inputs = 0 if product.input_on_chip else product.copies * product.m * product.k * product.input_bits / 8
    outputs = 0 if product.output_on_chip else product.copies * product.m * product.n * product.output_bits / 8
    assert tiling.weight_load_bytes >= weights
    assert tiling.input_load_bytes >= inputs
    assert tiling.tiles.load_bytes.sum() == tiling.weight_load_bytes + tiling.input_load_bytes
    assert outputs <= tiling.tiles.store_bytes.sum() <= outputs + len(tiling.tiles.store_bytes)


@given(product=products)
def test_reloads_follow_the_loop_order(product):
    """Replays the loops one by one, keeping the last tile of each operand."""
    machine = machine_of("mac", **{"buffers.weight_bytes": 8192, "buffers.output_bytes": 8192})
    job = ArrayJob(machine.compute, product, TERNARY)
    tiling = map_matrix(machine, job)
    rows = range(ceil(product.m, tiling.cut.tile_m))
    columns = range(ceil(product.n, tiling.cut.tile_n))
    inner = range(ceil(product.k, tiling.cut.tile_k))
    outer = (
        [(r, c) for r in rows for c in columns] if tiling.cut.order == "mn" else [(r, c) for c in columns for r in rows]
    )
    weight_bytes, last = 0, None
    for _, column in outer:
        for step in inner:
            if last != (column, step):
                k = min(tiling.cut.tile_k, product.k - step * tiling.cut.tile_k)
                n = min(tiling.cut.tile_n, product.n - column * tiling.cut.tile_n)
                weight_bytes += ceil(k * n * product.weight_bits, 8)
            last = (column, step)
    assert tiling.weight_load_bytes == product.copies * weight_bytes


@given(
    rows=st.integers(1, 9), inputs=st.integers(1, 700), outputs=st.integers(1, 300), seed=st.integers(0, 99),
    serial=st.sampled_from(["weights", "activations"]),
)  # fmt: skip
def test_cycles_from_operands_are_the_same_in_any_tiling(rows, inputs, outputs, seed, serial):
    machine = machine_of("bit-serial", **{"compute.serial": serial, "compute.synchronization_groups": 4})
    random = np.random.default_rng(seed)
    shape = (outputs, inputs) if serial == "weights" else (rows, inputs)
    codes = random.integers(-1, 2, shape).astype(np.int8)
    source = TERNARY if serial == "weights" else FORMATS["int8-token"]
    pass_cycles, terms = machine.compute.operand_cycles(codes, source)
    assert terms == np.count_nonzero(codes)
    totals = set()
    for scratchpad in (2048, 4096, 1 << 20):
        small = machine.with_fields(
            {f"buffers.{name}_bytes": scratchpad for name in ("activation", "weight", "output")}
        )
        product = MatrixProduct(rows, inputs, outputs, 1, 8, 2, 16, False, False)
        tiling = map_matrix(small, ArrayJob(small.compute, product, TERNARY, pass_cycles))
        totals.add(int(tiling.tiles.compute_cycles.sum()))
    assert totals == {ArrayJob(machine.compute, product, TERNARY, pass_cycles).busy_cycles}
    dense = ArrayJob(machine.compute, product, TERNARY).busy_cycles
    if serial == "weights":
        assert totals.pop() <= dense


def test_all_zero_operands_take_no_cycles_and_full_ones_all():
    machine = machine_of("bit-serial")
    product = MatrixProduct(2, 512, 128, 1, 8, 2, 16, False, False)
    for value, expected in ((0, 0), (1, (2 // 2) * (512 // 4) * (128 // 64))):
        pass_cycles, _ = machine.compute.operand_cycles(np.full((128, 512), value, np.int8), TERNARY)
        assert ArrayJob(machine.compute, product, TERNARY, pass_cycles).busy_cycles == expected


def test_the_chosen_tiling_is_near_the_best_of_all_that_could_be_chosen():
    """Times every candidate exactly; the search, which estimates, must be within 10 %."""
    machine = machine_of("lut", **{"buffers.weight_bytes": 8192, "buffers.activation_bytes": 8192})
    for m, k, n in ((1, 512, 512), (64, 512, 1536), (7, 300, 130), (256, 1536, 512)):
        job = ArrayJob(machine.compute, MatrixProduct(m, k, n, 1, 8, 2, 16, False, False), TERNARY)
        candidates = _candidates(machine, job)
        cycles = [
            time_tiles(machine, expand(job, candidates.cut(index)).tiles, 0).cycles
            for index in range(len(candidates.order))
        ]
        chosen = time_tiles(machine, map_matrix(machine, job).tiles, 0).cycles
        assert len(cycles) > 50
        assert min(cycles) <= chosen <= 1.1 * min(cycles)


def test_more_tiles_than_can_be_simulated_are_refused_by_name():
    machine = machine_of("mac", **{"buffers.weight_bytes": 1024, "buffers.activation_bytes": 1024})
    huge = MatrixProduct(1 << 16, 1 << 16, 1 << 16, 1, 8, 8, 16, False, False)
    with pytest.raises(InputError, match="tiles in one operation"):
        map_matrix(machine, ArrayJob(machine.compute, huge, FORMATS["int8"]))
    with pytest.raises(InputError, match="tiles in one operation"):
        map_stream(machine, 1 << 40, 1, 1)


def test_scratchpads_too_small_for_one_tile_are_refused_by_name():
    machine = machine_of("mac", **{"buffers.weight_bytes": 256})
    with pytest.raises(InputError, match=r"machine mac: buffers"):
        map_matrix(
            machine, ArrayJob(machine.compute, MatrixProduct(1, 64, 64, 1, 8, 8, 16, False, False), FORMATS["int8"])
        )


@given(load=st.integers(0, 10**7), compute=st.integers(0, 10**6), store=st.integers(0, 10**7))
def test_streams_are_cut_into_equal_chunks_that_fit(load, compute, store):
    machine = machine_of()
    tiles = map_stream(machine, load, compute, store)
    for total, parts in ((load, tiles.load_bytes), (compute, tiles.compute_cycles), (store, tiles.store_bytes)):
        assert parts.sum() == total
        assert parts.max() - parts.min() <= 1
    assert max(tiles.load_bytes.max(), tiles.store_bytes.max()) <= machine.buffers.activation_bytes // HALVES
