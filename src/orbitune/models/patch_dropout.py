"""Random patches left out while training (PatchDropout, Liu et al. 2022, arXiv:2208.07220).

A step costs about as much as the patches that are left; evaluation sees all of them.
"""

import torch
from torch import Tensor


def drop_patches(tokens: Tensor, fraction: float, *, prefix_tokens: int) -> Tensor:
    """Leave out random patches of each image, drawn from torch's generator.

    Args:
        tokens: (B, N, D), with their position embeddings.
        fraction: fraction of the patches to leave out, above 0 and below 1; at least one patch is kept.
        prefix_tokens: number of first tokens, which are kept (class, distillation, registers).

    Returns:
        (B, prefix_tokens + K, D): the prefix and K patches in their order.
    """
    batch, count, width = tokens.shape
    patches = count - prefix_tokens
    keep = max(1, round(patches * (1 - fraction)))
    drawn = torch.rand(batch, patches, device=tokens.device).argsort(1)[:, :keep].sort(1).values
    kept = tokens[:, prefix_tokens:].gather(1, drawn[..., None].expand(-1, -1, width))
    return torch.cat([tokens[:, :prefix_tokens], kept], 1)
