"""Tokens before the patches, and interpolation of position embeddings."""

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F


def leading_tokens(embeddings: Any) -> list[Tensor]:
    """Return the tokens that have position embeddings before the patches, (1, 1, D): class, distillation."""
    names = ("cls_token", "distillation_token")
    return [token for name in names if (token := getattr(embeddings, name, None)) is not None]


def interpolate_positions(positions: Tensor, count: int, *, antialias: bool) -> Tensor:
    """Return position embeddings for another number of patches, (1, count * count, D).

    Args:
        positions: (1, P, D), of a square of patches.
        count: patches along a side.
        antialias: whether to interpolate with antialiasing.
    """
    if count * count == positions.shape[1]:
        return positions
    grid = positions.unflatten(1, (math.isqrt(positions.shape[1]), -1)).permute(0, 3, 1, 2)
    resized = F.interpolate(
        grid, size=(count, count), mode="bicubic", align_corners=False, antialias=antialias
    )
    return resized.permute(0, 2, 3, 1).flatten(1, 2)
