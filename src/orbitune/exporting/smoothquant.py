"""Evening out the channels of a model before it is quantised, as SmoothQuant does.

A few channels of a vision transformer are far larger than the rest, and one scale for a whole tensor leaves
the rest few of its 256 steps. Dividing a channel where it is made, and multiplying the weights that read it,
changes nothing in fp32 (Xiao et al. 2023, arXiv:2211.10438, with alpha = 0.75).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from orbitune.models.families import Family

_ALPHA = 0.75  # how much of the difficulty moves into the weights, which have a scale for each channel
_SMALLEST = 1e-5


def equalise(model: nn.Module, family: Family, run: Callable[[], Any]) -> None:
    """Even out, in place, what the products of a classifier of transformers read.

    Args:
        run: computes this model on some tiles, by which channels are measured.
    """
    pairs = [pair for layer in _layers(model) for pair in _pairs(layer, family)]
    largest: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        now = inputs[0].abs().flatten(0, -2).amax(0)
        largest[module] = torch.maximum(largest[module], now) if module in largest else now

    hooks = [readers[0].register_forward_pre_hook(note) for _, readers in pairs]
    run()
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for maker, readers in pairs:
            weights = torch.stack([reader.weight.abs().amax(0) for reader in readers]).amax(0)
            inputs, weights = (t.clamp(min=_SMALLEST) for t in (largest[readers[0]], weights))
            scale = inputs**_ALPHA / weights ** (1 - _ALPHA)
            maker.weight /= scale.view(-1, *[1] * (maker.weight.dim() - 1))
            if maker.bias is not None:
                maker.bias /= scale
            for reader in readers:
                reader.weight *= scale


class _Scaled(nn.Module):
    """An activation whose channels are multiplied: what follows it cannot be divided in what precedes it."""

    bias = None

    def __init__(self, activation: nn.Module, width: int) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.ones(width), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x) * self.weight


def _layers(model: Any) -> Any:
    body = getattr(model, model.base_model_prefix)
    return body.encoder.layer if hasattr(body, "encoder") else body.layers


def _pairs(layer: Any, family: Family) -> list[tuple[Any, list[Any]]]:
    """What makes channels, and the layers that read them and nothing else does."""
    there_is = dict(layer.named_modules())
    parts = {
        role: there_is[name] for role, names in family.roles.items() for name in names if name in there_is
    }
    norms = [getattr(layer, name) for name in family.norms]
    if "up" in parts:
        middle, widening = parts["up"], [parts["fc1"], parts["up"]]
    else:
        middle, widening = _Scaled(layer.mlp.activation_fn, parts["fc2"].in_features), [parts["fc1"]]
        layer.mlp.activation_fn = middle
    return [
        (norms[0], [parts[role] for role in "qkv"]),
        (parts["v"], [parts["o"]]),
        (norms[1], widening),
        (middle, [parts["fc2"]]),
    ]
