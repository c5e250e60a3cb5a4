"""The commands of `bitloom train`: what they do, what they say without PyTorch, how they are interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from isa import InputError
from workloads.training.cli import app
from workloads.training.recipe import shipped_recipes

TEXT = "\n".join(
    f"The {beast} saw {count} stars over the sea." for beast in ("fox", "owl", "hare") for count in range(40)
)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "stars.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def prepare(*arguments: object) -> dict[str, object]:
    result = CliRunner().invoke(app, ["prepare", *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    report: dict[str, object] = json.loads(result.stdout)
    return report


def test_prepare_trains_the_tokenizer_once_and_uses_it_ever_after(text: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = prepare("text_train", text, "--data", data, "--vocabulary-size", 300)
    tokenizer = (data / "tokenizer.json").read_bytes()
    second = prepare("text_valid", text, "--data", data)
    assert (data / "tokenizer.json").read_bytes() == tokenizer
    assert (data / "text_train.u16").read_bytes() == (data / "text_valid.u16").read_bytes()
    assert first["tokens"] == second["tokens"] == len(np.fromfile(data / "text_train.u16", "<u2"))
    assert (first["documents"], first["text_bytes"], first["vocabulary_size"]) == (1, len(TEXT), 300)


def test_prepare_refuses_to_replace_a_tokenizer_that_token_files_depend_on(text: Path, tmp_path: Path) -> None:
    prepare("text_train", text, "--data", tmp_path, "--vocabulary-size", 300)
    with pytest.raises(InputError, match="other token files depend on it"):
        prepare("text_valid", text, "--data", tmp_path, "--vocabulary-size", 301)


def test_prepare_without_a_tokenizer_asks_for_the_vocabulary_size(text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--vocabulary-size"):
        prepare("text_train", text, "--data", tmp_path)


@pytest.mark.parametrize("name", ["", "../set", "a b"])
def test_a_set_name_is_no_path(text: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="letters, digits"):
        prepare(name, text, "--data", tmp_path, "--vocabulary-size", 300)


@pytest.mark.parametrize("arguments", [["run", "tiny", "--out", "run"], ["export", "run", "--out", "model"]])
def test_without_pytorch_a_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "pip install 'bitloom[train]'" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["prepare", "run", "export"])
def test_every_help_works_without_pytorch_and_has_an_example(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"bitloom train {command} " in result.stdout


def tiny_recipe(path: Path, *changes: tuple[str, str]) -> Path:
    text = shipped_recipes()["tiny"].read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


def interrupted(command: list[str], log: Path) -> subprocess.CompletedProcess[str]:
    """Run a command, press Ctrl-C once its log has grown by a line, and wait."""
    before = log.stat().st_size if log.exists() else 0
    repository = Path(__file__).parents[2]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=repository, env=one_thread, stdout=pipe, stderr=pipe, text=True) as process:
        deadline = time.monotonic() + 60
        while (log.stat().st_size if log.exists() else 0) <= before and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@pytest.mark.slow
def test_ctrl_c_saves_the_run_the_same_command_goes_on_and_its_state_can_be_exported(
    text: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    data, out = tmp_path / "data", tmp_path / "run"
    prepare("text_train", text, "--data", data, "--vocabulary-size", 300)
    prepare("text_valid", text, "--data", data)
    recipe = tiny_recipe(
        tmp_path / "recipe.toml",
        ("vocab_size = 1024", "vocab_size = 300"),
        ("sequences_per_step = 16", "sequences_per_step = 2"),
        ("evaluations = 10", "evaluations = 1000"),
    )
    options = [recipe, "--data", data, "--out", out, "--device", "cpu", "--json"]
    command = [sys.executable, "-c", "from workloads.training.cli import app; app()", "run", *map(str, options)]
    steps = []
    for _ in range(2):
        result = interrupted(command, out / "log.jsonl")
        assert result.returncode == 130, result.stderr
        assert "the same command goes on" in result.stderr
        report = json.loads(result.stdout)
        assert not report["finished"]
        steps.append(report["steps"])
    assert 0 < steps[0] < steps[1] < 1000
    assert {entry.name for entry in out.iterdir()} == {"tokenizer.json", "log.jsonl", "checkpoint.safetensors"}
    exported = CliRunner().invoke(app, ["export", str(out), "--out", str(tmp_path / "model"), "--json"])
    assert exported.exit_code == 0
    assert json.loads(exported.stdout)["ternary_weights"] == 983_040
    assert (tmp_path / "model" / "model.safetensors").stat().st_size == json.loads(exported.stdout)["weight_file_bytes"]
