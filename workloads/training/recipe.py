"""The recipe of a training run: everything that decides what comes out, read from a TOML file and checked.

    recipe (TOML) ──read_recipe──► Recipe: model shape, data mixture, schedule, records

The keys of `[model]` are those of a Hugging Face `config.json`, because that is where they end. What the loop does with
a recipe is the subject of `workloads.training.loop`; this module needs no PyTorch.
"""

from __future__ import annotations

import math
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from isa import InputError

__all__ = ["Data", "ModelShape", "Recipe", "Records", "Schedule", "Stage", "TokenSet", "read_recipe", "shipped_recipes"]

_RECIPES = Path(__file__).parent / "recipes"
_LARGEST_RECIPE_BYTES = 1 << 20

# int8 codes times ternary weights stay exact in float32 while 128 · inputs < 2^24.
_MOST_INPUTS = 131_071

Width = Annotated[int, Field(ge=4, le=_MOST_INPUTS, multiple_of=4)]
Fraction = Annotated[float, Field(ge=0, le=1)]
SetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _require(holds: bool, expected: str) -> None:
    if not holds:
        raise PydanticCustomError("recipe", "{expected}", {"expected": expected})


class ModelShape(_Section):
    """The shape of a BitNet b1.58 model; every field has the name and the meaning of Hugging Face's configuration.

    Projection widths are multiples of 4, because four rows of ternary codes share a byte in a checkpoint.
    """

    vocab_size: Annotated[int, Field(ge=257, le=65_536)]
    hidden_size: Width
    intermediate_size: Width
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)]
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)]
    num_key_value_heads: Annotated[int, Field(ge=1, le=1024)]
    max_position_embeddings: Annotated[int, Field(ge=2, le=1 << 20)]
    rope_theta: Annotated[float, Field(gt=1, le=1e12)] = 10_000.0
    rms_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5

    @field_validator("num_attention_heads")
    @classmethod
    def _heads_divide_the_hidden_size(cls, heads: int, info: ValidationInfo) -> int:
        hidden = info.data.get("hidden_size", 0)
        _require(hidden % (2 * heads) == 0, f"a divisor of hidden_size / 2 = {hidden // 2}, for heads of an even width")
        return heads

    @field_validator("num_key_value_heads")
    @classmethod
    def _key_value_heads_divide_the_heads(cls, kv_heads: int, info: ValidationInfo) -> int:
        heads = info.data.get("num_attention_heads", 0)
        _require(heads % kv_heads == 0, f"a divisor of num_attention_heads = {heads}")
        width = kv_heads * info.data.get("hidden_size", 0) // heads if heads else 0
        _require(width % 4 == 0, "key and value projections whose width is a multiple of 4")
        return kv_heads

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def ternary_weights(self) -> int:
        """Weights of all ternary projections."""
        hidden, key_value = self.hidden_size, self.num_key_value_heads * self.head_dim
        attention = 2 * hidden * hidden + 2 * hidden * key_value
        return self.num_hidden_layers * (attention + 3 * hidden * self.intermediate_size)

    @property
    def parameters(self) -> int:
        """All parameters: ternary projections, tied embedding, norm gains."""
        gains = self.num_hidden_layers * (3 * self.hidden_size + self.intermediate_size) + self.hidden_size
        return self.ternary_weights + self.vocab_size * self.hidden_size + gains


class TokenSet(_Section):
    """A token file (`.u16` or `.u16.xz`, relative to the data folder), less the documents of some numbers (from 0)."""

    name: SetName
    file: Annotated[str, Field(pattern=r"\.u16(\.xz)?$", max_length=255)]
    leave_out_documents: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] = ()


class Stage(_Section):
    """The mixture from a fraction of the training on: the share of the sequences that each training set gives."""

    from_fraction: Annotated[float, Field(ge=0, lt=1)]
    shares: dict[str, Fraction]


class Data(_Section):
    """Training sets, held-out sets, and the mixture of the training sets stage by stage."""

    train: Annotated[tuple[TokenSet, ...], Field(strict=False, min_length=1)]
    held_out: Annotated[tuple[TokenSet, ...], Field(strict=False, min_length=1)]
    stages: Annotated[tuple[Stage, ...], Field(strict=False, min_length=1)]

    @field_validator("train", "held_out")
    @classmethod
    def _names_differ(cls, sets: tuple[TokenSet, ...]) -> tuple[TokenSet, ...]:
        _require(len({entry.name for entry in sets}) == len(sets), "sets of different names")
        return sets

    @field_validator("stages")
    @classmethod
    def _stages_cover_the_training(cls, stages: tuple[Stage, ...], info: ValidationInfo) -> tuple[Stage, ...]:
        starts = [stage.from_fraction for stage in stages]
        _require(starts[0] == 0, "a first stage with from_fraction = 0")
        _require(all(a < b for a, b in pairwise(starts)), "stages in rising order of from_fraction")
        names = {entry.name for entry in info.data.get("train", ())}
        for stage in stages:
            _require(set(stage.shares) == names, "a share for each training set: " + ", ".join(sorted(names)))
            _require(math.isclose(sum(stage.shares.values()), 1, abs_tol=1e-6), "shares that add up to 1")
        return stages

    def shares_at(self, fraction: float) -> dict[str, float]:
        """The mixture at a fraction (0 to 1) of the training."""
        return [stage.shares for stage in self.stages if stage.from_fraction <= fraction][-1]


class Schedule(_Section):
    """Length, batch and rates.

    Exactly one of `steps` and `time_budget_seconds` gives the length; the fraction of the training, from 0 to 1, is the
    part of it that is over. The rate is BitNet b1.58's two-stage schedule (arXiv 2402.17764's training tips): after
    `warmup_steps` a cosine from the peak towards `first_stage_floor` of it; at `second_stage_from` the rate drops to
    `second_stage_factor` of where it was, decays to 0 by a cosine, and weight decay ends.
    """

    steps: Annotated[int, Field(ge=1, le=10**9)] | None = None
    time_budget_seconds: Annotated[float, Field(gt=0, le=10**8)] | None = Field(default=None, validate_default=True)
    sequences_per_step: Annotated[int, Field(ge=1, le=1 << 20)]
    window_tokens: Annotated[int, Field(ge=1, le=1 << 20)]
    peak_learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)]
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    first_stage_floor: Fraction = 0.1
    second_stage_from: Annotated[float, Field(gt=0, lt=1)] = 0.5
    second_stage_factor: Annotated[float, Field(gt=0, le=1)] = 0.6
    gradient_norm_limit: Annotated[float, Field(gt=0)] = 1.0

    @field_validator("time_budget_seconds")
    @classmethod
    def _one_length(cls, seconds: float | None, info: ValidationInfo) -> float | None:
        if "steps" in info.data:
            _require((seconds is None) != (info.data["steps"] is None), "either steps or time_budget_seconds, not both")
        return seconds

    @field_validator("warmup_steps")
    @classmethod
    def _warmup_ends(cls, warmup: int, info: ValidationInfo) -> int:
        steps = info.data.get("steps")
        _require(steps is None or warmup < steps, f"fewer than steps = {steps}")
        return warmup

    def learning_rate(self, step: int, fraction: float) -> float:
        """The rate of step `step` (from 0), taken when `fraction` of the training is over."""
        if step < self.warmup_steps:
            return self.peak_learning_rate * (step + 1) / self.warmup_steps
        if fraction < self.second_stage_from:
            return self._first_stage_rate(fraction)
        start = self.second_stage_factor * self._first_stage_rate(self.second_stage_from)
        return start * _half_cosine((fraction - self.second_stage_from) / (1 - self.second_stage_from))

    def weight_decay_at(self, fraction: float) -> float:
        """The weight decay when `fraction` of the training is over: none in the second stage."""
        return self.weight_decay if fraction < self.second_stage_from else 0.0

    def _first_stage_rate(self, fraction: float) -> float:
        floor = self.first_stage_floor
        return self.peak_learning_rate * (floor + (1 - floor) * _half_cosine(fraction))


def _half_cosine(fraction: float) -> float:
    """1 at 0, falling to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


class Records(_Section):
    """How often a run measures itself and saves itself."""

    evaluations: Annotated[int, Field(ge=1, le=100_000)]
    evaluation_windows: Annotated[int, Field(ge=1)]
    checkpoint_every_steps: Annotated[int, Field(ge=1)]


class Recipe(_Section):
    """Everything that decides what a training run gives, apart from the texts and the hardware.

    `precision` is that of the matrix products in training (bfloat16 by autocast; master weights are float32 always);
    `compile` runs the step through `torch.compile`.
    """

    name: SetName
    seed: Annotated[int, Field(ge=0, lt=1 << 63)]
    precision: Literal["float32", "bfloat16"]
    compile: bool = False
    model: ModelShape
    data: Data
    schedule: Schedule
    records: Records

    @field_validator("schedule")
    @classmethod
    def _window_fits_the_model(cls, schedule: Schedule, info: ValidationInfo) -> Schedule:
        model = info.data.get("model")
        if model is not None:
            longest = model.max_position_embeddings
            _require(schedule.window_tokens <= longest, f"window_tokens of at most max_position_embeddings = {longest}")
        return schedule


def shipped_recipes() -> dict[str, Path]:
    """Every shipped recipe by name."""
    return {path.stem: path for path in sorted(_RECIPES.glob("*.toml"))}


def read_recipe(recipe: str | Path) -> Recipe:
    """Read a recipe: a shipped name or a TOML file.

    Raises
    ------
    InputError
        If there is no such recipe, or it is no TOML, or a value is missing, misspelt, out of bounds or contradictory.
    """
    path = shipped_recipes().get(str(recipe), Path(recipe))
    try:
        size = path.stat().st_size
        if size > _LARGEST_RECIPE_BYTES:
            raise InputError(path, "size", f"{size} bytes", f"at most {_LARGEST_RECIPE_BYTES} bytes")
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        expected = "a TOML file, or a shipped recipe: " + ", ".join(shipped_recipes())
        raise InputError(path, "recipe", error.strerror or str(error), expected) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(path, "TOML", str(error), "a TOML document") from None
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling is the message that helps.
        problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise InputError.first_of(path, problems) from None
