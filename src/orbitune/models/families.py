"""Backbone families: the names of each architecture's parts in transformers.

To add a family, add one entry to FAMILIES. All other code asks the family for names.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError
from orbitune.models.inputs.widening import is_widened

if TYPE_CHECKING:
    from torch import Tensor, nn

_Bands = tuple[float, float, float]  # one number for red, green and blue

_IMAGENET: tuple[_Bands, _Bands] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: tuple[_Bands, _Bands] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

# What transformers 4 and 5 call the parts that a user may name, by role.
_SPELLINGS = {
    "query": "q",
    "q_proj": "q",
    "key": "k",
    "k_proj": "k",
    "value": "v",
    "v_proj": "v",
    "o_proj": "o",
}

# Modules of a layer in transformers 4, whose names checkpoints of the hub have -> in transformers 5; a fused
# module becomes several.
TRANSFORMERS_4: dict[str, tuple[str, ...]] = {
    "attention.attention.query": ("attention.q_proj",),
    "attention.attention.key": ("attention.k_proj",),
    "attention.attention.value": ("attention.v_proj",),
    "attention.output.dense": ("attention.o_proj",),
    "intermediate.dense": ("mlp.fc1",),
    "output.dense": ("mlp.fc2",),
    "mlp.weights_in": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.weights_out": ("mlp.down_proj",),
}


@dataclass(frozen=True)
class Family:
    """The names of an architecture's parts in transformers.

    Attributes:
        model_type: the `model_type` of the checkpoint's config.
        title: for people.
        normalisation: mean and standard deviation of each band for pixels in 0..1, for checkpoints that state
            none.
        roles: module names inside a layer by role; the first one that exists is used.
        heads: names that a classification head may have.
        norms: names of a layer's two normalisations, before attention and before the MLP.
        layers: where a model's layers are, below its body.
        head_reads_class_token: whether the head reads the class token alone, or the mean of the patches too.
        antialias: whether position embeddings are interpolated with antialiasing.
        unused: parameters without a part in classification, which are never trained.
        forward: arguments of every forward pass, so that any image size works.
    """

    model_type: str
    title: str
    normalisation: tuple[_Bands, _Bands]
    roles: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "q": ("attention.q_proj",),
            "k": ("attention.k_proj",),
            "v": ("attention.v_proj",),
            "o": ("attention.o_proj",),
            "fc1": ("mlp.fc1", "mlp.gate_proj"),
            "up": ("mlp.up_proj",),
            "fc2": ("mlp.fc2", "mlp.down_proj"),
        }
    )
    heads: tuple[str, ...] = ("classifier",)
    norms: tuple[str, str] = ("layernorm_before", "layernorm_after")
    layers: str = "layers"
    head_reads_class_token: bool = True
    antialias: bool = False
    unused: tuple[str, ...] = ("embeddings.mask_token",)
    forward: dict[str, Any] = field(default_factory=dict)


_DINOV2: dict[str, Any] = {
    "norms": ("norm1", "norm2"),
    "layers": "encoder.layer",
    "head_reads_class_token": False,
}

FAMILIES = {
    family.model_type: family
    for family in (
        Family("vit", "ViT", _HALF, forward={"interpolate_pos_encoding": True}),
        Family(
            "deit",
            "DeiT",
            _IMAGENET,
            heads=("classifier", "cls_classifier", "distillation_classifier"),
            forward={"interpolate_pos_encoding": True},
        ),
        Family("dinov2", "DINOv2", _IMAGENET, **_DINOV2),
        Family("dinov2_with_registers", "DINOv2 with registers", _IMAGENET, antialias=True, **_DINOV2),
    )
}


def head_names(model: "nn.Module", family: Family) -> list[str]:
    """Return the names of the classification heads of a model."""
    return [name for name in family.heads if hasattr(model, name)]


def layer_scales(layer: Any) -> "list[Tensor | None]":
    """Return the scales (D,) of a layer after attention and after the MLP; None for none."""
    return [getattr(getattr(layer, f"layer_scale{n}", None), "lambda1", None) for n in (1, 2)]


def trained_whole(model: "nn.Module", family: Family) -> list[str]:
    """Return the modules that every method trains and saves whole.

    These are the heads, and a patch projection that was widened to more bands.
    """
    heads = head_names(model, family)
    return [*heads, "patch_embeddings.projection"] if is_widened(model) else heads


def resolve_targets(model: "nn.Module", family: Family, *, targets: tuple[str, ...]) -> list[str]:
    """Return the module names that PEFT matches, for roles or names of modules.

    Args:
        model: the backbone.
        family: of the backbone.
        targets: roles (`q`), their names in transformers 4 or 5 (`query`, `q_proj`), or `all` for every role
            of the model, which are all linear layers but the head.

    Raises:
        ModelError: a target names nothing in this model; the message lists the roles.
    """
    modules = [name for name, _ in model.named_modules()]
    available = {
        role: found
        for role, names in family.roles.items()
        if (found := next((n for n in names if any(m.endswith(f".{n}") for m in modules)), None))
    }
    resolved = []
    for role in (role for target in targets for role in _roles(target, available)):
        if role not in available:
            raise ModelError(
                f"{family.title} has no layer {role!r} to adapt. Choose from: "
                + ", ".join(f"{role} ({name})" for role, name in available.items())
                + "."
            )
        resolved.append(available[role])
    return list(dict.fromkeys(resolved))


def _roles(target: str, available: dict[str, str]) -> list[str]:
    """Return the roles that a target means."""
    return list(available) if target == "all" else [_SPELLINGS.get(target, target)]
