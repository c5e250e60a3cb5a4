"""Times of public kernels on a Zen 4, measured, against those predicted.

Shares of transfer times that no computation hides, and the rates of caches and DRAM, were fitted to or measured beside
some of the rows: these are `calibrated`. The rest is `predicted`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sim.simd.kernels import KERNELS
from sim.study.reproductions.item import Item, Kind, figures
from sim.timing.cpu.core import load_core
from sim.timing.cpu.predict import predict_kernel

__all__ = ["zen4_kernels"]


# One token and thread, from cache: what the core's `mixed_share` and `exposed_share` were fitted to.
_FITTED = ("I2_S[1x1]", "TL2", "T-MAC b2 unified-scale int32", "q4_0+repack")
# Kernels that were measured alone; the others as a graph of one operation.
_ALONE = ("I2_S", "TL2", "T-MAC")


def zen4_kernels() -> Iterator[Item]:
    """Every row whose kernel is a program here, and ours; figures of a group differ in the kernel alone."""
    core = load_core("zen4")
    for row in figures(Path(__file__).with_name("measured.csv")):
        if row["kernel"] not in KERNELS:
            continue
        sizes = row["k"], row["n_out"], row["batch_tokens"], row["threads"], row["weights_from"]
        time_us = predict_kernel(core, row["kernel"], *sizes).time_us
        if not row["kernel"].startswith(_ALONE):
            time_us += core.operation_us
        group = "{k} x {n_out}, {batch_tokens} tokens, {threads} threads, {weights_from}".format(**row)
        kind: Kind = "calibrated" if _is_fitted(row) else "predicted"
        yield Item(f"{row['kernel']}, {group}", row["time_us"], time_us, "µs", kind, group)


def _is_fitted(row: Mapping[str, Any]) -> bool:
    """Whether a figure of the core's file was fitted to this row; the file says which."""
    shape = row["kernel"], row["k"], row["n_out"], row["batch_tokens"], row["threads"], row["weights_from"]
    kernel, _, _, *how = shape
    return (
        (kernel in _FITTED and how == [1, 1, "hot"])
        or (how[0] == 1 and how[2] == "stream")
        or shape in {("f32", 2560, 2560, 1, 1, "hot"), ("bf16", 2560, 6912, 1, 1, "hot")}
    )
