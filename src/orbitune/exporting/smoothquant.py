"""SmoothQuant channel scaling (Xiao et al. 2023, arXiv:2211.10438, alpha = 0.75).

A few channels of a vision transformer are far larger than the rest. With one scale for the whole tensor, the
rest use few of its 256 levels. Dividing a channel where it is produced, and multiplying the weights that read
it, equalises channels without changing the function in fp32.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from orbitune.models.families import Family

_ALPHA = 0.75  # migration strength: how much of the range moves from activations to weights
_SMALLEST = 1e-5


def scale_channels(model: nn.Module, family: Family, *, run: Callable[[], Any]) -> None:
    """Scale the input channels of a classifier's linear layers, in place.

    Args:
        run: computes the model on calibration tiles, while the channels are measured.
    """
    pairs = [pair for layer in _layers(model) for pair in _pairs(layer, family)]
    largest: dict[nn.Module, Tensor] = {}

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        now = inputs[0].abs().flatten(0, -2).amax(0)
        largest[module] = torch.maximum(largest[module], now) if module in largest else now

    hooks = [readers[0].register_forward_pre_hook(record) for _, readers in pairs]
    run()
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for producer, readers in pairs:
            weights = torch.stack([reader.weight.abs().amax(0) for reader in readers]).amax(0)
            inputs, weights = (t.clamp(min=_SMALLEST) for t in (largest[readers[0]], weights))
            scale = inputs**_ALPHA / weights ** (1 - _ALPHA)
            producer.weight /= scale.view(-1, *[1] * (producer.weight.dim() - 1))
            if producer.bias is not None:
                producer.bias /= scale
            for reader in readers:
                reader.weight *= scale


class _ScaledActivation(nn.Module):
    """An activation with a scale per channel, applied before the nonlinearity."""

    bias = None

    def __init__(self, activation: nn.Module, width: int) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.ones(width), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of x (..., width), scaled per channel."""
        return self.activation(x) * self.weight


def _layers(model: Any) -> Any:
    """Return the transformer layers of a classifier."""
    body = getattr(model, model.base_model_prefix)
    return body.encoder.layer if hasattr(body, "encoder") else body.layers


def _pairs(layer: Any, family: Family) -> list[tuple[Any, list[Any]]]:
    """Return the producers of channels, each with the only layers that read them."""
    modules = dict(layer.named_modules())
    parts = {role: modules[name] for role, names in family.roles.items() for name in names if name in modules}
    norms = [getattr(layer, name) for name in family.norms]
    if "up" in parts:
        middle, widening = parts["up"], [parts["fc1"], parts["up"]]
    else:
        middle, widening = (
            _ScaledActivation(layer.mlp.activation_fn, parts["fc2"].in_features),
            [parts["fc1"]],
        )
        layer.mlp.activation_fn = middle
    return [
        (norms[0], [parts[role] for role in "qkv"]),
        (parts["v"], [parts["o"]]),
        (norms[1], widening),
        (middle, [parts["fc2"]]),
    ]
