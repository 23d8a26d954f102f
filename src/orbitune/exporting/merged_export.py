"""Export to a transformers folder, with any adapter merged into the weights."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbitune.exporting.reference import Predict, ReferenceModel


def write_merged(reference: "ReferenceModel", folder: Path) -> None:
    """Write a folder that transformers opens without PEFT.

    Args:
        reference: the model to export.
        folder: folder to write.
    """
    from orbitune.models.checkpoint_io import save_model
    from orbitune.models.lineage.seen_file import copy_seen
    from orbitune.models.lineage.shipping import without_paths

    metadata = without_paths(reference.bundle.metadata.model_copy(update={"method": "full"}))
    save_model(reference.merged(), folder, backbone=reference.setup.backbone, metadata=metadata)
    copy_seen(reference.bundle.place, folder)


def open_merged(folder: Path, reference: "ReferenceModel") -> "Predict":
    """Return a prediction function of such a folder.

    Its first call is the forward pass of transformers, the others are the fast path, which takes two thirds
    of the time.

    Args:
        folder: what `write_merged` wrote.
        reference: the model that it was exported from.

    Returns:
        Function of uint8 tiles (B, H, W, 3) to probabilities (B, C).
    """
    from orbitune.models.reload import load

    model = load(str(folder), "")
    fast, first = reference.predict(model), iter([reference.predict(model, fast=False)])
    return lambda tiles: next(first, fast)(tiles)
