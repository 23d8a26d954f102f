"""Logits of a network for many tiles, one batch at a time."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.augment import dihedral_views
from orbitune.evaluation.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn


def forward_with_tta(network: "nn.Module", tiles: "Tensor", *, tta: str, task: Task) -> "Tensor":
    """Return logits (B, C) of uint8 tiles (B, H, W, 3), averaged over flips if asked.

    Args:
        network: network in evaluation mode, from tiles to logits.
        tiles: uint8 (B, H, W, 3).
        tta: `none`; or `flips` for the logits of the mean probability over a tile's flips and rotations.
        task: of the labels.
    """
    if tta == "none":
        return network(tiles)
    return task.mean_logits([network(view) for view in dihedral_views(tiles)])


def predict_logits(
    forward: "Callable[[np.ndarray], Tensor]",
    indices: np.ndarray,
    *,
    batch_size: int,
    after_batch: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Return the logits of the tiles at `indices`, in their order.

    Args:
        forward: returns logits (B, C) of the tiles at some of the indices. The caller sets evaluation mode.
        indices: tile indices.
        batch_size: batch size in tiles.
        after_batch: called after each batch with its number of tiles.
    """
    import torch

    logits = []
    with torch.inference_mode():
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            logits.append(forward(batch).float().cpu().numpy())
            after_batch(len(batch))
    return np.concatenate(logits)
