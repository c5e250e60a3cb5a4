"""Mapping reports: what they say of a product follows from its programs and its time."""

import json

import pytest
from hypothesis import given, settings
from lowering_cases import SHIPPED, cases, lowered_case

from isa.instructions.types import ACTIVATION_TYPES, WEIGHT_TYPES
from sim.functional.interpreter import counts_of
from sim.lowering import lower
from sim.lowering.report import mapping_report
from sim.timing import load_machine
from sim.timing.product import MatrixProduct, Scaling

INT8, TERNARY = ACTIVATION_TYPES["int8"], WEIGHT_TYPES["ternary"]


@settings(max_examples=60)
@given(case=cases())
def test_a_report_agrees_with_programs_and_machine_for_any_product(case):
    lowered = lowered_case(case)
    report = mapping_report(lowered)
    programs = [*lowered.programs, *([lowered.tables.program] if lowered.tables else [])]
    counts = [counts_of(program) for program in programs]
    assert report.moved_bytes == sum(item.memory_read_bytes + item.memory_written_bytes for item in counts)
    assert all(item.least_bytes > 0 for item in report.traffic)
    assert all(item.used_bytes <= item.size_bytes for item in report.scratchpads)
    assert report.busy_cycles[report.bound_by] == max(report.busy_cycles.values())
    assert 1 <= report.timed <= report.considered
    assert report.fastest_cycles <= report.cycles
    assert (report.table_redundancy is None) == (not case.unit.looks_up_tables)
    assert report.table_redundancy is None or report.table_redundancy >= 1
    document = report.to_document()
    assert json.loads(json.dumps(document)) == document | {
        "array": list(report.array),
        "traffic": list(document["traffic"]),
        "scratchpads": list(document["scratchpads"]),
    }


@settings(max_examples=60)
@given(case=cases())
def test_nothing_moves_less_than_once_but_what_tables_replace(case):
    """One core moves every operand at least once; several share what they all read, which each loads."""
    for item in mapping_report(lowered_case(case)).traffic:
        assert item.moved_bytes >= item.least_bytes


def test_decoding_is_bound_by_the_channel_and_moves_weights_once():
    machine = load_machine(SHIPPED["lut"])
    product = MatrixProduct(1, 4096, 4096, 1, INT8, WEIGHT_TYPES["int8"], "fp16", Scaling("row"))
    report = mapping_report(lower(machine, machine.compute, product))
    assert report.bound_by == "channel"
    weights = next(item for item in report.traffic if item.operand == "weights")
    assert weights.moved_bytes == weights.least_bytes == 4096 * 4096


def test_prefill_is_bound_by_the_array():
    machine = load_machine(SHIPPED["mac"])
    product = MatrixProduct(256, 512, 512, 1, INT8, WEIGHT_TYPES["int8"], "fp16", Scaling("row"))
    report = mapping_report(lower(machine, machine.compute, product))
    assert report.bound_by == "array"
    assert report.array_cycles == 128 * 128 * 8
    assert report.table_redundancy is None


@pytest.mark.parametrize(("precompute", "factor"), [("none", 8.0), ("separate", 1.0)])
def test_redundancy_is_how_often_each_table_is_made(precompute, factor):
    machine = load_machine(SHIPPED["lut"]).with_fields({"compute.precompute": precompute})
    product = MatrixProduct(4, 256, 512, 1, INT8, TERNARY, "fp16", Scaling("row"))
    report = mapping_report(lower(machine, machine.compute, product))
    assert report.table_redundancy == factor
    assert ("tables" in {item.operand for item in report.traffic}) == (precompute == "separate")


def test_the_text_says_what_the_report_holds():
    machine = load_machine(SHIPPED["lut"])
    product = MatrixProduct(4, 1536, 512, 2, INT8, TERNARY, "fp16", Scaling("row"))
    report = mapping_report(lower(machine, machine.compute, product))
    text = report.to_text()
    for expected in (
        "[4 x 1,536] x [1,536 x 512], 2 copies",
        "lut m2n64k4 of lut-m2n64k4",
        f"{report.cycles:,} cycles, bound by {report.bound_by}",
        f"m: {report.tiles_m:,} x {report.tile_m:,}",
        f"{report.considered:,} cuts fit, {report.timed:,} timed",
    ):
        assert expected in text
