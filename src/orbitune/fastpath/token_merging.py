"""Fewer tokens: patches that look alike become one, as in "Token Merging: Your ViT But Faster" (Bolya et al.
2023, arXiv:2210.09461).

Here half of the patches go at once, after a few blocks, so that a merging is a handful of large steps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from orbitune.errors import ModelError
from orbitune.fastpath.attention import parts_of
from orbitune.models.families import Family
from orbitune.models.precision import matmul


def check_merging(after: Sequence[int], family: Family, depth: int) -> None:
    """Raise a ModelError where a model of so many blocks cannot merge after these, numbered from 1."""
    if after and not family.head_reads_class_token:
        raise ModelError(
            f"The tokens of {family.title} cannot be merged: its head reads the patches themselves."
        )
    if list(after) != sorted(set(after)) or not all(0 < number < depth for number in after):
        raise ModelError(
            f"Tokens cannot be merged after blocks {', '.join(map(str, after))}: name blocks from 1 to "
            f"{depth - 1}, each once and in order."
        )


def merge(x: Tensor, sizes: Tensor | None, specials: int) -> tuple[Tensor, Tensor]:
    """Let every other patch join the most similar of the rest, by cosine; means are weighted by sizes.

    Args:
        x: tokens (B, N, D); the first `specials` are never merged.
        sizes: how many patches each token stands for (B, N); None for one each.

    Returns:
        Tokens and sizes of the N - ceil((N - specials) / 2) that are left.
    """
    sizes = torch.ones_like(x[..., 0]) if sizes is None else sizes
    going, staying = x[:, specials::2], x[:, specials + 1 :: 2]
    nearest = matmul(going, F.normalize(staying, dim=-1).transpose(1, 2)).argmax(-1)
    joins = (nearest[:, None] == torch.arange(staying.shape[1], device=x.device)[:, None]).to(x.dtype)
    goes, stays = sizes[:, specials::2, None], sizes[:, specials + 1 :: 2, None]
    total = matmul(joins, goes) + stays
    mean = (matmul(joins, going * goes) + staying * stays) / total
    return torch.cat([x[:, :specials], mean], 1), torch.cat([sizes[:, :specials], total[..., 0]], 1)


def attend_merged(sizes: Tensor, first: Tensor, rest: Tensor | None = None) -> Tensor:
    """`orbitune.fastpath.attention.attend` where each token counts as many times as its size (B, N) says."""
    q, k, v = (t.transpose(1, 2) for t in parts_of(first, rest))
    scores = matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5 + sizes.log()[:, None, None]
    return matmul(scores.softmax(-1), v).transpose(1, 2)
