"""From a built model to what computes it: tiles in, logits out, by the fast path or by the model itself."""

from typing import Any

import torch
from torch import Tensor, nn

from orbitune.data.transform import Transform
from orbitune.fastpath.allocator import keep_freed_memory
from orbitune.fastpath.attention import fastest_kernel
from orbitune.fastpath.classifier import FastClassifier, obstacle
from orbitune.models.backbones import Backbone, token_count
from orbitune.models.families import Family
from orbitune.recipe import Recipe

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class PlainClassifier(nn.Module):
    """The model as transformers and PEFT compute it, under autocast where the precision is not fp32."""

    attention = "transformers"

    def __init__(self, model: nn.Module, family: Family, transform: Transform, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.transform = transform
        self.dtype = dtype
        self._arguments = family.forward

    def forward(self, tiles: Tensor, size: int | None = None) -> Tensor:
        """As `FastClassifier.forward`."""
        pixels = self.transform.with_size(size or self.transform.size)(tiles)
        with torch.autocast(tiles.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model(pixel_values=pixels, **self._arguments).logits.float()


def make_network(
    model: nn.Module, recipe: Recipe, backbone: Backbone, transform: Transform, attention: str | None
) -> nn.Module:
    """What computes a model that lies on its device; the model's frozen layers may lose precision.

    Args:
        recipe: resolved.
        attention: the kernel of an earlier part of the same run, or None for the faster one at the shape.

    Returns:
        A module from uint8 tiles (B, H, W, 3) to float32 logits (B, C), with the attribute `attention`.
    """
    dtype = DTYPES[str(recipe.precision)]
    if not recipe.fast or obstacle(model):
        if recipe.checkpointing:
            # The reentrant kind would give adapters no gradient.
            model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        return PlainClassifier(model, backbone.family, transform, dtype)
    device = next(model.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    if attention is None:
        config: Any = backbone.config
        heads = config.num_attention_heads
        tokens = token_count(transform.size, backbone.patch_size)
        assert recipe.micro_batch is not None
        shape = (recipe.micro_batch, tokens, heads, config.hidden_size // heads)
        attention = fastest_kernel(shape, dtype, device)
    return FastClassifier(
        model, backbone.family, transform, dtype, attention, checkpointing=recipe.checkpointing
    )
