"""The training loop: steps of AdamW over the recipe's mixture, evaluations on held-out windows, checkpoints, a log.

    recipe, data folder ──train──► run folder: tokenizer.json, log.jsonl, checkpoint.safetensors

The same call goes on with a run that was interrupted: the windows of a step depend on the seed and the step alone, so
on one machine a resumed run gives the weights of an uninterrupted one (with a length in steps; a time budget follows
the clock). What the recipe means is the subject of `workloads.training.recipe`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from isa import InputError
from workloads.files import whole_file
from workloads.training.checkpoint import CHECKPOINT, Progress, read_checkpoint, restore, save_checkpoint
from workloads.training.corpus import TOKENIZER, Corpus, WindowSampler, held_out_windows, load_corpus
from workloads.training.model import BitNetForCausalLM, next_token_loss
from workloads.training.recipe import Recipe

__all__ = ["LOG", "Outcome", "train"]

LOG = "log.jsonl"

# Reading the loss waits for the device; seldom enough, it costs nothing.
_SHOW_EVERY_STEPS = 10


@dataclass(frozen=True)
class Outcome:
    """What a call of `train` came to.

    `held_out_nats_per_token` is of the last evaluation: over all windows of the held-out sets once the run is finished.
    """

    run_folder: Path
    finished: bool
    steps: int
    tokens_seen: int
    elapsed_seconds: float
    held_out_nats_per_token: dict[str, float]


def train(
    recipe: Recipe,
    data_folder: Path,
    run_folder: Path,
    *,
    device: str = "cpu",
    should_stop: Callable[[], bool] = lambda: False,
    show: Callable[[float, str], None] = lambda _fraction, _state: None,
) -> Outcome:
    """Train a model, or go on with the run that `run_folder` holds.

    Parameters
    ----------
    recipe : Recipe
    data_folder : Path
        With `tokenizer.json` and the recipe's token files.
    run_folder : Path
        Where checkpoints and the log are, or will be.
    device : str
        A device name of PyTorch: "cpu", "cuda", "cuda:1".
    should_stop : callable
        Asked after each step; when it says so, the run saves itself and returns unfinished.
    show : callable
        Told the fraction of the training that is over (0 to 1), and the step and loss in words, now and then.

    Raises
    ------
    InputError
        If the data does not fit the recipe, the folder holds another run or cannot be written, the device does not
        exist, or the loss ceases to be finite.
    """
    return _Run(recipe, load_corpus(recipe, data_folder), run_folder, _device(device)).go_on(should_stop, show)


class _Run:
    """A run in memory. `progress` and the model's and optimizer's state are always those between two steps."""

    def __init__(self, recipe: Recipe, corpus: Corpus, folder: Path, device: torch.device) -> None:
        self.recipe, self.corpus, self.folder, self.device = recipe, corpus, folder, device
        self.model = BitNetForCausalLM(recipe.model, recipe.seed).to(device)
        self.optimizer = _optimizer(self.model, recipe.schedule.weight_decay, device)
        self.loss = torch.compile(next_token_loss) if recipe.compile else next_token_loss
        self.sampler = WindowSampler(corpus.train, recipe.schedule.window_tokens, recipe.seed)
        self.progress = Progress(sequences_seen=dict.fromkeys(corpus.train, 0))
        if (folder / CHECKPOINT).exists():
            self._resume()
        self.loss_sum = torch.tensor(self.progress.loss_sum_nats, dtype=torch.float64, device=device)
        self.clock = _Clock(self.progress.elapsed_seconds)
        self.log = _Log(folder / LOG, self.progress.log_lines)

    def go_on(self, should_stop: Callable[[], bool], show: Callable[[float, str], None]) -> Outcome:
        """Take steps until the end of the recipe or until told to stop."""
        records = self.recipe.records
        if self.progress.step == 0:
            self._begin()
        while (fraction := self._fraction()) < 1:
            if fraction * records.evaluations >= self.progress.evaluations:
                self._evaluate("evaluation", fraction, records.evaluation_windows)
            self._step(fraction)
            if self.progress.step % _SHOW_EVERY_STEPS == 0:
                show(fraction, f"step {self.progress.step}  {self._mean_loss():.3f} nats/token")
            if should_stop():
                self._save()
                return self._outcome()
            if self.progress.step % records.checkpoint_every_steps == 0:
                self._save()
        if not self.progress.finished:
            self._evaluate("final", 1.0, None)
            self.progress.finished = True
            self._save()
        show(1.0, f"step {self.progress.step}")
        return self._outcome()

    def _begin(self) -> None:
        shape = self.recipe.model
        with whole_file(self.folder / TOKENIZER) as partial:
            partial.write_text(self.corpus.tokenizer_json, encoding="utf-8")
        self._write_log(
            event="start",
            recipe=self.recipe.model_dump(mode="json"),
            parameters=shape.parameters,
            ternary_weights=shape.ternary_weights,
            training_tokens={name: len(tokens) for name, tokens in self.corpus.train.items()},
            training_sha256=dict(self.corpus.sha256),
            device=str(self.device),
            torch_version=str(torch.__version__),
        )

    def _resume(self) -> None:
        checkpoint = read_checkpoint(self.folder / CHECKPOINT)
        for section in Recipe.model_fields:
            found, expected = getattr(checkpoint.recipe, section), getattr(self.recipe, section)
            if found != expected:
                raise InputError(checkpoint.path, f"recipe.{section}", found, f"{expected}, or another run folder")
        if dict(checkpoint.data_sha256) != dict(self.corpus.sha256):
            raise InputError(checkpoint.path, "data_sha256", "other training data", "the data that the run began with")
        restore(checkpoint, self.model, self.optimizer)
        self.progress = checkpoint.progress

    def _fraction(self) -> float:
        """The part of the training that is over, 0 to 1."""
        schedule = self.recipe.schedule
        if schedule.time_budget_seconds is not None:
            return min(self.clock.elapsed_seconds / schedule.time_budget_seconds, 1.0)
        return self.progress.step / schedule.steps if schedule.steps else 1.0

    def _step(self, fraction: float) -> None:
        schedule, progress = self.recipe.schedule, self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(progress.step, fraction)
            group["weight_decay"] = schedule.weight_decay_at(fraction) if group["decays"] else 0.0
        batch = self.sampler.batch(progress.step, self.recipe.data.shares_at(fraction), schedule.sequences_per_step)
        with self._autocast():
            loss = self.loss(self.model, torch.from_numpy(batch.windows).to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), schedule.gradient_norm_limit)
        self.optimizer.step()
        self.loss_sum += loss.detach()
        progress.step += 1
        progress.loss_steps += 1
        for name, sequences in batch.sequences.items():
            progress.sequences_seen[name] += sequences
        self.clock.start()

    def _evaluate(self, event: str, fraction: float, most_windows: int | None) -> None:
        schedule, progress = self.recipe.schedule, self.progress
        losses = {name: self._held_out_loss(name, most_windows) for name in self.corpus.held_out}
        train_loss = self._mean_loss() if progress.loss_steps else None
        progress.held_out_nats_per_token = losses
        progress.evaluations = int(fraction * self.recipe.records.evaluations) + 1
        progress.loss_steps = 0
        self.loss_sum.zero_()
        tokens = {name: count * schedule.window_tokens for name, count in progress.sequences_seen.items()}
        self._write_log(
            event=event,
            step=progress.step,
            fraction=fraction,
            learning_rate=schedule.learning_rate(progress.step, fraction),
            weight_decay=schedule.weight_decay_at(fraction),
            train_nats_per_token=train_loss,
            held_out_nats_per_token=losses,
            tokens_seen=tokens,
            elapsed_seconds=self.clock.elapsed_seconds,
        )

    @torch.no_grad()
    def _held_out_loss(self, name: str, most_windows: int | None) -> float:
        """Mean loss in nats per token over windows that are each predicted from their own context only."""
        schedule = self.recipe.schedule
        windows = torch.from_numpy(held_out_windows(self.corpus.held_out[name], schedule.window_tokens, most_windows))
        total = 0.0
        with self._autocast():
            for batch in windows.split(schedule.sequences_per_step):
                total += float(next_token_loss(self.model, batch.to(self.device))) * len(batch)
        return total / len(windows)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    def _mean_loss(self) -> float:
        """Mean training loss since the last evaluation."""
        total = float(self.loss_sum)
        if not math.isfinite(total):
            peak = self.recipe.schedule.peak_learning_rate
            expected = f"a finite loss; try schedule.peak_learning_rate below {peak} or more warmup_steps"
            raise InputError(self.folder, f"training loss at step {self.progress.step}", total, expected)
        return total / max(self.progress.loss_steps, 1)

    def _write_log(self, **record: object) -> None:
        self.log.write(record)
        self.progress.log_lines += 1

    def _save(self) -> None:
        self._mean_loss()  # a run that diverged must not replace a checkpoint that did not
        self.progress.loss_sum_nats = float(self.loss_sum)
        self.progress.elapsed_seconds = self.clock.elapsed_seconds
        path = self.folder / CHECKPOINT
        save_checkpoint(path, self.recipe, self.corpus.sha256, self.progress, self.model, self.optimizer)

    def _outcome(self) -> Outcome:
        progress = self.progress
        tokens_seen = sum(progress.sequences_seen.values()) * self.recipe.schedule.window_tokens
        return Outcome(
            self.folder,
            progress.finished,
            progress.step,
            tokens_seen,
            self.clock.elapsed_seconds,
            progress.held_out_nats_per_token,
        )


class _Clock:
    """Seconds of training over all calls of a run, less the first step of each, which may compile the model."""

    def __init__(self, seconds_before: float) -> None:
        self._before = seconds_before
        self._started: float | None = None

    def start(self) -> None:
        if self._started is None:
            self._started = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        return self._before + (0.0 if self._started is None else time.monotonic() - self._started)


class _Log:
    """One JSON object a line. Lines beyond the `keep_lines` that a checkpoint counted are dropped: they come again."""

    def __init__(self, path: Path, keep_lines: int) -> None:
        self._path = path
        kept = path.read_bytes().splitlines(keepends=True)[:keep_lines] if path.exists() else []
        with whole_file(path) as partial:
            partial.write_bytes(b"".join(kept))

    def write(self, record: dict[str, object]) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")


def _optimizer(model: BitNetForCausalLM, weight_decay: float, device: torch.device) -> torch.optim.Optimizer:
    """AdamW as in BitNet b1.58; norm gains are never decayed."""
    parameters = list(model.parameters())
    matrices = [parameter for parameter in parameters if parameter.dim() == 2]
    gains = [parameter for parameter in parameters if parameter.dim() != 2]
    groups = [{"params": matrices, "decays": True}, {"params": gains, "decays": False}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=weight_decay, fused=device.type == "cuda")


def _device(name: str) -> torch.device:
    try:
        device = torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # PyTorch raises either, by the kind of device
        raise InputError("--device", "device", name, f"a device that PyTorch can use here ({error})") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError("--device", "device", name, "cpu or cuda")
    return device
