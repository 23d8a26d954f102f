"""Names and shapes of a checkpoint's tensors by its config.json, for the families of the fast path.

Building the model with transformers tells them too, but importing it takes seconds.
"""

import re
from collections.abc import Iterable
from typing import Any

from orbitune.models.families.family import TRANSFORMERS_4, Family
from orbitune.models.files.checkpoint_files import CheckpointConfig

# Settings of a config.json whose defaults differ by family: files that leave one out are not read here.
_STATED = (
    "hidden_act",
    "hidden_size",
    "image_size",
    "layer_norm_eps",
    "num_attention_heads",
    "num_channels",
    "num_hidden_layers",
    "patch_size",
    "qkv_bias",
)
_DEIT_HEADS = {
    "DeiTForImageClassification": ("classifier",),
    "DeiTForImageClassificationWithTeacher": ("cls_classifier", "distillation_classifier"),
}

Shapes = dict[str, tuple[int, ...]]


class UnknownModelError(Exception):
    """A model that is left to transformers and PEFT."""


def require(known: bool) -> None:
    """Raise an `UnknownModelError` for a model that is not known here.

    Args:
        known: whether it is.
    """
    if not known:
        raise UnknownModelError


def is_headless(names: Iterable[str], family: Family) -> bool:
    """Return whether a checkpoint of these tensors was saved without the class with the head."""
    return not any(name.startswith(f"{family.body}.") for name in names)


def current_names(name: str, family: Family, *, headless: bool) -> list[str]:
    """Return the names in transformers 5 of a tensor in a checkpoint, several for a fused one.

    Args:
        name: in the file.
        family: of the checkpoint.
        headless: whether it was saved without the class with the head, whose names begin with the body.
    """
    body = f"{family.body}."
    full = body + name if headless else name
    layer = re.fullmatch(rf"{body}(?:encoder\.layer|{re.escape(family.layers)})\.(\d+)\.(.+)", full)
    if not layer:
        return [full]
    inside, _, kind = layer[2].rpartition(".")
    return [
        f"{body}{family.layers}.{layer[1]}.{part}.{kind}" for part in TRANSFORMERS_4.get(inside, (inside,))
    ]


def tensor_shapes(config: CheckpointConfig, family: Family, *, channels: int, classes: int) -> Shapes:
    """Return the shapes of all tensors of a classifier by name; layers in their order.

    Args:
        config: config.json of the checkpoint.
        family: of the checkpoint.
        channels: number of bands that the classifier reads.
        classes: number of classes.

    Raises:
        UnknownModelError: a setting is missing, or has a value that is not known here.
    """
    require(not family.rotary and family.why_plain is None and config.vision_config is None)
    _check_settings(config)
    body, width = family.body, config.hidden_size
    layer = _layer(config, family)
    return {
        **{
            f"{body}.embeddings.{name}": shape
            for name, shape in _embeddings(config, family, channels=channels).items()
        },
        **{
            f"{body}.{family.layers}.{number}.{name}": shape
            for number in range(config.num_hidden_layers)
            for name, shape in layer.items()
        },
        f"{body}.layernorm.weight": (width,),
        f"{body}.layernorm.bias": (width,),
        **_linear(
            *_heads(config, family),
            inputs=2 * width if family.pooling == "class and patches" else width,
            outputs=classes,
        ),
    }


def _check_settings(config: CheckpointConfig) -> None:
    """Check the settings that every family has."""
    extra = config.model_extra or {}
    require(config.states(*_STATED) and extra["hidden_act"] == "gelu" and "head_dim" not in extra)
    require(isinstance(extra["qkv_bias"], bool) and isinstance(extra["layer_norm_eps"], float))
    require(isinstance(config.patch_size, int) and isinstance(config.image_size, int))


def _embeddings(config: Any, family: Family, *, channels: int) -> Shapes:
    """Return the shapes of the embeddings' tensors."""
    width, patch = config.hidden_size, config.patch_size
    names = {"deit": ("cls_token", "distillation_token"), "ijepa": ()}.get(family.model_type, ("cls_token",))
    shapes = {
        **{name: (1, 1, width) for name in names},
        "position_embeddings": (1, (config.image_size // patch) ** 2 + len(names), width),
        "patch_embeddings.projection.weight": (width, channels, patch, patch),
        "patch_embeddings.projection.bias": (width,),
    }
    if family.model_type == "dinov2_with_registers":
        require(config.states("num_register_tokens"))
        shapes["register_tokens"] = (1, config.num_register_tokens, width)
    return shapes


def _layer(config: Any, family: Family) -> Shapes:
    """Return the shapes of a layer's tensors."""
    width = config.hidden_size
    qkv = [f"attention.{name}_proj" for name in "qkv"]
    shapes = _linear(*qkv, inputs=width, outputs=width, bias=config.qkv_bias)
    shapes |= _linear("attention.o_proj", inputs=width, outputs=width)
    if family.model_type not in ("dinov2", "dinov2_with_registers"):
        require(config.states("intermediate_size"))
        hidden = config.intermediate_size
    else:
        require(config.states("mlp_ratio"))
        hidden = int(width * config.mlp_ratio)
        shapes |= {"layer_scale1.lambda1": (width,), "layer_scale2.lambda1": (width,)}
    if getattr(config, "use_swiglu_ffn", False):
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
        shapes |= _linear("mlp.gate_proj", "mlp.up_proj", inputs=width, outputs=hidden)
        shapes |= _linear("mlp.down_proj", inputs=hidden, outputs=width)
    else:
        shapes |= _linear("mlp.fc1", inputs=width, outputs=hidden)
        shapes |= _linear("mlp.fc2", inputs=hidden, outputs=width)
    return shapes | {f"{name}.{kind}": (width,) for name in family.norms for kind in ("weight", "bias")}


def _linear(*names: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    """Return the shapes of the tensors of linear layers."""
    weights: Shapes = {f"{name}.weight": (outputs, inputs) for name in names}
    return weights | {f"{name}.bias": (outputs,) for name in names if bias}


def _heads(config: Any, family: Family) -> tuple[str, ...]:
    """Return the names of the heads of the architecture that transformers chooses."""
    if family.model_type != "deit":
        return ("classifier",)
    named = getattr(config, "architectures", None) or []
    require(isinstance(named, list))
    known = (_DEIT_HEADS[name] for name in named if isinstance(name, str) and name in _DEIT_HEADS)
    return next(known, ("classifier",))
