"""Runs a study: every point that its folder has no result of yet, at analytic fidelity, on all cores.

    Study ──points──► worker processes ──Outcome──► ResultStore (parts of Parquet, written as results come)

Points go to the workers in chunks, a bounded number at a time. A run can be stopped at any moment and started again:
what had been computed stays, and the next run goes on from there. `sim.study.definition` says what a study is and
`sim.study.store` what is kept; the names of both that a sweep needs can be imported from here.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import islice
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, ClassVar

from isa import InputError
from sim.evaluation import simulate
from sim.study.definition import (
    BITLOOM_VERSION,
    FIDELITY,
    SOURCES_DIGEST,
    Point,
    Study,
    Workload,
    load_study,
    shipped_studies,
)
from sim.study.store import ResultStore, Row, load_results
from workloads import Trace

__all__ = [
    "Outcome",
    "Point",
    "Study",
    "SweepSummary",
    "evaluate",
    "load_results",
    "load_study",
    "run_study",
    "shipped_studies",
]

LARGEST_CHUNK_POINTS = 64
CHUNKS_PER_WORKER = 16
"""A small study is cut into at least so many chunks a worker, so that all workers end at about the same time."""
CHUNKS_IN_FLIGHT_PER_WORKER = 2
TICK_SECONDS = 0.5
"""How often progress is told and parts are written if no result comes."""

_BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """What became of a point: the summary of its `Result`, or why it cannot run (all else None).

    `dram_bytes` are read and written. Rates are over all sequences. What is of a phase is None where
    the workload leaves that phase out.
    """

    prefill_tokens_per_second: float | None = None
    decode_tokens_per_second: float | None = None
    energy_per_token_pj: float | None = None
    prefill_energy_per_token_pj: float | None = None
    decode_energy_per_token_pj: float | None = None
    energy_pj: float | None = None
    area_um2: float | None = None
    utilization: float | None = None
    bound_by: str | None = None
    prefill_bound_by: str | None = None
    decode_bound_by: str | None = None
    cycles: int | None = None
    seconds: float | None = None
    dram_bytes: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class SweepSummary:
    """How far a run of a study is.

    Parameters
    ----------
    study : str
    points : int
        Of the whole study.
    done, skipped, failed : int
        Points with a new result; points that were there before (or twice in the study); points that cannot run.
    seconds : float
        Since the run began.
    folder : Path
    """

    study: str
    points: int
    done: int
    skipped: int
    failed: int
    seconds: float
    folder: Path

    @property
    def points_per_second(self) -> float:
        """Speed of this run; points that were there before do not count."""
        return (self.done + self.failed) / self.seconds


def run_study(
    study: Study,
    folder: str | Path,
    workers: int | None = None,
    progress: Callable[[SweepSummary], object] = lambda _summary: None,
) -> SweepSummary:
    """Compute what is missing in a folder.

    Workers are new processes that import the main module: a script that calls this does so below
    `if __name__ == "__main__":`.

    Parameters
    ----------
    study : Study
    folder : where results go (see `sim.study.store`); made if need be, and may hold other studies
    workers : processes; one a core by default
    progress : called at least twice a second with how far it is

    Raises
    ------
    InputError
        If the folder cannot be written, one of its parts is damaged, or `workers` is no positive number.
    KeyboardInterrupt
        After Ctrl-C, once the points that were being computed are finished and everything is on disk.
    """
    if workers is not None and workers < 1:
        raise InputError("run_study", "workers", workers, "at least 1")
    workers, started = workers or _cores(), time.monotonic()
    counts: Counter[str] = Counter()

    def so_far() -> SweepSummary:
        done, skipped, failed = (counts[name] for name in ("done", "skipped", "failed"))
        return SweepSummary(study.name, len(study), done, skipped, failed, time.monotonic() - started, Path(folder))

    def missing(known: set[str]) -> Iterator[Point]:
        for point in study.points():
            if point.point_id in known:
                counts["skipped"] += 1
            else:
                known.add(point.point_id)
                yield point

    def receive(points: Sequence[Point], outcomes: Sequence[Outcome]) -> None:
        # A chunk that was stopped has outcomes of its first points only.
        store.add([_row(study, point, outcome) for point, outcome in zip(points, outcomes, strict=False)])
        counts.update("done" if outcome.error is None else "failed" for outcome in outcomes)

    def tick() -> None:
        store.flush_if_due()
        progress(so_far())

    definition = {"study.toml": study.text, "resolved.json": json.dumps(study.document(), indent=2) + "\n"}
    try:
        with ResultStore(Path(folder), study.name, definition) as store:
            _evaluate_all(missing(store.point_ids()), _chunk_points(len(study), workers), workers, receive, tick)
    finally:
        progress(so_far())
    return so_far()


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunk_points(points: int, workers: int) -> int:
    return max(1, min(LARGEST_CHUNK_POINTS, points // (workers * CHUNKS_PER_WORKER)))


def _row(study: Study, point: Point, outcome: Outcome) -> Row:
    """A point and its outcome as a row of the store."""
    machine = point.machine.model_dump(mode="json", exclude={"name", "description"})
    return {
        "point_id": point.point_id,
        "study": study.name,
        "base_machine": point.machine.name,
        "model": point.workload.architecture.name,
        "prefill_tokens": point.workload.prefill,
        "decode_steps": point.workload.decode,
        "context_tokens": point.workload.context,
        "batch_sequences": point.workload.batch,
        "weight_format": point.workload.weight_format,
        "activation_format": point.workload.activation_format,
        **asdict(outcome),
        "fidelity": FIDELITY,
        "bitloom_version": BITLOOM_VERSION,
        "sources_digest": SOURCES_DIGEST,
        **dict(_flat(machine, "machine")),
    }


def _flat(table: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Every value of nested tables with its dotted path."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.{name}")
        else:
            yield f"{path}.{name}", value


def _evaluate_all(
    points: Iterator[Point],
    chunk_points: int,
    workers: int,
    receive: Callable[[Sequence[Point], Sequence[Outcome]], None],
    tick: Callable[[], None],
) -> None:
    """Evaluate points in worker processes; `receive` gets every chunk that ends, also after an interrupt."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    running: dict[Future[list[Outcome]], list[Point]] = {}
    pool = ProcessPoolExecutor(workers, context, _start_worker, (stop,))
    try:
        while True:
            while len(running) < workers * CHUNKS_IN_FLIGHT_PER_WORKER and (
                chunk := list(islice(points, chunk_points))
            ):
                with _inherited_by_workers():
                    running[pool.submit(_evaluate_chunk, chunk)] = chunk
            if not running:
                break
            for future in wait(running, TICK_SECONDS, FIRST_COMPLETED).done:
                receive(running[future], future.result())
                del running[future]
            tick()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        for future, chunk in running.items():
            if not future.cancelled() and future.exception() is None:
                receive(chunk, future.result())


@contextmanager
def _inherited_by_workers() -> Iterator[None]:
    """What processes that start in this block inherit: one BLAS thread, and Ctrl-C held back."""
    before = {name: os.environ.get(name) for name in _BLAS_THREADS}
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Worker:
    """What a worker process knows."""

    stop: ClassVar[Event]


def _start_worker(stop: Event) -> None:
    """Leave Ctrl-C to the main process, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Worker.stop = stop
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def _end_with_main_process() -> None:
    main = multiprocessing.parent_process()
    if main is not None:
        main.join()
        os._exit(1)


def _evaluate_chunk(points: Sequence[Point]) -> list[Outcome]:
    """Outcomes of the points, of fewer if the run is being stopped."""
    return [evaluate(point) for point in points if not _Worker.stop.is_set()]


def evaluate(point: Point) -> Outcome:
    """Simulate one point; a machine that cannot run the workload is an outcome, not an error."""
    try:
        result = simulate(point.machine, _trace(point.workload), FIDELITY)
    except InputError as error:
        return Outcome(error=str(error))
    summary = result.summary()
    operations = result.operations
    return Outcome(
        **{item.name: summary[item.name] for item in fields(Outcome) if item.name in summary},
        dram_bytes=int(operations["dram_read_bytes"].sum() + operations["dram_write_bytes"].sum()),
    )


@lru_cache(maxsize=2)
def _trace(workload: Workload) -> Trace:
    """Points come workload by workload, so that two traces are enough."""
    return workload.trace()
