"""`bitloom map`, as users and scripts rely on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from isa import read_program

SHAPES = ("--machine", "lut-m2n64k4", "--model", "tern-18m")


def bitloom_map(*arguments, code=0, cwd=None):
    command = [Path(sys.executable).parent / "bitloom", "map", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=300, cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_help_has_examples():
    assert "bitloom map --machine" in " ".join(bitloom_map("--help")[0].replace("│", " ").split())


def test_every_distinct_product_is_mapped_once_and_those_of_the_same_tables_together():
    document = json.loads(bitloom_map(*SHAPES, "--prefill", 16, "--decode", 1, "--json")[0])
    products = {(item["phase"], item["operation"]): item for item in document["products"]}
    assert len(products) == len(document["products"])
    fused = products["decode", "self_attn.q_proj + self_attn.k_proj + self_attn.v_proj"]
    assert (fused["m"], fused["k"], fused["n"], fused["count"]) == (1, 512, 768, 6)
    assert products["prefill", "mlp.down_proj"]["m"] == 16
    assert ("decode", "head") in products
    assert all(item["bound_by"] in ("array", "tables", "channel", "scale", "latency") for item in products.values())


def test_the_table_names_every_product():
    text, _ = bitloom_map(*SHAPES, "--decode", 1)
    assert all(name in text for name in ("mlp.gate_proj", "mlp.down_proj", "self_attn.scores", "cycles", "bound by"))


def test_one_operation_is_reported_in_full_and_its_program_written(tmp_path):
    path = tmp_path / "new" / "down.bin"
    text, said = bitloom_map(*SHAPES, "--decode", 1, "--layer-operation", "mlp.down_proj", "--program", path)
    assert "[1 x 1,536] x [1,536 x 512]" in text
    assert "each table is made" in text
    assert "program of core 0" in said
    program = read_program(path)
    assert (program.unit.kind, program.unit.m, program.unit.n, program.unit.k) == ("lut", 2, 64, 4)
    assert program.buffer("weights").size_bytes == 1536 * 512 * 2 // 8


def test_layers_of_a_fused_product_are_found_by_each_of_their_names():
    texts = {bitloom_map(*SHAPES, "--decode", 1, "--layer-operation", f"mlp.{name}_proj")[0] for name in ("gate", "up")}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((*SHAPES, "--decode", 1, "--layer-operation", "mlp.nothing"), "mlp.down_proj"),
        ((*SHAPES, "--decode", 1, "--program", "all.bin"), "--layer-operation"),
        ((*SHAPES,), "--prefill"),
        (("--machine", "nothing", "--model", "tern-18m", "--decode", 1), "lut-m2n64k4"),
    ],
)
def test_bad_input_is_named(arguments, expected, tmp_path):
    _, said = bitloom_map(*arguments, code=2, cwd=tmp_path)
    assert expected in said
    assert not list(tmp_path.iterdir())
