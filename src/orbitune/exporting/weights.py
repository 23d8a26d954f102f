"""Weights of a classifier as arrays, in the form that an exported graph multiplies by.

Adapters are merged, layer scales multiplied into the layers before them, the attention scale into the
queries, and the position embeddings interpolated to the model's input size.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.models.families.family import (
    Family,
    Pooling,
    body_of,
    head_names,
    last_norm_of,
    layer_scales,
    vision_config,
)
from orbitune.models.inputs.positions import (
    interpolate_positions,
    leading_tokens,
    position_embeddings,
    rotary_angles,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class LinearWeights:
    """Weight (in, out) and bias (out,) of a linear layer, float32."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class NormWeights:
    """Weight and bias (D,) of a LayerNorm, float32, and its epsilon."""

    weight: np.ndarray
    bias: np.ndarray
    epsilon: float


@dataclass(frozen=True)
class LayerWeights:
    """Weights of a transformer layer.

    Attributes:
        norms: before attention and before the MLP.
        qkv: query, key and value; products of queries and keys are attention scores without a further scale.
        out: attention output.
        mlp_in: first layer of the MLP; its gate where the MLP is gated (SwiGLU).
        mlp_up: other first layer of a gated MLP.
        mlp_out: second layer of the MLP.
        activation_scale: multiplied to the activations of the MLP, (in,); None for 1.
    """

    norms: tuple[NormWeights, NormWeights]
    qkv: tuple[LinearWeights, LinearWeights, LinearWeights]
    out: LinearWeights
    mlp_in: LinearWeights
    mlp_up: LinearWeights | None
    mlp_out: LinearWeights
    activation_scale: np.ndarray | None = None


@dataclass(frozen=True)
class ModelWeights:
    """Weights of a classifier.

    Attributes:
        projection: kernel of the patch embedding (D, C, P, P), float32.
        projection_bias: (D,).
        prefix: leading tokens (S, D) with their position embeddings: class, distillation, registers.
        positions: position embeddings of the patches (N, D).
        layers: from the first to the last.
        norm: the final LayerNorm.
        heads: classification heads, whose logits are averaged; each reads its own leading token.
        attention_heads: number of attention heads.
        activation: of the MLP, as config.json names it.
        pooling: what the head reads.
        angles: by which queries and keys of the patches are rotated, (N, head width / 2); None for none.
    """

    projection: np.ndarray
    projection_bias: np.ndarray
    prefix: np.ndarray
    positions: np.ndarray
    layers: tuple[LayerWeights, ...]
    norm: NormWeights
    heads: tuple[LinearWeights, ...]
    attention_heads: int
    activation: str
    pooling: Pooling
    angles: np.ndarray | None = None

    @property
    def tokens_read(self) -> int | None:
        """Return the number of leading tokens that the head reads; None for all."""
        return len(self.heads) if self.pooling == "class" else None


def read_weights(model: "nn.Module", family: Family, *, grid: int) -> ModelWeights:
    """Return the weights of a classifier.

    Args:
        model: classifier of transformers with any adapter merged, or what
            `orbitune.evaluation.network.load_model` reads without transformers.
        family: names of the model's parts.
        grid: patches along a side of the model's input.
    """
    import torch

    root: Any = model
    body = body_of(root, family)
    embeddings, config = body.embeddings, vision_config(root.config)
    leading = [_array(token)[0] for token in leading_tokens(embeddings)]
    projection = body.get_submodule(family.projection)
    stated = position_embeddings(embeddings)
    positions = (
        torch.zeros(1, len(leading) + grid**2, len(projection.weight))
        if stated is None
        else stated.detach().float()
    )
    patches = interpolate_positions(positions[:, len(leading) :], grid, antialias=family.antialias)
    before = _array(positions[0, : len(leading)])
    prefix = np.concatenate(leading) + before if leading else before
    if (registers := getattr(embeddings, "register_tokens", None)) is not None:
        prefix = np.concatenate([prefix, _array(registers)[0]])
    layers = tuple(
        _layer(layer, family, heads=config.num_attention_heads) for layer in body.get_submodule(family.layers)
    )
    return ModelWeights(
        projection=_array(projection.weight),
        projection_bias=_array(projection.bias),
        prefix=prefix,
        positions=_array(patches[0]),
        layers=layers,
        norm=_norm(last_norm_of(root, family)),
        heads=tuple(_linear(getattr(root, name)) for name in head_names(model, family)),
        attention_heads=config.num_attention_heads,
        # A gated MLP of DINOv2 ignores hidden_act.
        activation="silu" if layers[0].mlp_up and not family.rotary else config.hidden_act,
        pooling=family.pooling,
        angles=_array(rotary_angles(grid, body.rope_embeddings.inv_freq)) if family.rotary else None,
    )


def _layer(layer: Any, family: Family, *, heads: int) -> LayerWeights:
    modules = dict(layer.named_modules())
    parts = {
        role: modules[name] for role, names in family.roles.items() for name in names[::-1] if name in modules
    }
    scales = layer_scales(layer)
    query = _linear(parts["q"])
    head_dim = len(query.bias) // heads
    first, second = (_norm(getattr(layer, name)) for name in family.norms)
    return LayerWeights(
        norms=(first, second),
        qkv=(
            _scaled(query, np.float32(head_dim**-0.5)),
            _linear(parts["k"]),
            _linear(parts["v"]),
        ),
        out=_scaled(_linear(parts["o"]), None if scales[0] is None else _array(scales[0])),
        mlp_in=_linear(parts["fc1"]),
        mlp_up=None if parts.get("up", parts["fc1"]) is parts["fc1"] else _linear(parts["up"]),
        mlp_out=_scaled(_linear(parts["fc2"]), None if scales[1] is None else _array(scales[1])),
    )


def _linear(layer: Any) -> LinearWeights:
    """Return the weights of a linear layer, with any low-rank update added."""
    base = getattr(layer, "base_layer", layer)
    weight = base.weight.detach().float()
    if base is not layer:
        weight = weight + layer.scaling * (layer.up.detach().float() @ layer.down.detach().float())
    bias = np.zeros(len(weight), np.float32) if base.bias is None else _array(base.bias)
    return LinearWeights(_array(weight.t()), bias)


def _scaled(linear: LinearWeights, scale: Any) -> LinearWeights:
    """Return a layer whose outputs are multiplied by a scale."""
    return linear if scale is None else LinearWeights(linear.weight * scale, linear.bias * scale)


def _norm(norm: Any) -> NormWeights:
    return NormWeights(_array(norm.weight), _array(norm.bias), norm.eps)


def _array(tensor: "Tensor") -> np.ndarray:
    array: np.ndarray = tensor.detach().float().numpy()
    return array
