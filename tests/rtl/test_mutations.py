"""Benches find planted faults: the few that every run plants, many kinds in every unit in the slow run."""

from __future__ import annotations

import pytest
from compiled import to_verilog
from equivalence import changes_nothing
from mutation_targets import TARGETS, run_mutants
from mutations import plant_mutants

_LEAST_SHARE_KILLED = 0.95
_QUICK = ["multiply-accumulate array", "bit-serial array that skips"]

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


def _check(name: str, count: int, seed: int) -> None:
    report = run_mutants(TARGETS[name], count, seed)
    changing = len(report.killed) + len(report.survived)
    assert changing >= count // 2, report
    assert len(report.killed) >= _LEAST_SHARE_KILLED * changing, report
    print(report)  # noqa: T201


@pytest.mark.parametrize("name", _QUICK)
def test_faults_are_found(name):
    _check(name, count=20, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("name", list(TARGETS))
def test_many_faults_of_every_kind_are_found_in_every_unit(name, seed):
    _check(name, count=100, seed=seed)


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
    planted = (plant_mutants(_COUNTER, 100, seed) for seed in range(100))
    text, number = next(
        (text, mutant.number)
        for text, mutants in planted
        for mutant in mutants
        if mutant.kind == kind and mutant.after.endswith(end)
    )
    assert changes_nothing(text, number) == harmless
    assert changes_nothing(text, 0)
