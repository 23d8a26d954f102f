"""Access to the modules of a classifier of transformers, wrapped by PEFT or not.

What `orbitune.fastpath.reading.saved_model` reads has its modules under the same names.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from orbitune.models.families import Family, layer_scales


def base_model(model: nn.Module) -> Any:
    """Return the transformers classifier inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]


def backbone_of(model: nn.Module) -> Any:
    """Return a classifier's backbone: embeddings, layers and final LayerNorm."""
    base = base_model(model)
    return getattr(base, base.base_model_prefix)


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
    """

    linear: dict[str, nn.Module]
    mlp_in: tuple[str, ...]
    mlp_out: str
    activation: Any
    norms: tuple[Any, Any]
    scales: tuple[Tensor | None, Tensor | None]
    head_dim: int

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
    is_gelu = base_model(model).config.hidden_act == "gelu"
    return [
        _modules_of(layer, family, is_gelu=is_gelu)
        for layer in backbone_of(model).get_submodule(family.layers)
    ]


def _modules_of(layer: Any, family: Family, *, is_gelu: bool) -> LayerModules:
    attention, mlp = layer.attention, layer.mlp
    gated = hasattr(mlp, "gate_proj")
    mlp_in, mlp_out = (("gate_proj", "up_proj"), "down_proj") if gated else (("fc1",), "fc2")
    linear = {name: getattr(attention, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
    linear |= {name: getattr(mlp, name) for name in (*mlp_in, mlp_out)}
    norms = [getattr(layer, name) for name in family.norms]
    scales = layer_scales(layer)
    return LayerModules(
        linear=linear,
        mlp_in=mlp_in,
        mlp_out=mlp_out,
        activation=mlp.act_fn if gated else None if is_gelu else mlp.activation_fn,
        norms=(norms[0], norms[1]),
        scales=(scales[0], scales[1]),
        head_dim=attention.head_dim,
    )
