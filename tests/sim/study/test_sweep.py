"""Sweeps: every point gets the simulator's own numbers, and no work is lost or done twice."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_study import POINTS, STUDY, write
from typer.testing import CliRunner

from isa import InputError
from sim.cli.app import app
from sim.evaluation import simulate
from sim.study import sweep
from sim.study.definition import SOURCES_DIGEST
from sim.study.sweep import Study, SweepSummary, load_results, load_study, run_study
from sim.timing import load_machine

UNMAPPABLE = """
[[design]]
machine = "bit-serial"
grid = { "buffers.weight_bytes" = [256] }
"""
RESULTS = [item.name for item in dataclasses.fields(sweep.Outcome) if item.name not in ("error", "dram_bytes")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, SweepSummary, pd.DataFrame]:
    """A study that ran on two workers, with a machine that cannot run it."""
    place = tmp_path_factory.mktemp("sweep")
    study = load_study(write(place, STUDY + UNMAPPABLE))
    summary = run_study(study, place / "results", workers=2)
    return study, summary, load_results(place / "results")


def test_every_row_holds_the_simulators_own_numbers(finished: tuple[Study, SweepSummary, pd.DataFrame]) -> None:
    study, _, frame = finished
    rows = frame.set_index("point_id")
    for point in study.points():
        row = rows.loc[point.point_id]
        if point.machine.name == "bit-serial":
            continue
        result = simulate(point.machine, point.workload.trace(), "analytic")
        summary = pd.Series(result.summary())[RESULTS].astype(object)
        measured = row[RESULTS].astype(object)
        assert measured.where(measured.notna(), None).to_dict() == summary.to_dict()
        transfers = result.operations[["dram_read_bytes", "dram_write_bytes"]]
        assert row["dram_bytes"] == transfers.to_numpy().sum()


def test_every_row_says_what_it_is_a_result_of(finished: tuple[Study, SweepSummary, pd.DataFrame]) -> None:
    study, _, frame = finished
    rows = frame.set_index("point_id")
    for point in study.points():
        row = rows.loc[point.point_id]
        assert (row["study"], row["base_machine"], row["model"]) == ("small", point.machine.name, "tern-18m")
        workload = {
            "prefill_tokens": point.workload.prefill,
            "decode_steps": point.workload.decode,
            "context_tokens": point.workload.context,
            "batch_sequences": point.workload.batch,
            "weight_format": point.workload.weight_format,
            "activation_format": point.workload.activation_format,
        }
        assert row[list(workload)].to_dict() == workload
        document = point.machine.model_dump()
        flat = {f"machine.{name}": value for name, value in document.items() if not isinstance(value, dict)}
        for part in ("compute", "vector", "buffers", "dram"):
            flat |= {f"machine.{part}.{name}": value for name, value in document[part].items()}
        fields = row[[name for name in row.index if name.startswith("machine.")]].dropna()
        assert fields.to_dict() == {
            name: value
            for name, value in flat.items()
            if name not in ("machine.name", "machine.description") and value is not None
        }
        assert (row["fidelity"], row["sources_digest"]) == ("analytic", SOURCES_DIGEST)
        for phase, count in (("prefill", "prefill_tokens"), ("decode", "decode_steps")):
            assert pd.isna(row[f"{phase}_energy_per_token_pj"]) == (row[count] == 0 or pd.notna(row["error"]))


def test_a_machine_that_cannot_run_the_workload_is_a_row_that_says_why(
    finished: tuple[Study, SweepSummary, pd.DataFrame],
) -> None:
    _, summary, frame = finished
    failed = frame[frame["base_machine"] == "bit-serial"]
    assert (summary.points, summary.done, summary.skipped, summary.failed) == (POINTS + 3, POINTS, 0, 3)
    assert len(failed) == 3
    assert failed["error"].str.contains("machine bit-serial: buffers").all()
    assert failed[[*RESULTS, "dram_bytes"]].isna().to_numpy().all()
    assert frame[frame["base_machine"] != "bit-serial"]["error"].isna().all()


def test_a_run_goes_on_where_the_last_one_ended_and_computes_only_what_is_new(
    tmp_path: Path, finished: tuple[Study, SweepSummary, pd.DataFrame]
) -> None:
    without_int4 = load_study(write(tmp_path, STUDY.replace(', "int4"', "")))
    first = run_study(without_int4, tmp_path / "results", workers=1)
    told: list[SweepSummary] = []
    second = run_study(load_study(write(tmp_path)), tmp_path / "results", workers=1, progress=told.append)
    third = run_study(load_study(write(tmp_path)), tmp_path / "results", workers=1)
    assert (first.done, first.skipped) == (10, 0)
    assert (second.done, second.skipped) == (5, 10)
    assert (third.done, third.skipped, third.points_per_second) == (0, 15, 0.0)
    finished_points = [summary.done + summary.skipped for summary in told]
    assert finished_points == sorted(finished_points)
    assert finished_points[-1] == POINTS
    whole = finished[2]
    whole = whole[whole["base_machine"] != "bit-serial"].reset_index(drop=True).dropna(axis="columns", how="all")
    pieces = load_results(tmp_path / "results").dropna(axis="columns", how="all")
    pd.testing.assert_frame_equal(pieces, whole)


def test_a_point_that_stands_twice_in_a_study_is_computed_once(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY.replace("[32, 64]", "[64, 64]").replace(', "int4"', "")))
    summary = run_study(study, tmp_path / "results", workers=1)
    assert (summary.points, summary.done, summary.skipped) == (10, 6, 4)
    assert len(load_results(tmp_path / "results")) == 6


def test_what_made_the_results_can_be_read_beside_them(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY.replace(', "int4"', "")))
    run_study(study, tmp_path / "results", workers=1)
    [folder] = (tmp_path / "results").iterdir()
    assert {path.suffix for path in folder.iterdir()} == {".toml", ".json", ".parquet"}
    again = load_study(folder / "study.toml")
    assert [point.point_id for point in again.points()] == [point.point_id for point in study.points()]
    resolved = json.loads((folder / "resolved.json").read_text())
    machines = [design["machine"] for design in resolved["designs"]]
    assert machines == [load_machine(name).model_dump() for name in ("lut-m2n64k4", "int8-mac")]
    assert {workload["architecture"]["hidden_size"] for workload in resolved["workloads"]} == {512}


@pytest.mark.parametrize("workers", [0, -1])
def test_a_run_without_workers_is_refused(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InputError, match="workers"):
        run_study(load_study("tradeoffs"), tmp_path, workers)


def test_workers_start_with_one_blas_thread_and_no_ctrl_c_and_the_main_process_keeps_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    code = (
        "import os, signal; print(os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS'],"
        " signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    )
    with sweep._inherited_by_workers():
        inherited = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert inherited.stdout.split() == ["1", "1", "True"]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def group_runs(group: int) -> bool:
    """Whether a process of the group still runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_keeps_what_is_finished_and_leaves_no_process(
    tmp_path: Path, ending: signal.Signals
) -> None:
    text = STUDY.replace("[32, 64]", f"{list(range(1, 31))}").replace(', "int4"', "")
    path, results = write(tmp_path, text), tmp_path / "results"
    # Every chunk becomes a part at once, so that it can be seen from outside that the run is in the middle.
    command = "import sim.study.store; sim.study.store.PART_SECONDS = 0.0; from sim.cli import main; main()"
    run = subprocess.Popen(
        [sys.executable, "-c", command, "sweep", str(path), "--out", str(results), "--workers", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: any(results.rglob("part-*.parquet")))
    if ending == signal.SIGINT:
        os.killpg(run.pid, ending)  # a terminal's Ctrl-C reaches every process of the group
        output, messages = run.communicate(timeout=60)
        assert run.returncode == 130
        assert output == ""
        assert re.fullmatch(
            r"interrupted: \d+ new points are kept in .*; the same command goes on from there\n", messages
        )
        kept = int(messages.split()[1])
        assert len(load_results(results)) == kept
    else:
        run.kill()
        run.communicate(timeout=60)
    wait_until(lambda: not group_runs(run.pid))
    kept = len(load_results(results))
    study = load_study(path)
    assert 0 < kept < len(study)
    summary = run_study(study, results, workers=2)
    assert (summary.skipped, summary.done) == (kept, len(study) - kept)
    assert len(load_results(results)) == len(study)


def test_the_command_prints_one_json_document(tmp_path: Path) -> None:
    path = write(tmp_path, STUDY.replace(', "int4"', ""))
    command = ["sweep", str(path), "--out", str(tmp_path / "results"), "--workers", "1", "--json"]
    result = CliRunner().invoke(app, command)
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {name: document[name] for name in ("study", "points", "done", "skipped", "failed", "folder")} == {
        "study": "small",
        "points": 10,
        "done": 10,
        "skipped": 0,
        "failed": 0,
        "folder": str(tmp_path / "results"),
    }
    assert np.isclose(document["points_per_second"] * document["seconds"], 10)


def test_the_command_goes_on_and_tabulates_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, STUDY.replace(', "int4"', ""))
    study = load_study(path)
    run_study(study, Path("studies", "small"), workers=1)
    result = CliRunner().invoke(app, ["sweep", str(path)])
    assert result.exit_code == 0
    assert "small: results in studies/small" in result.stdout
    numbers = chain.from_iterable(re.findall(r"\d+", line) for line in result.stdout.splitlines() if "│" in line)
    assert list(numbers)[:4] == ["10", "0", "10", "0"]


def test_the_command_refuses_a_study_that_does_not_exist(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["sweep", str(tmp_path / "none.toml")])
    assert isinstance(result.exception, InputError)
    assert "tradeoffs" in str(result.exception)
