"""Access to the modules of a classifier of transformers, wrapped by PEFT or not.

What `orbitune.fastpath.reading.saved_model` reads has its modules under the same names.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from orbitune.fastpath.rotary import Rotary
from orbitune.models.families.family import Family, body_of, layer_scales, vision_config


def base_model(model: nn.Module) -> Any:
    """Return the transformers classifier inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]


def backbone_of(model: nn.Module, family: Family) -> Any:
    """Return a classifier's backbone: embeddings, layers and final LayerNorm."""
    return body_of(base_model(model), family)


class LowRankLinear(nn.Module):
    """A linear layer with a LoRA update, as it is in evaluation mode.

    Args:
        base_layer: layer without the update.
        factors: A (r, in) and B (out, r).
        scaling: factor of B A.
    """

    def __init__(self, base_layer: nn.Linear, factors: tuple[Tensor, Tensor], *, scaling: float) -> None:
        super().__init__()
        self.base_layer, self.scaling = base_layer, scaling
        self.down, self.up = (nn.Parameter(factor, requires_grad=False) for factor in factors)


class LowRankFactors(NamedTuple):
    """The update of a layer: A (r, in), B (out, r), scaling and dropout."""

    down: Tensor
    up: Tensor
    scaling: float
    dropout: float


def low_rank_factors(layer: Any) -> LowRankFactors:
    """Return the update of a `LowRankLinear`, or of a layer of PEFT with one LoRA."""
    if isinstance(layer, LowRankLinear):
        return LowRankFactors(layer.down, layer.up, layer.scaling, 0.0)
    name = layer.active_adapters[0]
    dropout = getattr(layer.lora_dropout[name], "p", 0.0)
    return LowRankFactors(layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name], dropout)


@dataclass(frozen=True)
class LayerModules:
    """The modules of one transformer layer.

    Attributes:
        linear: linear layers by name: q_proj, k_proj, v_proj, o_proj and those of the MLP.
        mlp_in, mlp_out: names of the MLP's linear layers; a gated MLP has two `mlp_in`, gate and up.
        activation: activation function of the MLP; None for the exact GELU.
        norms: LayerNorms before attention and before the MLP.
        scales: layer scales (D,) after attention and after the MLP, or None.
        head_dim: width of an attention head.
        rotary: rotation of queries and keys by position; None for none.
    """

    linear: dict[str, nn.Module]
    mlp_in: tuple[str, ...]
    mlp_out: str
    activation: Any
    norms: tuple[Any, Any]
    scales: tuple[Tensor | None, Tensor | None]
    head_dim: int
    rotary: Rotary | None = None

    @property
    def gated(self) -> bool:
        """Return whether the MLP is gated (SwiGLU)."""
        return len(self.mlp_in) == 2

    @property
    def is_gelu(self) -> bool:
        """Return whether the activation is the exact GELU."""
        return self.activation is None


def layer_modules(model: nn.Module, family: Family) -> list[LayerModules]:
    """Return the modules of each transformer layer, from the first to the last."""
    config, body = vision_config(base_model(model).config), backbone_of(model, family)
    rotary = None
    if family.rotary:
        prefix = 1 + config.num_register_tokens
        rotary = Rotary(body.rope_embeddings.inv_freq, prefix_tokens=prefix)
    return [
        _modules_of(layer, family, is_gelu=config.hidden_act == "gelu", rotary=rotary)
        for layer in body.get_submodule(family.layers)
    ]


def _modules_of(layer: Any, family: Family, *, is_gelu: bool, rotary: Rotary | None) -> LayerModules:
    mlp, q_name = layer.mlp, family.roles["q"][0]
    gated, two = hasattr(mlp, "gate_proj"), hasattr(mlp, "fc1")
    mlp_in: tuple[str, ...] = ("gate_proj", "up_proj") if gated else ("fc1",) if two else ("up_proj",)
    mlp_out = "fc2" if two else "down_proj"
    linear = {f"{role}_proj": layer.get_submodule(family.roles[role][0]) for role in "qkvo"}
    linear |= {name: getattr(mlp, name) for name in (*mlp_in, mlp_out)}
    norms = [getattr(layer, name) for name in family.norms]
    scales = layer_scales(layer)
    return LayerModules(
        linear=linear,
        mlp_in=mlp_in,
        mlp_out=mlp_out,
        activation=mlp.act_fn if gated else None if is_gelu else _activation(mlp),
        norms=(norms[0], norms[1]),
        scales=(scales[0], scales[1]),
        head_dim=layer.get_submodule(q_name.rpartition(".")[0]).head_dim,
        rotary=rotary,
    )


def _activation(mlp: Any) -> Any:
    """Return the activation function of a plain MLP."""
    return mlp.activation_fn if hasattr(mlp, "activation_fn") else mlp.act_fn
