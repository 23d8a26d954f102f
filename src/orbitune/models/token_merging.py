"""Token merging of similar patches (Bolya et al. 2023, arXiv:2210.09461).

Half of the patches are merged at once, after a few layers, so that merging takes only a few large operations.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orbitune.errors import ModelError
from orbitune.models.files.checkpoint_files import check_config

if TYPE_CHECKING:
    from torch import Tensor

    from orbitune.models.backbones import Backbone


def check_merging(after: Sequence[int], backbone: "Backbone", *, patches: int | None = None) -> None:
    """Check that a model can merge tokens after these layers.

    Args:
        after: numbers of layers, from 1.
        backbone: of the model.
        patches: number of an image; None where it is not known yet.

    Raises:
        ModelError: the head reads the patches, the numbers are not ascending and below that of the layers,
            or no patch would be left.
    """
    family, depth = backbone.family, check_config(backbone.folder).num_hidden_layers
    if after and not family.reads_leading_tokens:
        own = family.pooling == "own" and family.why_plain
        raise ModelError(
            f"The tokens of {family.title} cannot be merged (--merge-tokens): "
            f"{own or 'its head reads the patches themselves'}."
        )
    blocks = ",".join(map(str, after))
    if list(after) != sorted(set(after)) or not all(0 < number < depth for number in after):
        raise ModelError(
            f"Tokens cannot be merged after blocks {blocks} (--merge-tokens): name blocks from 1 to "
            f"{depth - 1}, each once and in order."
        )
    if patches is not None and patches >> len(after) == 0:
        raise ModelError(
            f"Tokens cannot be merged after blocks {blocks} (--merge-tokens): an image has {patches} "
            f"patches, too few to halve {len(after)} times."
        )


def merge(x: "Tensor", sizes: "Tensor | None", *, prefix_tokens: int) -> "tuple[Tensor, Tensor]":
    """Merge every other patch into the most similar of the rest (cosine).

    Args:
        x: tokens (B, N, D).
        sizes: number of patches that each token stands for (B, N), the weights of the means; None for 1.
        prefix_tokens: number of first tokens, which are never merged.

    Returns:
        The N - ceil((N - prefix_tokens) / 2) tokens that are left, and their sizes.
    """
    import torch
    from torch.nn import functional as F

    from orbitune.models.precision import matmul

    sizes = torch.ones_like(x[..., 0]) if sizes is None else sizes
    merged, kept = x[:, prefix_tokens::2], x[:, prefix_tokens + 1 :: 2]
    with torch.no_grad():  # which patches are alike has no gradient
        nearest = matmul(merged, F.normalize(kept, dim=-1).transpose(1, 2)).argmax(-1)
        joins = (nearest[:, None] == torch.arange(kept.shape[1], device=x.device)[:, None]).to(x.dtype)
        merged_sizes, kept_sizes = sizes[:, prefix_tokens::2, None], sizes[:, prefix_tokens + 1 :: 2, None]
        total = matmul(joins, merged_sizes) + kept_sizes
    mean = (matmul(joins, merged * merged_sizes) + kept * kept_sizes) / total
    return torch.cat([x[:, :prefix_tokens], mean], 1), torch.cat([sizes[:, :prefix_tokens], total[..., 0]], 1)
