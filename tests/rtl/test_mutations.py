"""Benches find planted faults: the few that every run plants, many kinds in every unit in the slow run."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from compiled import to_verilog
from equivalence import changes_nothing
from mutation_runs import Report, run_mutants, table_of
from mutation_targets import TARGETS
from mutations import Mutant, plant_mutants

_LEAST_SHARE_KILLED = 0.95
_LEAST_SHARE_OF_A_UNIT = 0.75
"""Wide units hold much that only one of their parts' own tests looks at: floats of every size, resets, counters."""

_QUICK = ["multiply-accumulate array", "bit-serial array that skips", "ternary array", "LUT array"]

_COUNTER = """module top(clk, rst, enable, count, idle);
  wire \\$1 ;
  wire [4:0] \\$2 ;
  wire \\$4 ;
  reg [3:0] \\$3 ;
  input clk;
  wire clk;
  output [3:0] count;
  reg [3:0] count = 4'h0;
  input enable;
  wire enable;
  output idle;
  wire idle;
  input rst;
  wire rst;
  assign \\$1  = ! enable;
  assign \\$2  = count + 1'h1;
  assign \\$4  = \\$1  & \\$1 ;
  assign idle = \\$4  ? 1'h1 : 1'h0;
  always @(posedge clk)
    count <= \\$3 ;
  always @* begin
    \\$3  = count;
    if (enable) begin
      \\$3  = \\$2 [3:0];
    end
    if (rst) begin
      \\$3  = 4'h0;
    end
  end
endmodule
"""


def _share_killed(*reports: Report) -> float:
    killed, survived = (sum(len(getattr(item, name)) for item in reports) for name in ("killed", "survived"))
    return killed / (killed + survived)


@pytest.mark.parametrize("name", _QUICK)
def test_faults_are_found(name):
    report = run_mutants(TARGETS[name], 20, seed=1)
    print(table_of({name: report}))  # noqa: T201
    assert len(report.equivalent) <= 10, report
    assert _share_killed(report) >= _LEAST_SHARE_KILLED, report


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("BITLOOM_SHORT") == "1", reason="takes an hour: not in the short form")
def test_many_faults_of_every_kind_are_found_in_all_units():
    reports = {name: run_mutants(target, target.faults, seed=2) for name, target in TARGETS.items()}
    table = table_of(reports)
    print(table)  # noqa: T201
    for name, report in reports.items():
        assert len(report.killed) + len(report.survived) >= 30, name
        assert _share_killed(report) >= _LEAST_SHARE_OF_A_UNIT, table
    assert _share_killed(*reports.values()) >= _LEAST_SHARE_KILLED, table


def test_every_line_of_a_design_takes_faults_of_its_kind():
    _, mutants = plant_mutants(_COUNTER, 100, 1)
    assert len({mutant.line for mutant in mutants}) == len(mutants) == 10
    kinds = {mutant.kind for seed in range(40) for mutant in plant_mutants(_COUNTER, 100, seed)[1]}
    assert kinds == {
        *("dropped inversion", "subtraction for addition", "or for and", "swapped choice", "constant off by one"),
        *("inverted condition", "condition never", "condition always", "bit stuck at 0", "bit stuck at 1"),
    }


def test_faults_are_those_of_the_seed():
    text = to_verilog(TARGETS["ternary array"].component())
    assert plant_mutants(text, 30, 5) == plant_mutants(text, 30, 5)
    assert plant_mutants(text, 30, 5)[1] != plant_mutants(text, 30, 6)[1]
    assert len({mutant.kind for mutant in plant_mutants(text, 30, 5)[1]}) >= 12


@pytest.mark.parametrize(
    ("kind", "end", "harmless"),
    [
        ("or for and", "\\$1", True),  # of a condition and itself
        ("bit stuck at 1", "5'h10", True),  # of five bits that are computed four are kept
        ("bit stuck at 1", " 5'h1", False),
        ("inverted condition", "!(rst )", False),
        ("constant off by one", "4'h1", False),
    ],
)
def test_faults_that_change_nothing_are_told_from_those_that_do(kind, end, harmless):
    text, number = _planted(_COUNTER, lambda mutant: mutant.kind == kind and mutant.after.endswith(end))
    assert changes_nothing(text, number, "top") == harmless
    assert changes_nothing(text, 0, "top")


_TWO_MODULES = """module top(clk, rst, data, place, out);
  input clk, rst;
  input [3:0] data;
  input [1:0] place;
  output [3:0] out;
  wire [3:0] \\$1 ;
  assign \\$1  = data | data;
  \\top.store  store (
    .clk(clk),
    .data(\\$1 ),
    .place(place),
    .out(out)
  );
endmodule
module \\top.store (clk, data, place, out);
  input clk;
  input [3:0] data;
  input [1:0] place;
  output [3:0] out;
  reg [3:0] memory [3:0];
  wire [3:0] \\$1 ;
  wire [3:0] \\$2 ;
  assign \\$1  = data ^ 4'h3;
  assign \\$2  = place + 4'h4;
  always @(posedge clk)
    memory[\\$2 [1:0]] <= \\$1 ;
  assign out = memory[place];
endmodule
"""


@pytest.mark.parametrize(
    ("module", "kind", "harmless"),
    [
        ("top", "and for or", True),  # of what is the same
        ("top", "bit stuck at 1", False),
        ("top.store", "or for exclusive or", False),
        ("top.store", "subtraction for addition", True),  # of four, of which two bits are kept
        ("top.store", "constant off by one", False),
    ],
)
def test_what_goes_into_a_memory_or_a_module_counts(module, kind, harmless):
    text, number = _planted(_TWO_MODULES, lambda mutant: (mutant.module, mutant.kind) == (module, kind))
    assert changes_nothing(text, number, module) == harmless


def _planted(design: str, wanted: Callable[[Mutant], bool]) -> tuple[str, int]:
    """A design with such a fault, and its number."""
    planted = (plant_mutants(design, 100, seed) for seed in range(100))
    return next((text, mutant.number) for text, mutants in planted for mutant in mutants if wanted(mutant))
