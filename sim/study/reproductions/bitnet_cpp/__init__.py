"""Speeds that bitnet.cpp publishes, against those predicted from its kernels' instructions and the processors' files.

`best` is the fastest of bitnet.cpp's kernels for the processor, as the publication takes it. Models are dummies of the
sizes of BitNet b1.58 (Ma et al., arXiv 2402.17764, table 1: 1.5B is its 1.3B, 3.8B its 3.9B) and Llama 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sim.evaluation.cpu_model import predict_model
from sim.simd.kernels import KERNELS
from sim.study.reproductions.item import Item, Kind, figures
from sim.timing.cpu.core import Core, load_core
from sim.timing.cpu.predict import kernel_named
from workloads import Architecture, load_model_architecture

__all__ = ["bitnet_cpp"]

_SIZES: Mapping[str, Mapping[str, int]] = {
    "1.5b": {"hidden_size": 2048, "ffn_size": 5460, "layers": 24, "heads": 32, "kv_heads": 32, "head_dim": 64},
    "3.8b": {"hidden_size": 3200, "ffn_size": 12800, "layers": 26, "heads": 32, "kv_heads": 32, "head_dim": 100},
}
_BEST = ("I2_S[1x1]", "TL2", "I2_S NEON dotprod", "TL1")
_ON_NEON = {"f16": "F16 NEON"}
_ON_AVX2 = {"f16": "f16 AVX2"}
_PROMPT_TOKENS = 128


def bitnet_cpp() -> Iterator[Item]:
    """Every published figure and ours."""
    for row in figures(Path(__file__).with_name("figures.csv")):
        core = load_core(row["device"])
        speeds = [_speed(core, row, kernel) for kernel in _kernels(core, row["kernel"])]
        where = f"{row['device']}, {row['threads']} threads, {row['model']}, {row['phase']}"
        name = f"{where}, {row['kernel']}, head {row['head']}"
        kind: Kind = "calibrated" if _is_fitted(row) else "predicted"
        yield Item(name, row["tokens_per_second"], max(speeds), "tokens/s", kind, where)


def _is_fitted(row: Mapping[str, Any]) -> bool:
    """Whether the time of numbers between products, or a core's rate of DRAM, was fitted to this row."""
    on_dram = row["kernel"] == "f16" and row["device"] in ("golden-cove", "apple-m2")
    return bool(on_dram or (row["kernel"] == "best" and row["model"] == "llama-2-7b"))


def _kernels(core: Core, name: str) -> list[str]:
    if name != "best":
        return [_of_the_core(core, name)]
    return [each for each in _BEST if KERNELS[each].features <= set(core.features)]


def _of_the_core(core: Core, name: str) -> str:
    """Kernels of one format have a name for each family of cores."""
    if "neon" in core.features:
        return _ON_NEON.get(name, name)
    return name if "avx512" in core.features else _ON_AVX2.get(name, name)


def _speed(core: Core, row: Mapping[str, Any], kernel: str) -> float:
    tokens = _PROMPT_TOKENS if row["phase"] == "prefill" else 1
    head = kernel_named(_of_the_core(core, row["head"]))
    found = predict_model(
        core,
        _architecture(row["model"]),
        kernel_named(kernel),
        head,
        threads=row["threads"],
        phase=row["phase"],
        tokens=tokens,
    )
    return found.tokens_per_second


@cache
def _architecture(name: str) -> Architecture:
    if name in _SIZES:
        return load_model_architecture("bitnet-700m").model_copy(update={"name": name, **_SIZES[name]})
    return load_model_architecture(name)
