"""Which operations of a trace are lowered together: products that look up the same tables.

An array that looks up tables makes them once for all products that read the same activations (the projections of
queries, keys and values; gate and up), as LUT Tensor Core (ISCA 2025, section 3.1) fuses them: their weights stand side
by side, as columns of one product. Every other operation stands alone. The time and the counts of a fused product are
shared out to its operations by their columns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isa import format_named
from sim.timing.machine import Machine
from sim.timing.units import LutArray
from workloads.trace import quantized_input

__all__ = ["fused_groups", "fused_names", "fused_table", "shared_out"]

Int64 = NDArray[np.int64]


def fused_groups(machine: Machine, table: pd.DataFrame) -> Int64:
    """The number of the lowered product that each operation of a trace belongs to, int64 [operations], ascending."""
    alone = np.ones(len(table), bool)
    if isinstance(machine.compute, LutArray) and machine.compute.precompute != "none":
        alone = ~_reads_what_the_one_before_reads(machine, table)
    groups: Int64 = np.cumsum(alone) - 1
    return groups


def _reads_what_the_one_before_reads(machine: Machine, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each operation is a product of the array with the same input and formats as the operation before it."""
    names = table["name"].cat.categories
    inputs = pd.Series([quantized_input(name) for name in names], dtype="object")
    codes = pd.Categorical(inputs.iloc[table["name"].cat.codes].to_numpy()).codes
    products = _products_of_the_array(machine, table)
    same = products[1:] & products[:-1] & (codes[1:] == codes[:-1])
    for column in ("step", "layer", "m", "k", "batch", "first_row"):
        values = table[column].to_numpy()
        same &= values[1:] == values[:-1]
    for column in ("input_format", "weight_format", "output_format"):
        values = table[column].cat.codes.to_numpy()
        same &= values[1:] == values[:-1]
    return np.concatenate(([False], same)) if len(table) else np.zeros(0, bool)


def _products_of_the_array(machine: Machine, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each operation is a low-bit product in formats that the array multiplies."""
    products = (table["kind"] == "mpgemm").to_numpy()
    inputs, weights = (table[f"{side}_format"].cat for side in ("input", "weight"))
    pairs = inputs.codes.to_numpy(np.int64) * len(weights.categories) + weights.codes.to_numpy()
    supported = [
        pair
        for pair in np.unique(pairs[products])
        if machine.compute.supports(
            format_named(inputs.categories[pair // len(weights.categories)]),
            format_named(weights.categories[pair % len(weights.categories)]),
        )
    ]
    return products & np.isin(pairs, supported)


def fused_table(table: pd.DataFrame, groups: Int64) -> pd.DataFrame:
    """One row a group: its first operation, with the columns `n` of all, and in `fused` how many they are."""
    firsts = _firsts(groups)
    columns = np.add.reduceat(table["n"].to_numpy(), firsts)
    return table.iloc[firsts].assign(n=columns, fused=np.diff(firsts, append=len(groups)))


def fused_names(table: pd.DataFrame, groups: Int64) -> list[str]:
    """The names of the operations of each group."""
    return table["name"].astype(str).groupby(groups).agg(" + ".join).tolist()


def _firsts(groups: Int64) -> Int64:
    """Where each group begins."""
    firsts: Int64 = np.flatnonzero(np.diff(groups, prepend=-1))
    return firsts


def shared_out(totals: Int64, groups: Int64, columns: Int64) -> Int64:
    """Integers that sum to the total of their group, in proportion to columns, int64 [..., operations].

    Parameters
    ----------
    totals : int64 [..., operations]
        The total of each operation's group.
    groups, columns : int64 [operations]
        Groups are numbered from 0 and consecutive.
    """
    ends = np.cumsum(columns)
    first = np.concatenate(([True], groups[1:] != groups[:-1]))
    before = np.repeat((ends - columns)[first], np.diff(np.append(np.flatnonzero(first), len(groups))))
    of_group = np.repeat(np.add.reduceat(columns, np.flatnonzero(first)), np.bincount(groups))
    upper, lower = ends - before, ends - columns - before
    # In two parts, because totals times columns may be more than 64 bits hold.
    quotients, remainders = np.divmod(totals, of_group)
    shares: Int64 = quotients * columns + remainders * upper // of_group - remainders * lower // of_group
    return shares
