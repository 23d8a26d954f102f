"""Floating point operations per image, counted by torch's FlopCounterMode.

They are counted on the model that transformers and PEFT build, on the meta device, so nothing is loaded or
computed. Every arm of a method has the same count, even if it computes less. A multiply-add counts as two
operations.
"""

from typing import TYPE_CHECKING

from orbitune.models.backbones import Backbone, empty_model
from orbitune.models.methods import find_method
from orbitune.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

_CLASSES = ("one", "other")  # the head's few thousand operations do not matter


def forward_flops(backbone: Backbone, size: int) -> float:
    """Count the operations of one image's forward pass, head included.

    Args:
        backbone: the checkpoint, of which only the configuration is read.
        size: side of the input in pixels.
    """
    return _count(empty_model(backbone, _CLASSES), backbone, size=size, batch=1, backward=False)


def training_flops(recipe: Recipe, backbone: Backbone) -> float:
    """Count the operations of one image's forward and backward pass.

    Only what the recipe's method needs is counted.

    Args:
        recipe: resolved, as its image size and batch size are read. Some methods rebuild weight matrices once
            per step; the batch shares their cost.
        backbone: the checkpoint, of which only the configuration is read.
    """
    assert isinstance(recipe.image_size, int)
    model = find_method(recipe.method).apply(empty_model(backbone, _CLASSES), backbone.family, recipe=recipe)
    model.train()
    return _count(model, backbone, size=recipe.image_size, batch=recipe.batch_size, backward=True)


def _count(model: "nn.Module", backbone: Backbone, *, size: int, batch: int, backward: bool) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    pixels = torch.empty(batch, backbone.config.num_channels, size, size, device="meta")
    with FlopCounterMode(display=False) as counter:
        logits = model(pixel_values=pixels, **backbone.family.forward).logits
        if backward:
            logits.sum().backward()
    return counter.get_total_flops() / batch
