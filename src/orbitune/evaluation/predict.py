"""Logits of a model for many tiles, a batch at a time."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


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
