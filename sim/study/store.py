"""Keeps the results of sweeps: a folder of Parquet parts that grows as results come, and is read as one table.

    <folder>/<study>-<digest of its definition>/study.toml             the study as it was read
                                               /resolved.json          its machines and models, resolved
                                               /part-<digest>.parquet  rows, and what made them lies beside them

A part is written whole or not at all and is named by the digest of its bytes: runs that share a folder never clash, and
damage is found when a part is read. `COLUMNS` is what every row has; the fields of its machine follow as
`machine.<dotted path>`, null where a machine has no such field. What the rows mean is the subject of `sim.study.sweep`.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from isa import InputError
from workloads.files import whole_file

__all__ = ["COLUMNS", "PART_ROWS", "PART_SECONDS", "ResultStore", "Row", "load_results"]

COLUMNS: Mapping[str, pa.DataType] = {
    "point_id": pa.string(),
    "study": pa.string(),
    "base_machine": pa.string(),
    "model": pa.string(),
    "prefill_tokens": pa.int64(),
    "decode_steps": pa.int64(),
    "context_tokens": pa.int64(),
    "batch_sequences": pa.int64(),
    "weight_format": pa.string(),
    "activation_format": pa.string(),
    "prefill_tokens_per_second": pa.float64(),
    "decode_tokens_per_second": pa.float64(),
    "energy_per_token_pj": pa.float64(),
    "prefill_energy_per_token_pj": pa.float64(),
    "decode_energy_per_token_pj": pa.float64(),
    "energy_pj": pa.float64(),
    "area_um2": pa.float64(),
    "utilization": pa.float64(),
    "bound_by": pa.string(),
    "prefill_bound_by": pa.string(),
    "decode_bound_by": pa.string(),
    "cycles": pa.int64(),
    "seconds": pa.float64(),
    "dram_bytes": pa.int64(),
    "error": pa.string(),
    "fidelity": pa.string(),
    "bitloom_version": pa.string(),
    "sources_digest": pa.string(),
}
"""Columns of every row and their types. `base_machine` is the name of the machine that a grid varies;
`prefill_tokens`, `decode_steps` and `context_tokens` are those of one sequence; a row with an `error` has no results.
Rows that differ in `bitloom_version` or `sources_digest` come from different code."""

PART_ROWS = 20_000
PART_SECONDS = 10.0
"""A part is written when so many rows have come, or so long after the first of them."""

Row = Mapping[str, str | int | float | bool | None]

_PART = re.compile(r"part-([0-9a-f]{32})\.parquet")
_ABANDONED_SECONDS = 3600.0


class ResultStore:
    """A folder of parts, open for one study; leaving the `with` block writes what is still in memory.

    Parameters
    ----------
    folder : Path
        May hold the results of other studies too.
    name : str
        The study's.
    definition : mapping of file name to str
        What makes the results, to lie beside them.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, definition: Mapping[str, str]) -> None:
        digest = hashlib.sha256(repr(sorted(definition.items())).encode()).hexdigest()
        self._folder = folder
        self._parts = folder / f"{name}-{digest[:12]}"
        self._rows: list[Row] = []
        self._oldest_row = 0.0
        for file, text in definition.items():
            with whole_file(self._parts / file) as partial:
                partial.write_text(text, encoding="utf-8")
        _remove_abandoned(self._parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.flush()

    def point_ids(self) -> set[str]:
        """Points that the folder has results of, those of other studies included; `InputError` for a damaged part."""
        return {
            point_id
            for path in _part_files(self._folder)
            for point_id in _read_part(path, ["point_id"])["point_id"].to_pylist()
        }

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows, and write a part if it is time."""
        if not self._rows:
            self._oldest_row = time.monotonic()
        self._rows.extend(rows)
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what is in memory if it is much or old."""
        if len(self._rows) >= PART_ROWS or (self._rows and time.monotonic() - self._oldest_row >= PART_SECONDS):
            self.flush()

    def flush(self) -> None:
        """Write what is in memory as one part."""
        if not self._rows:
            return
        sink = pa.BufferOutputStream()
        pq.write_table(_table(self._rows), sink, compression="zstd")
        content = sink.getvalue().to_pybytes()
        # The name follows from the content, so that a write that was interrupted before the next line is harmless.
        with whole_file(self._parts / f"part-{_digest(content)}.parquet") as partial:
            partial.write_bytes(content)
        self._rows = []


def load_results(folder: str | Path) -> pd.DataFrame:
    """Results of every study in a folder and below, as one frame.

    Returns
    -------
    DataFrame, one row a point, in the order of `point_id`; the columns of `COLUMNS`, then `machine.*` of all kinds of
    machines. Integers are nullable (`Int64`), because a row may lack any of them.

    Raises
    ------
    InputError
        If there are no results, or a part is damaged.
    """
    folder = Path(folder)
    tables = [_read_part(path) for path in _part_files(folder)]
    if not tables:
        raise InputError(folder, "results", "none", "a folder that `bitloom sweep` wrote")
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(folder, "columns", str(error), "parts that agree on the types of their columns") from None
    fields = sorted(set(table.column_names) - set(COLUMNS))
    present = [name for name in COLUMNS if name in table.column_names]
    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.select(present + fields).to_pandas(types_mapper=types.get)
    return frame.drop_duplicates("point_id").sort_values("point_id", ignore_index=True)


def _table(rows: list[Row]) -> pa.Table:
    """Rows as a table; columns that only some rows have are null elsewhere."""
    fields = sorted({name for row in rows for name in row} - COLUMNS.keys())
    columns: dict[str, Any] = {name: COLUMNS.get(name) for name in (*COLUMNS, *fields)}
    return pa.table({name: pa.array([row.get(name) for row in rows], type=kind) for name, kind in columns.items()})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _part_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("part-*.parquet") if _PART.fullmatch(path.name))


def _read_part(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A part, or some of its columns; `InputError` names it if it is not what was written."""
    expected = "an undamaged part (delete the file to compute its points anew)"
    try:
        content = path.read_bytes()
        if path.name != f"part-{_digest(content)}.parquet":
            raise InputError(path, "contents", f"{len(content)} bytes of another digest than its name says", expected)
        table = pq.read_table(pa.BufferReader(content), columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise InputError(path, "contents", str(error), expected) from None
    if "point_id" not in table.column_names:
        raise InputError(path, "columns", "no point_id", expected)
    return table


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files that an interrupted writer left behind; younger ones may still be written to."""
    for path in folder.glob(".*.partial"):
        with suppress(FileNotFoundError):  # another run finished it, or removed it first
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
