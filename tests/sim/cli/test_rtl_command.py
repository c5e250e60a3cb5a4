"""`bitloom rtl` and what else speaks of hardware, as users and scripts rely on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sim.timing import load_machine

SMALL = """
name = "small"
clock_ghz = 1.0
technology_nm = 28
[compute]
kind = "lut"
m = 2
n = 8
k = 4
[vector]
n = 2
[buffers]
activation_bytes = 4096
weight_bytes = 8192
output_bytes = 4096
table_bytes = 8192
scale_bytes = 1024
[dram]
technology = "ddr4-3200"
bandwidth_gb_per_second = 12.8
latency_ns = 50.0
"""


def bitloom(*arguments, code=0):
    command = [Path(sys.executable).parent / "bitloom", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=900)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def machine(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    assert load_machine(path).name == "small"
    return path


def test_emit_writes_verilog_that_lists_itself(machine, tmp_path):
    out = tmp_path / "verilog"
    document = json.loads(bitloom("rtl", "emit", "--machine", machine, "--out", out, "--json")[0])
    listed = (out / "files.f").read_text().split()
    assert set(listed) >= {path.name for path in out.glob("*.v")} | {"waivers.vlt"}
    assert document["modules"] == len(list(out.glob("*.v")))
    assert {item["field"] for item in document["changed"]} >= {"vector.divide_cycles", "buffers.move_bytes"}
    assert "# Control registers" in (out / "registers.md").read_text()
    assert "lmma" in (out / "instructions.md").read_text()
    # A second time it is replaced; what is something else is not.
    bitloom("rtl", "emit", "--machine", machine, "--out", out)
    (out / "notes.txt").write_text("mine")
    assert "something else" in bitloom("rtl", "emit", "--machine", machine, "--out", out, code=2)[1]
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("line", "field"),
    [("n = 8", "unit.n"), ("k = 4", "unit.k"), ("scale_bytes = 1024", "unit.scale_bytes"), ("m = 2", "unit.m")],
)
def test_what_cannot_be_built_is_said_with_its_field(machine, tmp_path, line, field):
    name = line.split()[0]
    wrong = 1001 if name == "scale_bytes" else 3
    machine.write_text(SMALL.replace(f"\n{line}\n", f"\n{name} = {wrong}\n"))
    _, error = bitloom("rtl", "emit", "--machine", machine, "--out", tmp_path / "verilog", code=2)
    assert field in error
    assert "to build it" in error
    assert not (tmp_path / "verilog").exists()


def test_hardware_is_compared_alone():
    assert "none of them with it" in bitloom("fidelity", "--rtl", "--model", "tern-18m", code=2)[1]


@pytest.mark.slow
def test_random_programs_agree_with_interpreter_and_event_model(machine):
    document = json.loads(bitloom("rtl", "test", "--machine", machine, "--samples", "30", "--json")[0])
    assert document["equal"] == document["samples"] == 30
    assert document["median_error"] <= 0.01


@pytest.mark.slow
def test_a_story_in_hardware_is_the_golden_models():
    told = ("--prompt", "Once upon a time", "--tokens", "4", "--greedy", "--json")
    ours = json.loads(bitloom("generate", "--backend", "rtl", *told)[0])
    golden = json.loads(bitloom("generate", *told)[0])
    assert ours["token_ids"] == golden["token_ids"]
    assert ours["hardware"]["cycles_per_token"] > 100_000
    assert ours["hardware"]["accumulators"] > 100_000
