"""Backbone families: the names of each architecture's parts in transformers.

All other code asks the family for names; `orbitune.models.families.table` has the families.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from orbitune.errors import ModelError
from orbitune.models.inputs.widening import is_widened
from orbitune.recipe_settings import ATTENTION

if TYPE_CHECKING:
    from torch import Tensor, nn

Bands = tuple[float, float, float]  # one number for red, green and blue

# What a head reads: the class token (a distilled DeiT has two), the class token and the mean of the patches,
# the mean of the patches, or what hierarchical models pool, which is left to transformers.
Pooling = Literal["class", "class and patches", "patches", "own"]


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


def vision_config(config: Any) -> Any:
    """Return the configuration of the image encoder; models of images and text hold one of their own."""
    return getattr(config, "vision_config", None) or config


def set_channels(config: Any, channels: int | None) -> None:
    """Set the number of bands that a configuration's image encoder reads; None for the checkpoint's own."""
    if channels is not None:
        vision_config(config).num_channels = channels


def square_side(size: Any) -> int:
    """Return a side in pixels; some checkpoints state height and width.

    Raises:
        ValueError: they differ.
    """
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(f"{size} is not square")
    return int(sides.pop())


def patch_side(config: Any) -> int:
    """Return the side of a patch in pixels."""
    return square_side(config.patch_size)


def token_count(size: int, patch: int) -> int:
    """Return the number of tokens of a square image: its patches and the class token.

    Args:
        size: input size in pixels.
        patch: patch size in pixels.

    Returns:
        Number of tokens.
    """
    return (size // patch) ** 2 + 1


@dataclass(frozen=True)
class Family:
    """The names of an architecture's parts in transformers.

    Attributes:
        model_type: the `model_type` of the checkpoint's config.
        title: for people.
        normalisation: mean and standard deviation of each band for pixels in 0..1, for checkpoints that state
            none.
        body: the classifier's module without the head.
        own_normalisation: that of some checkpoints by a part of their name, where their preprocessor files
            state the family's by mistake.
        classifier: class of the classifier where it is not the one that AutoModelForImageClassification
            chooses, see `orbitune.models.families.classifiers`.
        roles: module names inside a layer by role; the first one that exists is used.
        heads: full names that a classification head may have.
        norms: names of a layer's two normalisations, before attention and before the MLP.
        last_norm: name of the normalisation before the head; None for none.
        other_norms: names of normalisations outside the layers.
        layers: where a model's layers are, below its body.
        layer_names: regular expression of the layers' full names.
        projection: the convolution from pixels to patch embeddings, below the body.
        other_projections: further convolutions that read pixels, below the body.
        pooling: what the head reads.
        antialias: whether position embeddings are interpolated with antialiasing.
        rotary: whether queries and keys are rotated by position (RoPE).
        why_plain: why the fast path and the ONNX writer cannot compute its layers; None where they can.
        grids: full names of linear layers that read features as (B, H, W, D).
        unused: ends of the names of parameters without a part in classification, which are never trained.
        forward: arguments of every forward pass, so that any image size works.
        prepare: corrects faults of transformers in a loaded model; None for nothing.
        step: from a config, the number of pixels that image sizes are multiples of.
        smallest: from a config, the smallest image size in pixels.
        largest: from a config, the largest image size in pixels; None for no limit.
        configure: completes a config for a number of bands; None for that of the checkpoint.
        name_parts: from a config, the family with the names of the parts, where they depend on it.
    """

    model_type: str
    title: str
    normalisation: tuple[Bands, Bands]
    body: str
    classifier: str | None = None
    own_normalisation: Mapping[str, tuple[Bands, Bands]] = field(default_factory=dict)
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
    last_norm: str | None = "layernorm"
    other_norms: tuple[str, ...] = ()
    layers: str = "layers"
    layer_names: str = r".*\.layers?\.\d+"
    projection: str = "embeddings.patch_embeddings.projection"
    other_projections: tuple[str, ...] = ()
    pooling: Pooling = "class"
    antialias: bool = False
    rotary: bool = False
    why_plain: str | None = None
    grids: tuple[str, ...] = ()
    unused: tuple[str, ...] = ("embeddings.mask_token",)
    forward: dict[str, Any] = field(default_factory=dict)
    prepare: "Callable[[nn.Module], None] | None" = None
    step: Callable[[Any], int] = patch_side
    smallest: Callable[[Any], int] = patch_side
    largest: Callable[[Any], int | None] = lambda config: None
    configure: Callable[[Any, int | None], None] = set_channels
    name_parts: "Callable[[Family, Any], Family] | None" = None

    @property
    def norm_names(self) -> list[str]:
        """Return the names of all normalisations."""
        return [*self.norms, *filter(None, (self.last_norm,)), *self.other_norms]

    @property
    def projections(self) -> list[str]:
        """Return the full names of the convolutions that read pixels."""
        return [f"{self.body}.{name}" for name in (self.projection, *self.other_projections)]

    @property
    def reads_leading_tokens(self) -> bool:
        """Return whether the head reads leading tokens alone, so that nothing depends on the others."""
        return self.pooling == "class"

    @property
    def nests_config(self) -> bool:
        """Return whether its configuration is a part of that of a model of images and text."""
        return self.body == "vision_model"

    @property
    def has_attribution_map(self) -> bool:
        """Return whether attention connects all patches, with one normalisation between them and the head."""
        return self.pooling != "own" and self.last_norm is not None


def body_of(model: "nn.Module", family: Family) -> Any:
    """Return the module of a classifier of transformers that computes the features."""
    return model.get_submodule(family.body)


def last_norm_of(model: "nn.Module", family: Family) -> Any:
    """Return the normalisation before the head, of a family that has one."""
    assert family.last_norm is not None
    return body_of(model, family).get_submodule(family.last_norm)


def head_names(model: "nn.Module", family: Family) -> list[str]:
    """Return the names of the classification heads of a model."""
    modules = {name for name, _ in model.named_modules()}
    return [name for name in family.heads if name in modules]


def is_head(module: str, head: str) -> bool:
    """Return whether a module of a file is a head; files may add to the name or leave out the body."""
    return f".{module}".endswith(f".{head}") or f".{head}".endswith(f".{module}")


def layer_names(model: "nn.Module", family: Family) -> list[str]:
    """Return the full names of the transformer layers, such as `vit.layers.11`, in their order."""
    return [name for name, _ in model.named_modules() if re.fullmatch(family.layer_names, name)]


def layer_scales(layer: Any) -> "list[Tensor | None]":
    """Return the scales (D,) of a layer after attention and after the MLP; None for none."""
    return [getattr(getattr(layer, f"layer_scale{n}", None), "lambda1", None) for n in (1, 2)]


def trained_whole(model: "nn.Module", family: Family) -> list[str]:
    """Return the modules that every method trains and saves whole.

    These are the heads, and a patch projection that was widened to more bands.
    """
    widened = [name for name in family.projections if is_widened(model.get_submodule(name))]
    return [*head_names(model, family), *widened]


def resolve_targets(
    model: "nn.Module",
    family: Family,
    *,
    targets: tuple[str, ...],
    layers: Sequence[str] = (),
    convolutions: bool = True,
) -> list[str]:
    """Return the module names that PEFT matches, for roles or names of modules.

    Args:
        model: the backbone.
        family: of the backbone.
        targets: roles (`q`), their names in transformers 4 or 5 (`query`, `q_proj`), or `all` for every role
            of the model, which are all linear layers but the head, and convolutions of convolutional
            networks. `ATTENTION` means the parts of it that there are, and without any `all`.
        layers: full names of the layers to choose from; none for all.
        convolutions: whether convolutions can be adapted.

    Returns:
        Ends of names, such as `attention.q_proj`; full names where `layers` are given, or where an end is
        that of other modules too.

    Raises:
        ModelError: a target names nothing in this model; the message lists the roles.
    """
    modules = [name for name, _ in model.named_modules()]
    adaptable = set(_adaptable(model, convolutions=convolutions))
    available = available_roles(model, family, convolutions=convolutions)
    if not available:
        kind, advice = ("plain convolution", "norm") if convolutions else ("linear layer", "lora")
        raise ModelError(
            f"This {family.title} has no {kind} to adapt outside its head, as the method needs. Choose "
            f"another method, such as {advice} or full."
        )
    if targets == ATTENTION:
        targets = tuple(role for role in ATTENTION if role in available) or ("all",)
    inside = tuple(f"{layer}." for layer in layers or layer_names(model, family))
    resolved = []
    for role in (role for target in targets for role in _roles(target, available)):
        if role not in available:
            raise ModelError(
                f"{family.title} has no layer {role!r} to adapt. Choose from: "
                + ", ".join(f"{role} ({name})" for role, name in available.items())
                + "."
            )
        end = available[role]
        others = tuple(f".{other}" for other in available.values() if other.endswith(f".{end}"))
        names = [name for name in modules if name.endswith(f".{end}") and not name.endswith(others)]
        within = [name for name in names if name in adaptable and name.startswith(inside)]
        if layers or others or (within and within != names):
            resolved += within
        else:
            resolved.append(end)
    return list(dict.fromkeys(resolved))


def available_roles(model: "nn.Module", family: Family, *, convolutions: bool = True) -> dict[str, str]:
    """Return the roles of a model's layers, each with the end of their names.

    Args:
        model: the backbone.
        family: of the backbone.
        convolutions: whether to return roles of convolutions.
    """
    modules = _adaptable(model, convolutions=convolutions)
    return {
        role: found
        for role, names in family.roles.items()
        if (found := next((n for n in names if any(m.endswith(f".{n}") for m in modules)), None))
    }


def _adaptable(model: "nn.Module", *, convolutions: bool) -> list[str]:
    """Return the names of the layers that PEFT can adapt."""
    from torch import nn

    kinds = (nn.Linear, nn.Conv2d) if convolutions else nn.Linear
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


def _roles(target: str, available: dict[str, str]) -> list[str]:
    """Return the roles that a target means."""
    return list(available) if target == "all" else [_SPELLINGS.get(target, target)]
