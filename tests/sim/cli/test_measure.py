"""`bitloom measure` as users rely on it: the columns of published tables, whole files, clear errors."""

import csv
import json

import pytest
from typer.testing import CliRunner

from isa import InputError
from sim.cli.app import app
from sim.native import KERNELS, cpu
from sim.native.cpu import require_features

COLUMNS = ["kernel", "k", "n_out", "batch_tokens", "threads", "weights_from", "time_us"]
QUICK = ["--repeats", "5", "--shape", "256x64", "--weights-from", "hot"]


@pytest.fixture
def _runs_here():
    try:
        require_features(KERNELS["TL2"].features, "TL2")
    except InputError as error:
        pytest.skip(str(error))


def run(*arguments):
    return CliRunner().invoke(app, ["measure", "kernels", *arguments])


@pytest.mark.usefixtures("_runs_here")
def test_times_are_saved_in_the_columns_of_published_measurements(tmp_path):
    path = tmp_path / "kernels.csv"
    done = run(*QUICK, "--kernel", "TL2", "--kernel", "I2_S[Nx1]", "--shape", "300x32", "--out", str(path))
    assert done.exit_code == 0, done.output
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == COLUMNS
    assert [tuple(row[name] for name in COLUMNS[:-1]) for row in rows] == [
        ("TL2", "256", "64", "1", "1", "hot"),
        ("TL2", "300", "32", "1", "1", "hot"),
        ("I2_S[Nx1]", "256", "64", "128", "1", "hot"),
        ("I2_S[Nx1]", "300", "32", "128", "1", "hot"),
    ]
    assert all(float(row["time_us"]) > 0 for row in rows)
    assert "I2_S[Nx1]" in done.output


@pytest.mark.usefixtures("_runs_here")
def test_json_is_one_document_with_the_preparation_apart():
    done = run(*QUICK, "--kernel", "TL2", "--rounds", "2", "--json")
    (row,) = json.loads(done.stdout)["kernels"]
    assert list(row) == [*COLUMNS, "preparation_us"]
    assert row["time_us"] > 0
    assert row["preparation_us"] > 0


@pytest.mark.usefixtures("_runs_here")
def test_kernels_that_cannot_run_here_are_left_out_unless_asked_for(monkeypatch):
    monkeypatch.setattr(cpu, "cpu_features", lambda: frozenset({"avx2"}))
    done = run(*QUICK, "--json")
    measured = {row["kernel"] for row in json.loads(done.stdout)["kernels"]}
    assert measured == {name for name, kernel in KERNELS.items() if kernel.features == ("avx2",)}
    assert "left out" in done.stderr
    assert "avx512_vnni" in done.stderr
    refused = run(*QUICK, "--kernel", "VNNI 2-bit")
    assert isinstance(refused.exception, InputError)
    assert "no avx512_vnni" in str(refused.exception)


def test_a_processor_for_which_there_is_no_kernel_is_an_error(monkeypatch):
    monkeypatch.setattr(cpu, "cpu_features", frozenset)
    done = run(*QUICK)
    assert isinstance(done.exception, InputError)
    assert "flags" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kernel", "TL3"], "one of I2_S"),
        (["--shape", "2560"], "--shape: found 2560, expected inputs x outputs"),
        (["--shape", "axb"], "--shape: found a"),
        (["--shape", "0x4"], "--shape: found 0"),
        (["--shape", "4x-4"], "--shape: found -4"),
        (["--shape", "²x4"], "--shape"),
        (["--shape", f"{'9' * 5000}x4"], "--shape"),
        (["--shape", "999999999x999999999"], "--shape"),
        (["--threads", "1,"], "--threads"),
        (["--threads", "100000"], "--threads"),
        (["--weights-from", "disk"], "--weights-from: found disk"),
        (["--weights-from", ""], "--weights-from"),
    ],
)
def test_wrong_options_are_named_with_what_would_be_right(arguments, message):
    done = run("--kernel", "TL2", *arguments)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


@pytest.mark.usefixtures("_runs_here")
def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path):
    done = run(*QUICK, "--kernel", "TL2", "--out", str(tmp_path))
    assert isinstance(done.exception, InputError)
    assert list(tmp_path.iterdir()) == []


def test_help_has_an_example():
    assert "bitloom measure kernels" in CliRunner().invoke(app, ["measure", "kernels", "--help"]).output
