"""The useful work of training on one image, in floating point operations, counted from the architecture.

It is the work of the method as it is usually computed, whichever arm computes it: an arm that finds a way to
do less is credited with the whole.
"""

from dataclasses import dataclass

from orbitune.models.backbones import Backbone, empty_model
from orbitune.models.families import head_names


@dataclass(frozen=True)
class Forward:
    """Floating point operations of one image's way through the backbone, a multiply-add as two.

    Attributes:
        linear: the layers' matrix products with weights, 24 d^2 for each layer and token where the MLP is
            four times as wide as the model.
        attention: the products of queries with keys, and of the outcome with values, 4 N d for each layer
            and token.
        patches: the patch embedding.
        entry: the part of `linear` that is the first layer's queries, keys and values.
    """

    linear: float
    attention: float
    patches: float
    entry: float

    @property
    def total(self) -> float:
        return self.linear + self.attention + self.patches


def forward_flop(backbone: Backbone, size: int) -> Forward:
    """The work of an image of `size` pixels to a side; the head, some thousand operations, is left out."""
    from torch import nn

    model, config = empty_model(backbone, ("one", "other")), backbone.config
    heads = head_names(model, backbone.family)
    weights = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name not in heads
    )
    patches = (size // backbone.patch_size) ** 2
    tokens = patches + sum(
        parameter.shape[1]
        for name, parameter in model.named_parameters()
        if name.endswith(("cls_token", "distillation_token", "register_tokens"))
    )
    width = config.hidden_size
    return Forward(
        linear=2 * tokens * weights,
        attention=4 * tokens**2 * width * config.num_hidden_layers,
        patches=2 * patches * config.num_channels * backbone.patch_size**2 * width,
        entry=2 * tokens * 3 * width**2,
    )


def training_flop(method: str, forward: Forward) -> float:
    """The work of training on one image with a method.

    Full fine-tuning repeats every product for its input's gradient and for its weights', but for the patches,
    whose input has none. Adapters need no gradients of frozen weights, and none of what lies before the first
    of them; attention has no weights, and is repeated twice. Linear probing needs the forward pass alone.
    """
    if method == "full":
        return 3 * forward.total - forward.patches
    if method == "linear":
        return forward.total
    return forward.total + forward.linear - forward.entry + 2 * forward.attention
