"""The saved model and predictions of a finished run."""

import json
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from orbitune.errors import RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.task import Decision
from orbitune.files import replacing
from orbitune.integrity import with_checksum, without_checksum
from orbitune.models.checkpoint_io import open_saved
from orbitune.models.files.run_weights import describe_missing, holds_weights
from orbitune.models.metadata import ModelMetadata
from orbitune.models.methods import find_method

_PREDICTIONS = "predictions.npz"


def open_model(run: Path, result: RunResult) -> tuple[Path, ModelMetadata]:
    """Return folder and metadata of a run's model, its files checked by hash.

    Args:
        run: folder of a finished run.
        result: its result.json.

    Returns:
        The folder of the model, and its metadata.

    Raises:
        OrbituneError: a file is missing or damaged, or the model is of another run.
    """
    folder = run / find_method(result.recipe.method).folder
    if not holds_weights(run):
        raise RunError(describe_missing(run))
    metadata = open_saved(folder)
    if metadata.recipe_hash not in (None, result.recipe_hash):
        raise RunError(
            f"{folder} belongs to a run of another recipe than {run / 'result.json'}. "
            "Restore it, or train again."
        )
    if metadata.data.fingerprint not in (None, result.data.fingerprint):
        raise RunError(
            f"{folder} was trained on other data than {run / 'result.json'} says. Restore it, or train again."
        )
    return folder, metadata


def read_decision(run: Path, metadata: ModelMetadata) -> Decision:
    """Return how labels follow from the logits of a run's model.

    The temperature of a run from before it was stored with the model is fitted again.

    Args:
        run: folder of a finished run.
        metadata: of its model.

    Raises:
        OrbituneError: its predictions are needed, and missing or damaged.
    """
    if metadata.temperature is not None:
        return Decision.of(metadata)
    kept = read_predictions(run, "validation")
    return find_task(metadata.task).fit_decision(kept.logits, kept.labels)


@dataclass(frozen=True)
class Predictions:
    """The outputs of a run on one split.

    Attributes:
        indices: int64 (N,), positions in the tile set.
        labels: int64 (N,), true classes; or uint8 (N, C) with several labels a tile.
        logits: float32 (N, C).
    """

    indices: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


def write_predictions(run: Path, splits: dict[str, Predictions], *, recipe_hash: str) -> None:
    """Write predictions.npz, whose comment is a checksum of the file.

    Every array has the smallest type that holds its values; of sorted indices, steps take least space.

    Args:
        run: run folder.
        splits: predictions by name of the split.
        recipe_hash: hash of the run's recipe, stored to detect files of another run.
    """
    arrays: dict[str, np.ndarray] = {"recipe_hash": np.array(recipe_hash)}
    for split, each in splits.items():
        arrays[f"{split}_steps"] = np.diff(each.indices, prepend=0).astype(np.int32)
        arrays[f"{split}_labels"] = each.labels.astype(np.min_scalar_type(each.labels.max(initial=0)))
        small = each.logits.astype(np.float16)
        arrays[f"{split}_logits"] = small if np.array_equal(small, each.logits) else each.logits
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_BZIP2) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        archive.comment = with_checksum(b"")  # as long as the one that takes its place
    with replacing(run / _PREDICTIONS) as temporary:
        temporary.write_bytes(with_checksum(content.getvalue()[: -len(with_checksum(b""))]))


def holds_predictions(run: Path) -> bool:
    """Return whether a run folder has predictions, damaged or not."""
    return (run / _PREDICTIONS).is_file()


def read_predictions(run: Path, split: str, *, classes: int | None = None) -> Predictions:
    """Read a finished run's predictions of a split.

    Args:
        split: `validation` or `test`.
        classes: the number of classes that is expected; None for any.

    Raises:
        RunError: predictions.npz is missing, damaged, of another run, or does not hold what it should.
    """
    file = run / _PREDICTIONS
    try:
        kept, recipe_hash = _read(file, split)
        _check(kept, classes)
    except Exception as error:  # of a dozen kinds: numpy even parses headers as Python
        raise _unusable(file, str(error) if isinstance(error, _MismatchError) else "") from None
    if (stated := _recipe_hash(run)) and recipe_hash and stated != recipe_hash:
        raise RunError(
            f"{file} belongs to a run of another recipe than the result.json beside it. "
            "Restore it, or train again."
        )
    return kept


class _MismatchError(ValueError):
    """Arrays that do not fit each other; the message has the reason."""


def _unusable(file: Path, reason: str = "") -> RunError:
    """Return the error for a predictions.npz that cannot be used."""
    return RunError(
        f"{file} is missing or damaged{reason and f': {reason}'}. Restore it, or train again with "
        "another --out."
    )


def _read(file: Path, split: str) -> tuple[Predictions, str | None]:
    """Read the predictions of a split, and the recipe hash of the file."""
    data = file.read_bytes()
    with zipfile.ZipFile(BytesIO(data)) as archive:
        if archive.comment:
            without_checksum(data)
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise _MismatchError("it is not an archive of arrays")
        stated = str(arrays["recipe_hash"]) if "recipe_hash" in arrays else None
        labels, logits = arrays[f"{split}_labels"], arrays[f"{split}_logits"]
        if f"{split}_steps" not in arrays:  # of an earlier version, with wider types
            return Predictions(arrays[f"{split}_indices"], labels, logits), stated
        indices = np.cumsum(arrays[f"{split}_steps"], dtype=np.int64)
        wide = labels.astype(np.int64) if labels.ndim == 1 else labels
        return Predictions(indices, wide, logits.astype(np.float32)), stated


def _check(kept: Predictions, classes: int | None) -> None:
    """Raise a ValueError where the arrays do not fit each other."""
    indices, labels, logits = kept.indices, kept.labels, kept.logits
    shapes = ((len(logits),), logits.shape)  # one label a tile, or several
    if logits.ndim != 2 or labels.shape not in shapes or indices.shape != shapes[0] or not len(logits):
        raise _MismatchError("its arrays have wrong shapes")
    if logits.dtype.kind != "f" or {labels.dtype.kind, indices.dtype.kind} - set("iu"):
        raise _MismatchError("its arrays have wrong types")
    if classes not in (None, logits.shape[1]):
        raise _MismatchError(f"it is of {logits.shape[1]} classes, not {classes}")
    if not np.isfinite(logits).all():
        raise _MismatchError("its logits are not all finite")
    if labels.min() < 0 or labels.max() >= (logits.shape[1] if labels.ndim == 1 else 2):
        raise _MismatchError("it has labels beyond its classes")


def _recipe_hash(run: Path) -> str | None:
    """Return the recipe hash in the result.json of a run.

    Returns None if it cannot be read.
    """
    try:
        return str(json.loads((run / "result.json").read_text())["recipe_hash"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
