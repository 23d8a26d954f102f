"""Token merging in the forward pass of transformers, see `orbitune.models.token_merging`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from orbitune.models.token_merging import merge


@contextmanager
def patches_merged(
    layers: nn.ModuleList, merge_after: Sequence[int], *, prefix_tokens: int
) -> Iterator[None]:
    """Merge half of the patches before some layers within the context.

    Args:
        layers: of a model whose layers take an attention mask, which is added to the scores.
        merge_after: numbers of layers, from 1, at least one.
        prefix_tokens: number of first tokens, which are never merged.
    """
    own, tokens = list(layers), _Tokens(prefix_tokens)
    try:
        for number in range(merge_after[0], len(own)):
            layers[number] = _MergedLayer(own[number], tokens, merges=number in merge_after)
        yield
    finally:
        for number, layer in enumerate(own):
            layers[number] = layer


@dataclass
class _Tokens:
    """Tokens of a batch, each of which stands for `sizes` (B, N) patches; None for 1."""

    prefix: int
    sizes: Tensor | None = None


class _MergedLayer(nn.Module):
    """In place of a layer: patches are merged before it, or were before an earlier one.

    It is no hook, as transformers may recompute a layer with its hooks in the backward pass.
    """

    def __init__(self, layer: nn.Module, tokens: _Tokens, *, merges: bool) -> None:
        super().__init__()
        self.layer, self._tokens, self._merges = layer, tokens, merges

    def forward(self, x: Tensor, mask: None = None, **more: Any) -> Tensor:
        """Return the layer's output (B, N, D), with attention in proportion to the tokens' sizes."""
        tokens = self._tokens
        if self._merges:
            with torch.autocast(x.device.type, enabled=False):
                x, tokens.sizes = merge(x, tokens.sizes, prefix_tokens=tokens.prefix)
        assert tokens.sizes is not None
        y: Tensor = self.layer(x, tokens.sizes.log()[:, None, None], **more)
        return y
