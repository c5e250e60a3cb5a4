"""The command line as users and scripts rely on it: help, one JSON document, exit codes, nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim import shipped_machines

COMMANDS = [
    *("run", "generate", "perplexity", "trace", "simulate", "fidelity", "check", "inspect", "convert"),
    *("sweep", "bench", "list", "train", "isa", "map", "rtl", "measure", "advise", "reproduce"),
]
MACHINES = sorted(shipped_machines())


def bitloom(*arguments, cwd=None, code=0, **environment):
    """Run the command as a user does; returns (standard output, standard error)."""
    done = subprocess.run(
        [Path(sys.executable).parent / "bitloom", *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        cwd=cwd,
        timeout=300,
        env=os.environ | {"COLUMNS": "120"} | environment,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def document(*arguments, **options):
    return json.loads(bitloom(*arguments, "--json", **options)[0])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    text, _ = bitloom(command, "--help")
    assert "Usage: bitloom" in text
    if command == "train":
        text, _ = bitloom("train", "run", "--help")
    assert "bitloom " + command in text.replace("Usage: bitloom", "")


def test_help_and_version_name_the_project():
    text, _ = bitloom("--help")
    assert all(command in text for command in COMMANDS)
    assert bitloom("--version")[0].startswith("bitloom 0.")


def test_run_writes_a_folder_with_everything(tmp_path):
    result = document("run", "--tokens", 4, "--out", tmp_path / "runs")
    assert [machine["name"] for machine in result["machines"]] == MACHINES
    for machine in result["machines"]:
        assert machine["prefill_tokens_per_second"] > 0
        assert machine["decode_tokens_per_second"] > 0
        assert machine["energy_per_token_pj"] > 0
        assert machine["area_um2"] > 0
        assert 0 < machine["utilization"] <= 1
        assert machine["bound_by"] in ("array", "vector", "precompute", "dram", "latency")
    assert result["text"].startswith("Once upon a time")
    assert len(result["token_ids"]) == 4
    folder = Path(result["run_dir"])
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.parquet", "run.json", "trace"]
    table = pd.read_parquet(folder / "results.parquet")
    assert set(table["machine"]) == set(MACHINES)
    cycles = table.groupby("machine", observed=True)["cycles"].sum().to_dict()
    assert cycles == {machine["name"]: machine["cycles"] for machine in result["machines"]}
    description = json.loads((folder / "run.json").read_text())["machine_descriptions"]["int8-mac"]
    assert description["compute"]["n"] == 64
    # The recorded trace simulates to the same cycles.
    again = document("simulate", "--machine", "bit-serial", "--trace", folder / "trace")
    assert again["cycles"] == cycles["bit-serial"]


def test_run_prints_text_and_one_table(tmp_path):
    text, _ = bitloom("run", "--tokens", 2, "--machine", "int8-mac", "--out", tmp_path)
    assert "Once upon a time" in text
    assert "int8-mac" in text
    assert "lut-m2n64k4" not in text
    assert "report.html" in text


def test_generate_gives_new_tokens_of_every_prompt():
    result = document("generate", "--prompt", "Once upon a time", "--prompt", "The king", "--tokens", 5, "--greedy")
    assert len(result["token_ids"]) == 5
    assert result["tokens_per_second"] > 0
    assert [len(sequence["token_ids"]) for sequence in result["sequences"]] == [5, 5]
    reference = document(
        "generate", "--prompt", "Once upon a time", "--tokens", 5, "--greedy", "--backend", "reference"
    )
    assert reference["token_ids"] == result["token_ids"]


def test_text_is_printed_as_it_is_but_for_control_characters():
    text, _ = bitloom("generate", "--prompt", "I :heart: [bold]you\x1b[31m", "--tokens", "1", "--greedy")
    assert text.startswith("I :heart: [bold]you\ufffd[31m")


def test_perplexity_of_the_recorded_tokens(fixtures, tmp_path):
    path = tmp_path / "valid.u16"
    np.load(fixtures / "tern-18m-reference.npz")["token_ids"].astype("<u2").tofile(path)
    result = document("perplexity", "--model", "tern-18m", "--tokens", path, "--windows", 512)
    assert result["nats_per_token"] == pytest.approx(3.241, abs=0.005)
    assert result["perplexity"] == pytest.approx(np.exp(result["nats_per_token"]))
    assert result["bits_per_weight"] == pytest.approx(2, abs=0.001)
    assert result["tokens_per_second"] > 0


def test_trace_records_and_makes(tmp_path):
    made = document(
        "trace", "--model", "llama-2-7b", "--prefill", 8, "--decode", 2, "--batch", 2, "--out", tmp_path / "made"
    )
    assert made["source"] == "shape-only"
    assert made["weight_format"] == "int4"
    assert made["mpgemm_macs"] == 6_476_005_376 * 2 * (8 + 2)
    recorded = document("trace", "--model", "tern-18m", "--prompt", "A", "--tokens", 3, "--out", tmp_path / "recorded")
    assert recorded["source"] == "recorded"
    assert recorded["steps"] == 3
    assert recorded["bytes"] > 4_000_000


@pytest.mark.parametrize("fidelity", ["analytic", "event"])
def test_simulate_reports_operations_with_their_actions(fidelity):
    result = document(
        "simulate", "--machine", "lut-m2n64k4", "--model", "bitnet-2b4t", "--prefill", 16, "--decode", 1,
        "--context", 100, "--fidelity", fidelity,
    )  # fmt: skip
    assert result["cycles"] == sum(operation["cycles"] for operation in result["operations"])
    assert result["seconds"] == pytest.approx(result["cycles"] * 1e-9)
    assert {"energy_pj", "area_um2", "fidelity"} <= set(result)
    projection = next(row for row in result["operations"] if row["name"] == "mlp.down_proj")
    assert {"bound_by", "utilization", "dram_read_bytes", "weight_buffer_read_bytes"} <= set(projection)
    assert projection["actions"]["lut_array.lookup"] > 0
    assert sum(part["area_um2"] * part["count"] for part in result["components"]) == pytest.approx(result["area_um2"])
    assert {part["kind"] for part in result["components"]} <= {"published", "predicted", "calibrated"}
    assert all(part["sources"] for part in result["components"])


def test_a_config_json_is_simulated_by_its_shapes(fixtures):
    config = fixtures / "tiny-bitnet-offline-autobitlinear" / "config.json"
    result = document("simulate", "--machine", "int8-mac", "--model", config, "--decode", 1)
    assert result["source"] == "shape-only"
    assert result["weight_format"] == "ternary"


def test_simulate_several_machines_gives_one_document():
    result = document(
        "simulate", "--machine", "int8-mac", "--machine", "bit-serial", "--model", "tern-18m", "--decode", 1
    )
    assert [machine["name"] for machine in result["machines"]] == ["int8-mac", "bit-serial"]


def test_list_names_everything_that_is_shipped():
    result = document("list")
    assert [machine["name"] for machine in result["machines"]] == MACHINES
    assert {"tern-18m", "llama-2-70b"} <= {model["name"] for model in result["models"]}
    assert {"ternary", "int4"} <= {item["name"] for item in result["formats"]}
    assert "tern-18m" in bitloom("list")[0]


def test_fidelity_reports_errors_and_reasons():
    result = document("fidelity", "--machine", "lut-m2n64k4", "--model", "tern-18m", "--prefill", 16, "--decode", 1)
    assert result["median_error"] <= result["worst_error"] <= 0.05
    assert result["samples"] > 30
    assert result["outside"] == []


@pytest.mark.slow
def test_fidelity_holds_random_pairs_and_three_models_to_the_limits():
    everything = document("fidelity", "--samples", 20)
    assert everything["samples"] > 20 + 3 * 3 * 40
    assert everything["median_error"] <= 0.02
    assert everything["worst_error"] <= 0.10
    assert all(row["reason"] for row in everything["outside"])


# Golden inference of two billion weights, every format and the hardware take minutes.
BENCHMARKS = {
    "sim": {"default_run_event_seconds", "llama_2_70b_analytic_seconds"},
    "sweep": {"analytic_points_per_second"},
    **(
        {}
        if os.environ.get("BITLOOM_SHORT") == "1"
        else {
            "inference": {"prefill_tokens_per_second", "decode_tokens_per_second", "decode_over_bare_products"},
            "formats": set(),
            "rtl": {"decode_token_seconds", "tokens_equal"},
        }
    ),
}


@pytest.mark.slow
def test_bench_measures_everything():
    result = document("bench", *BENCHMARKS)
    assert set().union(*BENCHMARKS.values()) <= set(result)
    tables = [value for value in result.values() if isinstance(value, list)]
    if "formats" in BENCHMARKS:
        assert {"mxfp4", "bitmod-fp4", "i2_s", "q8_0"} <= {row["name"] for table in tables for row in table}
        assert result["bitnet_2b4t_peak_memory_mb"] <= 3000
    rows = [result, *(row for table in tables for row in table)]
    figures = [(name, value) for row in rows for name, value in row.items() if not isinstance(value, list | str)]
    assert figures
    assert not [(name, value) for name, value in figures if value <= 0 and "error" not in name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--prompt", "x " * 600], "512, the model's context"),
        (["generate", "--prompt", "x", "--tokens", "0"], "--tokens"),
        (["generate", "--prompt", ""], "prompt"),
        (["generate", "--prompt", "x", "--model", "llama-2-7b"], "without weights"),
        (["generate", "--prompt", "x", "--model", "nothing"], "tern-18m"),
        (["generate", "--prompt", "x", "--backend", "abacus"], "reference"),
        (["generate", "--prompt", "x", "--temperature", "-1"], "--temperature"),
        (["generate"], "--prompt"),
        (["perplexity", "--tokens", "none.u16"], "none.u16"),
        (["trace", "--model", "tern-18m", "--out", "t"], "--prefill"),
        (["trace", "--model", "tern-18m", "--prompt", "a", "--prefill", "3", "--out", "t"], "--prompt"),
        (["trace", "--model", "tern-18m", "--prefill", "513", "--out", "t"], "512"),
        (["trace", "--model", "tern-18m", "--prefill", "5", "--weight-format", "int9", "--out", "t"], "int9"),
        (["trace", "--model", "tern-18m", "--prefill", "5", "--greedy", "--out", "t"], "--prompt"),
        (["trace", "--model", "tern-18m", "--prompt", "a", "--batch", "2", "--out", "t"], "--batch"),
        (["simulate", "--machine", "int8-mac", "--trace", "t", "--weight-format", "int2"], "--weight-format"),
        (["simulate", "--machine", "int8-mac"], "--trace"),
        (["simulate", "--machine", "int8-mac", "--trace", "none"], "none"),
        (["simulate", "--machine", "nothing", "--model", "tern-18m", "--decode", "1"], "lut-m2n64k4"),
        (["simulate", "--machine", "int8-mac", "--model", "tern-18m", "--decode", "1", "--fidelity", "x"], "analytic"),
        (["simulate", "--model", "tern-18m", "--decode", "1"], "--machine"),
        (["bench", "everything"], "inference"),
        (["dance"], "dance"),
        (
            ["simulate", "--machine", "int8-mac", "--machine", "int8-mac", "--model", "tern-18m", "--decode", "1"],
            "name",
        ),
        (["simulate", "--machine", "m" * 300, "--model", "tern-18m", "--decode", "1"], "one of"),
        (["generate", "--prompt", "x", "--model", "m" * 300], "one of"),
        (["generate", "--prompt", "x", "--temperature", "1e-309"], "--temperature"),
        (
            ["simulate", "--machine", "int8-mac", "--model", "tern-18m", "--decode", "500", "--batch", "1048576"],
            "--batch",
        ),
        (["simulate", "--machine", "digits.toml", "--model", "tern-18m", "--decode", "1"], "digits.toml"),
        (["run", "--machine", "wrong.toml"], "wrong.toml"),
        (["run", "--tokens", "2", "--out", "file/runs"], "file"),
    ],
)
def test_bad_usage_exits_2_with_one_clear_message_and_writes_nothing(tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "wrong.toml").write_text('name = "x"\nclock_ghz = -1\n')
    (tmp_path / "digits.toml").write_text("clock_ghz = " + "9" * 5000)
    before = sorted(tmp_path.rglob("*"))
    out, err = bitloom(*arguments, cwd=tmp_path, code=2)
    assert out == ""
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("delay_seconds", [1.0, 3.0])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path, delay_seconds):
    process = subprocess.Popen(
        [Path(sys.executable).parent / "bitloom", "run", "--tokens", "500", "--out", tmp_path / "runs"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(delay_seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert not list(tmp_path.rglob("*"))


def test_the_readme_example_of_the_python_api_runs(tmp_path, monkeypatch):
    """The five lines, taken from the README itself."""
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("#", "import", "from"))]
    assert len(lines) == 5
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102  (our own README)
