"""Speeds that T-MAC publishes, its own and llama.cpp's, against those predicted.

llama.cpp has Q2_K for two bits and Q4_0 for four. Weights of T-MAC have a scale for each 128 inputs (BitNet: one).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sim.evaluation.cpu_model import predict_model
from sim.study.reproductions.item import Item, figures
from sim.timing.cpu.core import Core, load_core
from sim.timing.cpu.predict import kernel_named
from workloads import load_model_architecture

__all__ = ["tmac"]

# What a name of the publication is on cores of either family.
_KERNELS: Mapping[tuple[str, str], str] = {
    ("llama.cpp b2", "avx2"): "q2_K",
    ("llama.cpp b2", "neon"): "Q2_K NEON dotprod",
    ("llama.cpp b4", "avx2"): "q4_0",
    ("llama.cpp b4", "neon"): "Q4_0 NEON dotprod",
    ("T-MAC b2", "avx2"): "T-MAC b2 fast",
    ("T-MAC b2", "neon"): "T-MAC b2 NEON fast",
    ("T-MAC b4", "avx2"): "T-MAC b4 fast",
    ("T-MAC b4", "neon"): "T-MAC b4 NEON fast",
}
_HEADS = {"avx2": "f16", "neon": "F16 NEON"}


def tmac() -> Iterator[Item]:
    """Every published figure and ours."""
    for row in figures(Path(__file__).with_name("figures.csv")):
        core = load_core(row["device"])
        family = _family(core)
        found = predict_model(
            core,
            load_model_architecture(row["model"]),
            kernel_named(_KERNELS[row["kernel"], family]),
            kernel_named(_HEADS[family]),
            threads=row["threads"],
        )
        where = f"{row['device']}, {row['threads']} threads, {row['model']}, {row['kernel'][-2:]}"
        name = f"{where}: {row['kernel']}"
        yield Item(name, row["tokens_per_second"], found.tokens_per_second, "tokens/s", "predicted", where)


def _family(core: Core) -> str:
    return "neon" if "neon" in core.features else "avx2"
