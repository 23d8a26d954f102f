"""A saved model as modules under the names of transformers.

Importing transformers and PEFT takes most of the time of a short prediction. The checkpoints and adapters
that are known here are read without them. Whatever is unknown, missing, damaged or of another shape is left
to transformers and PEFT, which load it or say what is wrong.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from orbitune.errors import ModelError
from orbitune.fastpath.layer_modules import LowRankLinear
from orbitune.fastpath.reading.adapter import Adapter, read_adapter
from orbitune.models.backbones import Backbone
from orbitune.models.families.family import Family
from orbitune.models.families.tensor_shapes import (
    UnknownModelError,
    current_names,
    is_headless,
    require,
    tensor_shapes,
)
from orbitune.models.files.checkpoint_files import ADAPTER_CONFIG, check_config, read_tensors, weight_files


def read_classifier(folder: Path, backbone: Backbone, *, classes: int) -> nn.Module | None:
    """Read a saved model in fp32 and evaluation mode.

    Args:
        folder: an adapter or all weights, whose hashes were compared with the stored ones.
        backbone: of an adapter, with the hash that it was trained on.
        classes: number of classes.

    Returns:
        The modules of a classifier under the names of transformers, without a forward pass of its own; None
        for a model that only transformers and PEFT can read.
    """
    try:
        return _read(folder, backbone, classes=classes)
    except (ModelError, UnknownModelError):
        return None


def _read(folder: Path, backbone: Backbone, *, classes: int) -> nn.Module:
    family, is_adapter = backbone.family, (folder / ADAPTER_CONFIG).exists()
    checkpoint = backbone.folder if is_adapter else folder
    config = check_config(checkpoint)
    require(config.model_type == family.model_type)
    widened = len(backbone.widened_to) if is_adapter else 0
    shapes = tensor_shapes(config, family, channels=widened or config.num_channels, classes=classes)
    adapter = read_adapter(folder, shapes) if is_adapter else None  # before the backbone, which is large
    if adapter:
        require(any(name.partition(".")[0] in family.heads for name in adapter.replaced))
    else:
        labels = (config.model_extra or {}).get("id2label")
        require(isinstance(labels, dict) and len(labels) == classes)
    stored: dict[str, Tensor] = {}
    for file in weight_files(checkpoint):
        part = read_tensors(file)
        require(stored.keys().isdisjoint(part))
        stored |= part
    tensors = _renamed(stored, family) | (adapter.replaced if adapter else {})
    require(all(name in tensors and tensors[name].shape == shape for name, shape in shapes.items()))
    whole = {name: tensors[name].float() for name in shapes}
    return _as_modules(whole, config, family, adapter=adapter)


def _renamed(stored: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint under the names of transformers 5."""
    headless = is_headless(stored, family)
    renamed: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        names = current_names(name, family, headless=headless)
        # A tensor that the model does not use may be a scalar, which cannot be split.
        pieces = dict(zip(names, tensor.chunk(len(names)) if tensor.ndim else (tensor,), strict=False))
        require(renamed.keys().isdisjoint(pieces))
        renamed |= pieces
    return renamed


def _as_modules(
    tensors: Mapping[str, Tensor], config: Any, family: Family, *, adapter: Adapter | None
) -> nn.Module:
    """Return the tensors as modules under their names."""
    root: Any = nn.Module()
    root.config = config
    layers = nn.ModuleList()
    parent, _, last = f"{family.body}.{family.layers}".rpartition(".")
    _container(root, parent).add_module(last, layers)
    by_module: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        by_module.setdefault(module, {})[kind] = tensor
    for name, own in by_module.items():
        made = _module(own, epsilon=config.layer_norm_eps)
        if adapter and name in adapter.updates:
            made = LowRankLinear(made, adapter.updates[name], scaling=adapter.scaling)
        parent, _, last = name.rpartition(".")
        _container(root, parent).add_module(last, made)
    layer: Any
    for layer in layers:
        layer.attention.head_dim = config.hidden_size // config.num_attention_heads
        if hasattr(layer.mlp, "gate_proj"):
            layer.mlp.act_fn = nn.SiLU()
    root.requires_grad_(adapter is None).eval()  # as transformers and PEFT leave it
    return cast(nn.Module, root)


def _container(root: nn.Module, name: str) -> nn.Module:
    """Return the module of a name, made with those above it where it is missing."""
    module = root
    for part in filter(None, name.split(".")):
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    return module


def _module(tensors: Mapping[str, Tensor], *, epsilon: float) -> Any:
    """Return the module that holds these tensors, by their shapes."""
    weight = tensors.get("weight")
    module: nn.Module
    if weight is None:
        module = nn.Module()
    elif weight.ndim == 1:
        module = nn.LayerNorm(len(weight), eps=epsilon, device="meta")
    elif weight.ndim == 2:
        module = nn.Linear(weight.shape[1], len(weight), bias="bias" in tensors, device="meta")
    else:
        side = weight.shape[2]
        module = nn.Conv2d(weight.shape[1], len(weight), side, stride=side, device="meta")
    for name, tensor in tensors.items():
        module.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
    return module
