"""Checkpoints: the state between two steps, in one safetensors file.

It holds no states of random generators: every step is seeded with the recipe's seed and its own number.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, Field

from orbitune.errors import RunError
from orbitune.evaluation.run_result import EpochMetrics
from orbitune.models.files.checksummed_safetensors import check_checksum, save_checksummed
from orbitune.records import StoredRecord, rename_keys

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from orbitune.models.adalora import RankSchedule


class TrainingState(StoredRecord):
    """The state of a run between two steps, beside its tensors; mutable.

    Attributes:
        step: number of optimizer steps so far.
        loss_sum, correct, seen: sums over the training tiles of the current epoch so far.
        history: one entry per evaluated epoch.
        totals: seconds by phase and joules, see `orbitune.training.meter.Meter`.
        peak_rss_bytes: highest resident memory of all processes that worked on this run.
        resumed: how often the run was resumed.
        attention: name of the attention kernel; another one rounds in another way.
        cache_built: whether this run computed the cached activations, or found them on disk.
        test_reads: how often the test split was read.
    """

    model_config = ConfigDict(frozen=False)

    FORMAT: ClassVar[int] = 2
    UNVERSIONED: ClassVar[int | None] = 1

    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    history: list[EpochMetrics] = Field(default_factory=list)
    totals: dict[str, float] = Field(default_factory=dict)
    peak_rss_bytes: int = 0
    resumed: int = 0
    attention: str | None = None
    cache_built: bool = False
    test_reads: int = 0

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert the state of version 0.1, with two renamed entries."""
        if "prefix_built" in values:
            values["cache_built"] = values.pop("prefix_built")
        if isinstance(totals := values.get("totals"), dict):
            values["totals"] = rename_keys(totals, {"prefix_seconds": "cache_seconds"})
        return values


def trainable(model: "nn.Module") -> dict[str, "Tensor"]:
    """Return the tensors that training changes, by name.

    These are the trained parameters, and the statistics of batch normalisations whose scale is trained.
    """
    changed = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    statistics = {
        name: buffer
        for name, buffer in model.named_buffers()
        if name.endswith((".running_mean", ".running_var")) and f"{name.rpartition('.')[0]}.weight" in changed
    }
    return {**changed, **statistics}


def save_checkpoint(
    path: Path,
    model: "nn.Module",
    *,
    optimizer: "Optimizer",
    schedule: "RankSchedule | None",
    state: TrainingState,
) -> None:
    """Write everything the next step depends on.

    Args:
        path: file to replace.
        model: model in training.
        optimizer: its AdamW.
        schedule: AdaLoRA's rank schedule, or None.
        state: progress of the run.
    """
    tensors = {f"model/{name}": tensor for name, tensor in trainable(model).items()}
    if schedule:
        tensors |= {f"schedule/{name}": tensor for name, tensor in schedule.state().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in moments.items()}
    save_checksummed(path, tensors, metadata={"progress": json.dumps(state.to_json())})


def load_checkpoint(
    path: Path, model: "nn.Module", *, optimizer: "Optimizer", schedule: "RankSchedule | None"
) -> TrainingState:
    """Load a checkpoint into the model, the optimizer and the method's schedule.

    Raises:
        RunError: the file is damaged or belongs to another model.
    """
    tensors, metadata = _read(path)
    try:
        set_trainable(model, _with_prefix(tensors, "model/"))
        moments: dict[int, dict[str, Any]] = {}
        for name, tensor in _with_prefix(tensors, "optimizer/").items():
            index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        if schedule:
            schedule.restore(_with_prefix(tensors, "schedule/"))
        return _parse_state(metadata)
    except (KeyError, ValueError, TypeError) as error:
        raise _unusable(path, f"does not fit this run ({error})") from None


def read_state(path: Path) -> TrainingState:
    """Read the state of a run from its checkpoint, without the tensors.

    Raises:
        RunError: the file is damaged.
    """
    with _opened(path, "numpy") as file:
        return _parse_state(file.metadata())


def save_best(path: Path, model: "nn.Module", *, epoch: int) -> None:
    """Write the trained weights after this epoch, counted from 1."""
    save_checksummed(path, trainable(model), metadata={"epoch": str(epoch)})


def load_best(path: Path, model: "nn.Module", *, epoch: int) -> None:
    """Load the weights that `save_best` wrote after this epoch into the model.

    Raises:
        RunError: the file is missing, damaged, of another epoch or of another model.
    """
    tensors, metadata = _read(path)
    try:
        if metadata.get("epoch") != str(epoch):
            raise ValueError(f"it is of epoch {metadata.get('epoch')}, not {epoch}")
        set_trainable(model, tensors)
    except (KeyError, ValueError) as error:
        raise _unusable(path, f"does not fit this run ({error})") from None


def _parse_state(metadata: dict[str, str]) -> TrainingState:
    """Return the state that a checkpoint holds."""
    return TrainingState.from_json(json.loads(metadata["progress"]))


def _with_prefix(tensors: dict[str, "Tensor"], prefix: str) -> dict[str, "Tensor"]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def set_trainable(model: "nn.Module", tensors: dict[str, "Tensor"]) -> None:
    """Copy saved values into the trainable tensors.

    Raises:
        ValueError: names or shapes do not match.
    """
    import torch

    own = trainable(model)
    if own.keys() != tensors.keys():
        raise ValueError("other tensors")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise ValueError(f"{name} has another shape")
            tensor.copy_(tensors[name])


def _read(path: Path) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    with _opened(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def _opened(path: Path, framework: str) -> Iterator[Any]:
    """Open a safetensors file after checking its checksum."""
    from safetensors import SafetensorError, safe_open

    try:
        check_checksum(path)
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise _unusable(path, f"is damaged ({error})") from None


def _unusable(path: Path, reason: str) -> RunError:
    return RunError(
        f"{path} {reason}. Train again with another --out, or remove {path.parent} to begin this run again."
    )
