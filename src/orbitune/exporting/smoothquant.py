"""SmoothQuant channel scaling (Xiao et al. 2023, arXiv:2211.10438, alpha = 0.75).

A few channels of a vision transformer are far larger than the rest. With one scale for the whole tensor, the
rest use few of its 256 levels. Dividing a channel where it is produced, and multiplying the weights that read
it, equalises channels without changing the function in fp32.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orbitune.exporting.weights import LayerWeights, LinearWeights, ModelWeights, NormWeights

_ALPHA = 0.75  # migration strength: how much of the range moves from activations to weights
_SMALLEST = 1e-5

LAYER_INPUTS = ("query", "key", "value", "out", "mlp_in", "mlp_up", "mlp_out")

# Lowest and highest value of each input channel (in,) of the linear layers, by name of the layer.
ChannelRanges = dict[str, tuple[np.ndarray, np.ndarray]]


def scale_channels(weights: ModelWeights, ranges: ChannelRanges) -> tuple[ModelWeights, ChannelRanges]:
    """Scale the input channels of the linear layers.

    Args:
        weights: of the model.
        ranges: measured on calibration tiles.

    Returns:
        Weights of the same function, and the ranges of their inputs.
    """
    scaled, layers = dict(ranges), []
    for number, layer in enumerate(weights.layers):
        own = {
            name: f"layers.{number}.{name}" for name in LAYER_INPUTS if f"layers.{number}.{name}" in ranges
        }
        layer, factors = _scale_layer(layer, {name: ranges[full] for name, full in own.items()})
        layers.append(layer)
        scaled |= {
            full: (ranges[full][0] / factors[name], ranges[full][1] / factors[name])
            for name, full in own.items()
        }
    return replace(weights, layers=tuple(layers)), scaled


def _scale_layer(layer: LayerWeights, ranges: ChannelRanges) -> tuple[LayerWeights, dict[str, np.ndarray]]:
    """Return a layer with scaled channels, and by name what its inputs are divided by."""
    query, key, value = layer.qkv
    up = [] if layer.mlp_up is None else [layer.mlp_up]
    attention = _factor(layer.qkv, ranges["key"])
    out = _factor([layer.out], ranges["out"])
    mlp = _factor([layer.mlp_in, *up], ranges["mlp_in"])
    hidden = _factor([layer.mlp_out], ranges["mlp_out"])
    scaled = LayerWeights(
        norms=(_divided_norm(layer.norms[0], attention), _divided_norm(layer.norms[1], mlp)),
        qkv=(
            _multiplied(query, attention),
            _multiplied(key, attention),
            _divided(_multiplied(value, attention), out),
        ),
        out=_multiplied(layer.out, out),
        mlp_in=_multiplied(layer.mlp_in, mlp),
        mlp_up=_divided(_multiplied(up[0], mlp), hidden) if up else None,
        mlp_out=_multiplied(layer.mlp_out, hidden),
        activation_scale=None if up else 1 / hidden,
    )
    factors = {**dict.fromkeys(("query", "key", "value"), attention), "out": out}
    return scaled, {**factors, **dict.fromkeys(("mlp_in", "mlp_up"), mlp), "mlp_out": hidden}


def _factor(readers: Sequence[LinearWeights], bounds: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return what each channel between these bounds is divided by, (in,)."""
    inputs = np.maximum(*np.abs(bounds))
    weights = np.max([np.abs(reader.weight).max(1) for reader in readers], axis=0)
    inputs, weights = (np.maximum(each, _SMALLEST) for each in (inputs, weights))
    factor: np.ndarray = inputs**_ALPHA / weights ** (1 - _ALPHA)
    return factor


def _divided(linear: LinearWeights, factor: np.ndarray) -> LinearWeights:
    """Return a layer whose outputs are divided by a factor (out,)."""
    return LinearWeights(linear.weight / factor, linear.bias / factor)


def _multiplied(linear: LinearWeights, factor: np.ndarray) -> LinearWeights:
    """Return a layer whose inputs are multiplied by a factor (in,)."""
    return LinearWeights(linear.weight * factor[:, None], linear.bias)


def _divided_norm(norm: NormWeights, factor: np.ndarray) -> NormWeights:
    return NormWeights(norm.weight / factor, norm.bias / factor, norm.epsilon)
