"""The state of a training run as one safetensors file, written whole or not at all, from which the run resumes.

Tensors: the float32 master weights under their own names, and `optimizer.<key>.<name>` for AdamW's moments. Metadata
(JSON): the recipe, the identity of the training data, and the `Progress`. Nothing in the file is ever executed. The
checkpoint that inference reads is another one, made by `workloads.training.export`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from isa import InputError
from workloads.files import whole_file
from workloads.training.model import BitNetForCausalLM
from workloads.training.recipe import Recipe

__all__ = ["CHECKPOINT", "Progress", "TrainingCheckpoint", "read_checkpoint", "restore", "save_checkpoint"]

CHECKPOINT = "checkpoint.safetensors"

_KIND = "bitloom training checkpoint 1"
_OPTIMIZER = "optimizer."
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_DIGESTS = TypeAdapter(dict[str, str])


class Progress(BaseModel):
    """How far a run is: the counters that a resumed run goes on from.

    `loss_sum_nats` and `loss_steps` cover the steps since the last evaluation; `log_lines` is the length of the log.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    step: NonNegativeInt = 0
    elapsed_seconds: NonNegativeFloat = 0.0
    sequences_seen: dict[str, NonNegativeInt]
    loss_sum_nats: float = 0.0
    loss_steps: NonNegativeInt = 0
    evaluations: NonNegativeInt = 0
    held_out_nats_per_token: dict[str, float] = {}
    log_lines: NonNegativeInt = 0
    finished: bool = False


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint as read: weights and optimizer moments are float tensors on the CPU."""

    path: Path
    recipe: Recipe
    data_sha256: Mapping[str, str]
    progress: Progress
    tensors: Mapping[str, Tensor]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The master weights by their Hugging Face names."""
        return {name: tensor for name, tensor in self.tensors.items() if not name.startswith(_OPTIMIZER)}


def save_checkpoint(
    path: Path,
    recipe: Recipe,
    data_sha256: Mapping[str, str],
    progress: Progress,
    model: BitNetForCausalLM,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the state of a run; `InputError` if the file cannot be written."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    state = optimizer.state_dict()["state"]
    for index, name in enumerate(_optimized_names(model, optimizer)):
        tensors |= {f"{_OPTIMIZER}{key}.{name}": state[index][key].contiguous() for key in _MOMENTS}
    metadata = {
        "kind": _KIND,
        "recipe": recipe.model_dump_json(),
        "data_sha256": _DIGESTS.dump_json(dict(data_sha256)).decode(),
        "progress": progress.model_dump_json(),
    }
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata)


def read_checkpoint(path: Path) -> TrainingCheckpoint:
    """Read a checkpoint and check it against the model of its own recipe.

    Raises
    ------
    InputError
        If the file is missing, damaged or no training checkpoint, or its tensors do not fit its recipe.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as error:
        raise InputError(path, "safetensors", str(error), "a whole, valid safetensors file") from None
    except OSError as error:
        raise InputError(path, "file", error.strerror or str(error), "the checkpoint of a training run") from None
    if metadata.get("kind") != _KIND:
        raise InputError(path, "kind", metadata.get("kind"), _KIND)
    try:
        recipe = Recipe.model_validate_json(metadata.get("recipe", ""))
        progress = Progress.model_validate_json(metadata.get("progress", ""))
        data_sha256 = _DIGESTS.validate_json(metadata.get("data_sha256", ""))
    except ValidationError as error:
        raise InputError.first_of(path, error.errors()) from None
    checkpoint = TrainingCheckpoint(path, recipe, data_sha256, progress, tensors)
    _check(checkpoint)
    return checkpoint


def restore(checkpoint: TrainingCheckpoint, model: BitNetForCausalLM, optimizer: torch.optim.Optimizer) -> None:
    """Put the weights and moments of a checkpoint into a model of its recipe and that model's AdamW optimizer.

    Raises
    ------
    InputError
        If moments are missing or of the wrong shape.
    """
    parameters = dict(model.named_parameters())
    moments: dict[int, dict[str, Tensor]] = {}
    for index, name in enumerate(_optimized_names(model, optimizer)):
        shapes = {"step": (), "exp_avg": parameters[name].shape, "exp_avg_sq": parameters[name].shape}
        stored = {key: (f"{_OPTIMIZER}{key}.{name}", shape) for key, shape in shapes.items()}
        moments[index] = {key: _tensor(checkpoint, field, shape) for key, (field, shape) in stored.items()}
    model.load_state_dict(checkpoint.weights)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})


def _optimized_names(model: BitNetForCausalLM, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which the optimizer numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _check(checkpoint: TrainingCheckpoint) -> None:
    """The tensors are those of the recipe's model, the counters those of its training sets."""
    shape = checkpoint.recipe.model
    elements = sum(tensor.numel() for tensor in checkpoint.weights.values())
    # First the sum: a recipe that claims a larger model than the file holds must not make us build that model.
    if elements != shape.parameters:
        raise InputError(checkpoint.path, "parameters", elements, f"{shape.parameters} of the recipe's model")
    parameters = dict(BitNetForCausalLM(shape, seed=0).named_parameters())
    for name, parameter in parameters.items():
        _tensor(checkpoint, name, parameter.shape)
    if unknown := set(checkpoint.weights) - set(parameters):
        raise InputError(checkpoint.path, "weights", min(unknown), "only tensors of the recipe's model")
    sets = [entry.name for entry in checkpoint.recipe.data.train]
    if set(checkpoint.progress.sequences_seen) != set(sets):
        raise InputError(checkpoint.path, "sequences_seen", checkpoint.progress.sequences_seen, f"counts of {sets}")


def _tensor(checkpoint: TrainingCheckpoint, name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = checkpoint.tensors.get(name)
    if tensor is None:
        raise InputError(checkpoint.path, name, "no such tensor", "a tensor of that name")
    found = (tensor.dtype, tuple(tensor.shape))
    if found != (torch.float32, tuple(shape)):
        raise InputError(checkpoint.path, name, found, (torch.float32, tuple(shape)))
    if not torch.isfinite(tensor).all():
        raise InputError(checkpoint.path, name, "a value that is not finite", "finite numbers")
    return tensor
