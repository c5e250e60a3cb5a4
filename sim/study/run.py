"""The main job: generate with the golden model, record the trace, simulate it on machines, report, and keep it all.

    prompt ──► generation + Trace ──► Result on every machine ──► runs/<id>/

A run's folder holds `run.json`, `results.parquet`, `trace/` and `report.html`.

The folder of a run is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from sim.evaluation import Result, simulate
from sim.evaluation.fidelity import compare_fidelities
from sim.functional import Generation, Sampler, load_model, record_trace
from sim.study.report import Report, render_report
from sim.timing import Machine
from workloads import Trace, save_trace
from workloads.catalog import tokenizer_of
from workloads.files import whole_folder
from workloads.tokenizer import Tokenizer

__all__ = ["DEFAULT_PROMPT", "DEFAULT_TOKENS", "Run", "make_run", "save_run", "simulate_run", "text_of"]

DEFAULT_PROMPT = "Once upon a time"
DEFAULT_TOKENS = 65
"""The prefill gives the first token, so this many tokens are 64 decode steps."""

Progress = Callable[[str, int, int], object]
"""Called with (what is being done, how much of it is done, how much there is in all)."""


@dataclass(frozen=True)
class Run:
    """A finished run: what was generated, its trace, and every machine's result at event fidelity.

    `comparisons` holds, machine by machine, the analytic model against the event model (`compare_fidelities`).
    """

    prompt: str
    text: str
    generation: Generation
    trace: Trace
    results: tuple[Result, ...]
    comparisons: tuple[pd.DataFrame, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a machine: the summaries of all results."""
        return pd.DataFrame([result.summary() for result in self.results]).set_index("name")

    def to_document(self) -> dict[str, Any]:
        """JSON-ready summary, units in the keys."""
        return {
            "text": self.text,
            "token_ids": list(self.generation.token_ids[0]),
            "prompt": self.prompt,
            "model": self.trace.identity.model,
            "model_sha256": self.trace.identity.model_sha256,
            "sampling": self.trace.identity.sampling,
            "bitloom_version": version("bitloom"),
            "machines": [result.summary() for result in self.results],
        }


def make_run(
    model_name: str,
    prompt: str,
    machines: Sequence[Machine],
    tokens: int = DEFAULT_TOKENS,
    sampler: Sampler | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Run:
    """Generate, record and simulate.

    Parameters
    ----------
    model_name : a shipped name or a checkpoint folder
    prompt : the text to continue
    machines : where to simulate
    tokens : new tokens
    sampler : how they are chosen; temperature 0.7, top-k 40, seed 0 by default

    Raises
    ------
    InputError
        If the model cannot be read, the prompt does not fit its context, or a machine cannot run it.
    """
    model, tokenizer = load_model(model_name), tokenizer_of(model_name)
    prompt_ids = tokenizer.encode(prompt)
    done = iter(range(1, tokens + 1))
    generation, trace = record_trace(
        model,
        [prompt_ids],
        tokens,
        sampler or Sampler(),
        texts=[prompt],
        progress=lambda: progress("generating", next(done), tokens),
    )
    text = text_of(tokenizer, prompt_ids, generation.token_ids[0])
    return simulate_run(prompt, text, generation, trace, machines, progress)


def simulate_run(
    prompt: str,
    text: str,
    generation: Generation,
    trace: Trace,
    machines: Sequence[Machine],
    progress: Progress = lambda _what, _done, _total: None,
) -> Run:
    """The second half of `make_run`: every machine in both fidelities."""
    results, comparisons = [], []
    for machine in machines:

        def report(done: int, total: int, name: str = machine.name) -> None:
            progress(f"simulating {name}", done, total)

        event = simulate(machine, trace, "event", report)
        comparisons.append(compare_fidelities(simulate(machine, trace, "analytic"), event))
        results.append(event)
    return Run(prompt, text, generation, trace, tuple(results), tuple(comparisons))


def text_of(tokenizer: Tokenizer, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
    """Prompt and continuation as one text."""
    return tokenizer.decode([*prompt_ids, *new_ids])


def save_run(run: Run, parent: Path | str, command: str = "") -> Path:
    """Write `parent/<id>/`, whole or not at all; the id is the time and a hash of what was run.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    parent, created = Path(parent), datetime.now(UTC)
    document = run.to_document()
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:8]
    target = parent / f"{created:%Y%m%d-%H%M%S-%f}-{digest}"
    with whole_folder(target) as staging:
        _write(run, staging, document | {"created": created.isoformat(), "command": command})
    return target


def _write(run: Run, folder: Path, document: dict[str, Any]) -> None:
    save_trace(run.trace, folder / "trace")
    tables = [result.operations.assign(machine=result.machine.name, fidelity=result.fidelity) for result in run.results]
    columns = ["machine", "fidelity"]
    table = pd.concat(tables, ignore_index=True).astype(dict.fromkeys(columns, "category"))
    table.to_parquet(folder / "results.parquet", compression="zstd", index=False)
    machines = {result.machine.name: result.machine.model_dump() for result in run.results}
    text = json.dumps(document | {"machine_descriptions": machines}, indent=2, ensure_ascii=False)
    (folder / "run.json").write_text(text + "\n", encoding="utf-8")
    report = Report(
        title=f"{run.trace.identity.model} on {len(run.results)} machines",
        prompt=run.prompt,
        text=run.text,
        trace=run.trace,
        results=run.results,
        comparisons=run.comparisons,
        created=document["created"],
        command=document["command"],
    )
    (folder / "report.html").write_text(render_report(report), encoding="utf-8")
