"""Token merging of similar patches (Bolya et al. 2023, arXiv:2210.09461).

Half of the patches are merged at once, after a few layers, so that merging takes only a few large operations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from orbitune.errors import ModelError
from orbitune.fastpath.attention import split_qkv
from orbitune.models.families.family import Family
from orbitune.models.precision import matmul


def check_merging(after: Sequence[int], family: Family, *, depth: int) -> None:
    """Check that a model can merge tokens after these layers.

    Args:
        after: numbers of layers, from 1.
        family: family of the backbone.
        depth: number of layers.

    Raises:
        ModelError: the head reads the patches, or the numbers are not ascending and below `depth`.
    """
    if after and not family.reads_leading_tokens:
        raise ModelError(
            f"The tokens of {family.title} cannot be merged: its head reads the patches themselves."
        )
    if list(after) != sorted(set(after)) or not all(0 < number < depth for number in after):
        raise ModelError(
            f"Tokens cannot be merged after blocks {', '.join(map(str, after))}: name blocks from 1 to "
            f"{depth - 1}, each once and in order."
        )


def merge(x: Tensor, sizes: Tensor | None, *, prefix_tokens: int) -> tuple[Tensor, Tensor]:
    """Merge every other patch into the most similar of the rest (cosine).

    Args:
        x: tokens (B, N, D).
        sizes: number of patches that each token stands for (B, N), the weights of the means; None for 1.
        prefix_tokens: number of first tokens, which are never merged.

    Returns:
        The N - ceil((N - prefix_tokens) / 2) tokens that are left, and their sizes.
    """
    sizes = torch.ones_like(x[..., 0]) if sizes is None else sizes
    merged, kept = x[:, prefix_tokens::2], x[:, prefix_tokens + 1 :: 2]
    nearest = matmul(merged, F.normalize(kept, dim=-1).transpose(1, 2)).argmax(-1)
    joins = (nearest[:, None] == torch.arange(kept.shape[1], device=x.device)[:, None]).to(x.dtype)
    merged_sizes, kept_sizes = sizes[:, prefix_tokens::2, None], sizes[:, prefix_tokens + 1 :: 2, None]
    total = matmul(joins, merged_sizes) + kept_sizes
    mean = (matmul(joins, merged * merged_sizes) + kept * kept_sizes) / total
    return torch.cat([x[:, :prefix_tokens], mean], 1), torch.cat([sizes[:, :prefix_tokens], total[..., 0]], 1)


def attend_merged(sizes: Tensor, qkv: Sequence[Tensor]) -> Tensor:
    """Return attention in which each token counts `sizes` (B, N) times.

    See `attention.attend`.
    """
    q, k, v = (t.transpose(1, 2) for t in split_qkv(*qkv))
    scores = matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5 + sizes.log()[:, None, None]
    return matmul(scores.softmax(-1), v).transpose(1, 2)
