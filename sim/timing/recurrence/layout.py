"""What the compiled recurrence knows of a nest and remembers of its engines: the entries of its arrays, by number.

Nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

FIELDS = (
    *("copies", "columns_outer", "full_rows", "row_edge", "full_columns", "column_edge", "depths", "depth_edge"),
    *("input_level", "table_level", "weight_level", "column_scale_level", "row_scale_level"),
    *("input_places", "table_places", "weight_places", "sum_places", "result_places"),
    *("column_scale_places", "row_scale_places"),
    *("grouped", "scaled", "loads_tables", "keeps_results", "used_by_tables"),
    *("array_latency", "scale_latency", "load_latency", "start"),
    *("input_shares", "weight_shares", "result_shares"),
    *(f"{name}_{size}" for name in ("load_input", "make_table", "load_weight") for size in range(4)),
    *(f"{name}_{size}" for name in ("load_column_scale", "load_row_scale") for size in range(2)),
    *(f"multiply_{size}" for size in range(8)),
    *(f"{name}_{size}" for name in ("scale", "store") for size in range(4)),
)
"""What is to be known of a nest: loops, levels (-1: there is no such operand), places, and cycles by size of tile. Of
sizes the index is rows · 2 + depth (columns · 2 + depth for weights, rows · 4 + columns · 2 + depth for products,
rows · 2 + columns for results), 0 for whole tiles and 1 for edges."""

COPIES, COLUMNS_OUTER, FULL_ROWS, ROW_EDGE, FULL_COLUMNS, COLUMN_EDGE, DEPTHS, DEPTH_EDGE = range(8)
LEVELS, PLACES = 8, 13
GROUPED, SCALED, LOADS_TABLES, KEEPS_RESULTS, USED_BY_TABLES = range(20, 25)
ARRAY_LATENCY, SCALE_LATENCY, LOAD_LATENCY, START = range(25, 29)
INPUT_SHARES, WEIGHT_SHARES, RESULT_SHARES = range(29, 32)
LOAD_INPUT, MAKE_TABLE, LOAD_WEIGHT, LOAD_COLUMN_SCALE, LOAD_ROW_SCALE = 32, 36, 40, 44, 46
MULTIPLY, SCALE, STORE = 48, 56, 60
# Rings: the first levels and places are in this order, but for sums and results, which have no level of their own.
INPUTS, TABLES, WEIGHTS, SUMS, RESULTS, COLUMN_SCALES, ROW_SCALES = range(7)

# The state: times at which engines are free and their last result is there, at which a place of each ring is free (the
# next, and the one after), at which what was filled last is there; and the last transfers.
FRONT, LOADER, TABLER, ARRAY, SCALER, STORER, TABLED, MULTIPLIED, SCALEDONE = range(9)
NEXT_FREE, LATER_FREE, FULL = 9, 16, 23
LOAD_BEGAN, FIRST, BLOCK_BEGAN, BLOCK_FREE, ASKED = 30, 31, 32, 33, 34
STORES = 4
STATES = 38
# Durations, which do not shift with time.
STAGGER, BLOCK, BLOCK_STAGGER, STAGGERS = range(4)
LEFT = 10
LENGTHS = 14

TURN, MOST_TURNS = 256.0, 64.0
# Iterations after which a loop is taken for periodic, whatever it does.
MOST_ITERATIONS = 5


def compiled(function: Callable[..., Any]) -> Any:
    """Machine code, kept on disk where there is a place for it."""
    try:
        return njit(function, cache=True)
    except RuntimeError:  # neither the folder of this file nor the user's cache folder can be written
        return njit(function)
