"""The store of sweeps: nothing that was added is lost, doubled or damaged unnoticed, whatever happens in between."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError
from sim.study import store
from sim.study.store import COLUMNS, ResultStore, Row, load_results

DEFINITION = {"study.toml": 'name = "small"\n', "resolved.json": "{}\n"}
LUT: Row = {"machine.compute.kind": "lut", "machine.compute.k": 4, "machine.clock_ghz": 1.0}
BIT_SERIAL: Row = {
    "machine.compute.kind": "bit-serial",
    "machine.compute.skips_zero_terms": True,
    "machine.clock_ghz": 2.0,
}


def row(number: int, **values: str | int | float | None) -> Row:
    machine = LUT if number % 2 else BIT_SERIAL
    return {
        "point_id": f"{number:04}",
        "study": "small",
        "cycles": number,
        "energy_pj": number / 3,
        **machine,
        **values,
    }


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob("part-*.parquet"))


def save(folder: Path, *rows: Row, name: str = "small") -> None:
    with ResultStore(folder, name, DEFINITION) as results:
        results.add(rows)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)), st.lists(st.integers(0, 11), max_size=4))
def test_rows_read_the_same_however_they_were_split_ordered_and_repeated(
    order: list[int], flush_before: set[int], repeated: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with ResultStore(folder, "small", DEFINITION) as results:
            for position, number in enumerate(order):
                if position in flush_before:
                    results.flush()
                results.add([row(number)])
        save(folder, *(row(number) for number in repeated))
        frame = load_results(folder)
        assert ResultStore(folder, "small", DEFINITION).point_ids() == {f"{number:04}" for number in range(12)}
    assert frame["point_id"].tolist() == [f"{number:04}" for number in range(12)]
    assert frame["cycles"].tolist() == list(range(12))
    assert frame["energy_pj"].tolist() == [number / 3 for number in range(12)]
    assert frame["machine.compute.kind"].tolist() == ["bit-serial", "lut"] * 6


def test_machines_of_different_kinds_load_together_with_nulls_where_a_field_does_not_exist(tmp_path: Path) -> None:
    save(tmp_path, row(1), name="one")
    save(tmp_path / "below", row(2), name="two")
    frame = load_results(tmp_path).set_index("point_id")
    assert list(frame.columns) == [
        *(name for name in COLUMNS if name != "point_id"),
        "machine.clock_ghz",
        "machine.compute.k",
        "machine.compute.kind",
        "machine.compute.skips_zero_terms",
    ]
    assert frame.loc["0001", "machine.compute.k"] == 4
    assert frame["machine.compute.k"].dtype == "Int64"
    assert frame["machine.compute.k"].isna().tolist() == [False, True]
    assert frame["machine.compute.skips_zero_terms"].isna().tolist() == [True, False]
    assert frame["error"].isna().all()


def test_counts_beyond_the_precision_of_floats_are_kept_beside_missing_ones(tmp_path: Path) -> None:
    save(tmp_path, row(1, cycles=2**60 + 1), row(2, cycles=None, error="cannot run"))
    assert load_results(tmp_path)["cycles"].tolist()[0] == 2**60 + 1


def test_what_made_the_rows_lies_beside_them_and_a_changed_study_gets_a_place_of_its_own(tmp_path: Path) -> None:
    save(tmp_path, row(1))
    with ResultStore(tmp_path, "small", DEFINITION | {"study.toml": "# changed\n"}) as results:
        results.add([row(2)])
    folders = {path.parent for path in parts(tmp_path)}
    assert len(folders) == 2
    assert {(folder / "study.toml").read_text() for folder in folders} == {DEFINITION["study.toml"], "# changed\n"}
    assert all((folder / "resolved.json").read_text() == "{}\n" for folder in folders)
    assert len(load_results(tmp_path)) == 2


def test_runs_that_compute_the_same_points_at_once_do_not_clash(tmp_path: Path) -> None:
    with ResultStore(tmp_path, "small", DEFINITION) as first, ResultStore(tmp_path, "small", DEFINITION) as second:
        for results in (first, second):
            results.add([row(1), row(2)])
        second.add([row(3)])
    assert len(parts(tmp_path)) == 2
    assert load_results(tmp_path)["point_id"].tolist() == ["0001", "0002", "0003"]


def test_a_part_is_written_when_rows_are_many_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PART_ROWS", 3)
    monkeypatch.setattr(store, "PART_SECONDS", 3600.0)
    with ResultStore(tmp_path, "small", DEFINITION) as results:
        results.add([row(1), row(2)])
        assert not parts(tmp_path)
        results.add([row(3)])
        assert len(parts(tmp_path)) == 1
        results.add([row(4)])
        results.flush_if_due()
        assert len(parts(tmp_path)) == 1
        monkeypatch.setattr(store, "PART_SECONDS", 0.0)
        results.flush_if_due()
        assert len(parts(tmp_path)) == 2


def test_rows_in_memory_are_written_when_the_run_is_interrupted(tmp_path: Path) -> None:
    def run() -> None:
        with ResultStore(tmp_path, "small", DEFINITION) as results:
            results.add([row(1)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert load_results(tmp_path)["point_id"].tolist() == ["0001"]


@given(position=st.integers(0, 1 << 30), flip=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_found_and_its_part_named(position: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        save(Path(place), row(1), row(2))
        [path] = parts(Path(place))
        content = bytearray(path.read_bytes())
        content[position % len(content)] ^= flip
        path.write_bytes(content)
        with pytest.raises(InputError, match=path.name):
            load_results(place)
        with pytest.raises(InputError, match=path.name):
            ResultStore(Path(place), "small", DEFINITION).point_ids()


@pytest.mark.parametrize("kept_bytes", [0, 1, 100])
def test_a_truncated_part_is_named(tmp_path: Path, kept_bytes: int) -> None:
    save(tmp_path, row(1), row(2))
    [path] = parts(tmp_path)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(InputError, match=path.name):
        load_results(tmp_path)


def foreign_part(folder: Path, table: pa.Table | None) -> Path:
    """A part that is named as it should be, and is none of ours."""
    sink = pa.BufferOutputStream()
    if table is None:
        sink.write(b"PAR1 no Parquet PAR1")
    else:
        pq.write_table(table, sink)
    content = sink.getvalue().to_pybytes()
    path = folder / f"part-{hashlib.sha256(content).hexdigest()[:32]}.parquet"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("table", [None, pa.table({"other": [1]})], ids=["no Parquet", "other columns"])
def test_a_file_that_only_looks_like_a_part_is_named(tmp_path: Path, table: pa.Table | None) -> None:
    path = foreign_part(tmp_path, table)
    with pytest.raises(InputError, match=path.name):
        load_results(tmp_path)


def test_parts_whose_columns_disagree_are_refused(tmp_path: Path) -> None:
    save(tmp_path, row(1))
    foreign_part(tmp_path, pa.table({"point_id": ["0002"], "cycles": ["many"]}))
    with pytest.raises(InputError, match="cycles"):
        load_results(tmp_path)


def test_temporary_files_of_a_killed_run_are_ignored_and_old_ones_removed(tmp_path: Path) -> None:
    save(tmp_path, row(1))
    [part] = parts(tmp_path)
    young, old = part.with_name(".part-1.parquet.1.partial"), part.with_name(".part-2.parquet.2.partial")
    for path in (young, old):
        path.write_bytes(b"half a part")
    yesterday = time.time() - 86_400
    os.utime(old, (yesterday, yesterday))
    save(tmp_path, row(2))
    assert load_results(tmp_path)["point_id"].tolist() == ["0001", "0002"]
    assert young.exists()
    assert not old.exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file"):
        ResultStore(tmp_path / "file" / "results", "small", DEFINITION)


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_without_results_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="bitloom sweep"):
        load_results(tmp_path / folder)
