"""Augmentation of batches: flips and quarter turns, mixup, PatchDropout.

Functions take batches on any device, and draw from torch's global generator.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def dihedral_views(tiles: "Tensor") -> "list[Tensor]":
    """Return all flips and quarter turns of a batch, the unchanged tiles first.

    Args:
        tiles: (B, H, W, C), any dtype.

    Returns:
        8 views of the batch for square tiles; 4 for others, which are not transposed.
    """
    views = [tiles, tiles.flip(1), tiles.flip(2), tiles.flip(1, 2)]
    return views + [v.transpose(1, 2) for v in views] if tiles.shape[1] == tiles.shape[2] else views


def random_dihedral(tiles: "Tensor") -> "Tensor":
    """Apply a random flip and quarter turn to each tile.

    Args:
        tiles: (B, H, W, C), any dtype. Tiles that are not square are only flipped.

    Returns:
        A new tensor of the same shape and dtype.
    """
    import torch

    def apply_to_half(tiles: "Tensor", change: Callable[["Tensor"], "Tensor"]) -> "Tensor":
        drawn = (torch.rand(len(tiles)) < 0.5).nonzero()[:, 0].to(tiles.device)
        return tiles.index_copy(0, drawn, change(tiles.index_select(0, drawn)))

    tiles = apply_to_half(tiles, lambda some: some.flip(1))
    tiles = apply_to_half(tiles, lambda some: some.flip(2))
    if tiles.shape[1] == tiles.shape[2]:
        tiles = apply_to_half(tiles, lambda some: some.transpose(1, 2))
    return tiles


def mixup(tiles: "Tensor", targets: "Tensor", *, alpha: float) -> "tuple[Tensor, Tensor]":
    """Mix each tile and its target with another of the batch.

    Mixup (Zhang et al. 2018, arXiv:1710.09412) with one mixing weight for the whole batch.

    Args:
        tiles: uint8 or int32 (B, H, W, C).
        targets: class probabilities, float (B, C).
        alpha: the weight is drawn from Beta(alpha, alpha).

    Returns:
        Mixed tiles, rounded to their dtype, and mixed targets.
    """
    import torch

    weight = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(tiles)).to(tiles.device)
    mixed = torch.lerp(tiles[partner].float(), tiles.float(), weight).round().to(tiles.dtype)
    return mixed, torch.lerp(targets[partner], targets, weight)


def drop_patches(tokens: "Tensor", fraction: float, *, prefix_tokens: int) -> "Tensor":
    """Leave out random patches of each image.

    PatchDropout (Liu et al. 2022, arXiv:2208.07220): a training step costs about as much as the patches that
    are left.

    Args:
        tokens: (B, N, D), with their position embeddings.
        fraction: fraction of the patches to leave out, above 0 and below 1; at least one patch is kept.
        prefix_tokens: number of first tokens, which are kept (class, distillation, registers).

    Returns:
        (B, prefix_tokens + K, D): the prefix and K patches in their order.
    """
    import torch

    batch, count, width = tokens.shape
    patches = count - prefix_tokens
    keep = kept_patches(patches, fraction)
    drawn = torch.rand(batch, patches, device=tokens.device).argsort(1)[:, :keep].sort(1).values
    kept = tokens[:, prefix_tokens:].gather(1, drawn[..., None].expand(-1, -1, width))
    return torch.cat([tokens[:, :prefix_tokens], kept], 1)


def kept_patches(patches: int, fraction: float) -> int:
    """Return how many patches of an image are kept if a fraction is left out."""
    return max(1, round(patches * (1 - fraction)))
