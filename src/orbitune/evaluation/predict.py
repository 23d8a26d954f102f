"""Logits of a model for many tiles, a batch at a time."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.augment import dihedral_views

if TYPE_CHECKING:
    from torch import Tensor, nn


def forward_with_tta(network: "nn.Module", tiles: "Tensor", tta: str) -> "Tensor":
    """Logits (B, C) of uint8 tiles (B, H, W, 3).

    With `tta` "flips" they are the logarithm of the mean probability over a tile's flips and turns.
    """
    import torch

    if tta == "none":
        return network(tiles)
    each = [network(view).log_softmax(1) for view in dihedral_views(tiles)]
    return torch.stack(each).logsumexp(0) - math.log(len(each))


def predict_logits(
    forward: "Callable[[np.ndarray], Tensor]",
    indices: np.ndarray,
    batch_size: int,
    after_batch: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Logits of the tiles at `indices`, in their order.

    Args:
        forward: takes some of the indices, gives logits (B, C); the caller sets evaluation mode.
        after_batch: called with the number of tiles after each batch.

    Returns:
        float32 (len(indices), C).
    """
    import torch

    logits = []
    with torch.inference_mode():
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            logits.append(forward(batch).float().cpu().numpy())
            after_batch(len(batch))
    return np.concatenate(logits)
