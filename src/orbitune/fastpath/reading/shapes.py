"""Names and shapes of the tensors that the fast path reads, by a checkpoint's config.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from orbitune.fastpath.reading.known import require
from orbitune.models.families import Family
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
_DISTILLED = ("cls_classifier", "distillation_classifier")

Shapes = dict[str, tuple[int, ...]]


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
    extra, body = config.model_extra or {}, family.model_type
    require(config.states(*_STATED) and extra["hidden_act"] == "gelu" and "head_dim" not in extra)
    width, patch, size = config.hidden_size, config.patch_size, config.image_size
    require(isinstance(patch, int) and isinstance(size, int))
    assert isinstance(patch, int) and isinstance(size, int)
    distilled = body == "deit"
    embeddings = {
        "cls_token": (1, 1, width),
        "position_embeddings": (1, (size // patch) ** 2 + 1 + distilled, width),
        "patch_embeddings.projection.weight": (width, channels, patch, patch),
        "patch_embeddings.projection.bias": (width,),
    }
    if distilled:
        embeddings["distillation_token"] = (1, 1, width)
    if body == "dinov2_with_registers":
        require(config.states("num_register_tokens"))
        embeddings["register_tokens"] = (1, config.num_register_tokens, width)
    layer = _linear(("attention.o_proj",), width, width)
    layer |= _linear([f"attention.{name}_proj" for name in "qkv"], width, width, bias=extra["qkv_bias"])
    layer |= _mlp(config, family)
    norms = [f"{name}.{kind}" for name in family.norms for kind in ("weight", "bias")]
    layer |= dict.fromkeys(norms, (width,))
    if not family.head_reads_class_token:
        layer |= dict.fromkeys(("layer_scale1.lambda1", "layer_scale2.lambda1"), (width,))
    reads = width if family.head_reads_class_token else 2 * width
    return {
        **{f"{body}.embeddings.{name}": shape for name, shape in embeddings.items()},
        **{
            f"{body}.{family.layers}.{number}.{name}": shape
            for number in range(config.num_hidden_layers)
            for name, shape in layer.items()
        },
        **dict.fromkeys((f"{body}.layernorm.weight", f"{body}.layernorm.bias"), (width,)),
        **_linear(_heads(family, extra), reads, classes),
    }


def _mlp(config: CheckpointConfig, family: Family) -> Shapes:
    """Return the shapes of a layer's MLP."""
    if family.head_reads_class_token:
        require(config.states("intermediate_size"))
        hidden = config.intermediate_size
    else:
        require(config.states("mlp_ratio"))
        hidden = int(config.hidden_size * config.mlp_ratio)
        if (config.model_extra or {}).get("use_swiglu_ffn"):
            hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
            names = ("mlp.gate_proj", "mlp.up_proj")
            return _linear(names, config.hidden_size, hidden) | _linear(
                ("mlp.down_proj",), hidden, config.hidden_size
            )
    return _linear(("mlp.fc1",), config.hidden_size, hidden) | _linear(
        ("mlp.fc2",), hidden, config.hidden_size
    )


def _linear(names: Sequence[str], inputs: int, outputs: int, *, bias: bool = True) -> Shapes:
    """Return the shapes of the tensors of linear layers."""
    weights = {f"{name}.weight": (outputs, inputs) for name in names}
    return weights | {f"{name}.bias": (outputs,) for name in names if bias}


def _heads(family: Family, extra: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the heads of the architecture that transformers chooses."""
    if _DISTILLED[0] not in family.heads:
        return ("classifier",)
    known = {
        "DeiTForImageClassification": ("classifier",),
        "DeiTForImageClassificationWithTeacher": _DISTILLED,
    }
    named = [known[name] for name in extra.get("architectures") or () if name in known]
    return named[0] if named else ("classifier",)
