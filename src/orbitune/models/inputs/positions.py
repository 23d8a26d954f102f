"""Tokens before the patches, and position embeddings for another number of patches."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def leading_tokens(embeddings: Any) -> "list[Tensor]":
    """Return the tokens that have position embeddings before the patches, (1, 1, D): class, distillation."""
    names = ("cls_token", "distillation_token")
    return [token for name in names if (token := getattr(embeddings, name, None)) is not None]


def position_embeddings(embeddings: Any) -> "Tensor | None":
    """Return the position embeddings of the leading tokens and the patches, (1, N, D); None without any."""
    table = getattr(embeddings, "position_embedding", None)  # a module, in models of images and text
    stored: Tensor | None = getattr(embeddings, "position_embeddings", None)
    return stored if table is None else table.weight[None]


def interpolate_positions(positions: "Tensor", count: int, *, antialias: bool) -> "Tensor":
    """Return position embeddings for another number of patches, (1, count * count, D).

    Args:
        positions: (1, P, D), of a square of patches.
        count: patches along a side.
        antialias: whether to interpolate with antialiasing.
    """
    from torch.nn import functional as F

    if count * count == positions.shape[1]:
        return positions
    grid = positions.unflatten(1, (math.isqrt(positions.shape[1]), -1)).permute(0, 3, 1, 2)
    resized = F.interpolate(
        grid, size=(count, count), mode="bicubic", align_corners=False, antialias=antialias
    )
    return resized.permute(0, 2, 3, 1).flatten(1, 2)


def rotary_angles(count: int, frequencies: "Tensor") -> "Tensor":
    """Return the angles by which DINOv3 rotates queries and keys of patches.

    Args:
        count: patches along a side.
        frequencies: angular frequencies (D / 4,), of heads of width D; the buffer `inv_freq` of transformers.

    Returns:
        float32 (count * count, D / 2): of the vertical position, then of the horizontal one. Number i rotates
        the pair of elements i and i + D / 2.
    """
    import torch

    centres = (torch.arange(count, device=frequencies.device) + 0.5) / count * 2 - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="ij"), -1).flatten(0, 1)
    return (2 * math.pi * grid[:, :, None] * frequencies.float()).flatten(1)
