"""State-dict key mapping of adapters to the names of transformers 5.

Adapters are read as PEFT writes them for transformers 4 (`attention.attention.query`), transformers 5
(`attention.q_proj`) and timm (`attn.qkv`). If a library fuses layers, the low-rank update B A of the fused
layer is split exactly: B by rows, and each part keeps all of A.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError
from orbitune.models.families.family import TRANSFORMERS_4, Family
from orbitune.models.files.adapter_files import PREFIX

if TYPE_CHECKING:
    from torch import Tensor

_LAYER = re.compile(r"(?:.*\.)?(?:encoder\.layers?|layers?|blocks)\.(\d+)\.(.+)")
_TENSOR = re.compile(r"(.+?)\.((?:lora_|base_layer).+|[^.]+)")  # a module, and a tensor of it
_QKV = ("attention.q_proj", "attention.k_proj", "attention.v_proj")

# Modules of a layer in other libraries -> transformers 5; a fused module maps to several.
# NORM1 and NORM2 stand for the names of the family.
_PARTS: dict[str, tuple[str, ...]] = {
    **TRANSFORMERS_4,
    # timm
    "attn.qkv": _QKV,
    "attn.proj": ("attention.o_proj",),
    "norm1": ("NORM1",),
    "norm2": ("NORM2",),
}
# The same for modules outside the layers; BODY stands for the body of the family.
_OUTSIDE = {"norm": "BODY.layernorm", "head": "classifier"}

# How tensors of a fused module are split: A reads the input, which all parts share.
_WHOLE = {"lora_A.weight"}
_ROWS = {"lora_B.weight", "lora_B.bias", "lora_magnitude_vector", "base_layer.bias", "weight", "bias"}


def rename_tensors(tensors: "Mapping[str, Tensor]", family: Family) -> "dict[str, Tensor]":
    """Return the tensors of an adapter under the names of transformers 5.

    Args:
        tensors: of an adapter_model.safetensors.
        family: of the backbone.

    Raises:
        ModelError: a name belongs to no module of this family, or a fused tensor cannot be split.
    """
    named: dict[str, Tensor] = {}
    for old, tensor in drop_copies(tensors).items():
        for new, part in _parts(old, tensor, family=family):
            if new in named:
                raise ModelError(f"The adapter holds {new.removeprefix(PREFIX)} twice, under two names.")
            named[new] = part
    return named


def drop_copies(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return the tensors that PEFT reads from an adapter, each under one name.

    With `bias="all"`, PEFT writes the bias of a module in `modules_to_save` three times: the original one,
    and the trained one under two names, of which it reads the plain one.

    Raises:
        ModelError: two tensors have the same plain name.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        # Some programs leave the adapter's name or PEFT's wrapper in the key.
        plain = name.replace(".default", "").replace(".modules_to_save", "")
        if ".original_module." in name or (plain != name and plain in tensors):
            continue
        if plain in kept:
            raise ModelError(f"The adapter holds {plain} twice, under two names. Remove one.")
        kept[plain] = tensor
    return kept


def rename_patterns(
    config: Mapping[str, Any], tensors: "Mapping[str, Tensor]", *, family: Family
) -> dict[str, dict[str, Any]]:
    """Return PEFT's `rank_pattern` and `alpha_pattern` for the renamed tensors.

    Args:
        config: the adapter's own, whose patterns match its own names.
        tensors: of the adapter, under its own names.
    """
    from peft.utils.other import get_pattern_key

    alphas = config.get("alpha_pattern") or {}
    found: dict[str, dict[str, Any]] = {"rank_pattern": {}, "alpha_pattern": {}}
    for old, tensor in drop_copies(tensors).items():
        module, kind, _ = old.removeprefix(PREFIX).partition(".lora_A.")
        if not kind:
            continue
        settings = {
            "rank_pattern": len(tensor),
            "alpha_pattern": alphas.get(get_pattern_key(list(alphas), module)),
        }
        defaults = {"rank_pattern": config.get("r", 8), "alpha_pattern": None}
        for new, _ in _parts(old, tensor, family=family):
            name = re.escape(new.removeprefix(PREFIX).partition(".lora_A.")[0])
            found |= {
                key: {**found[key], name: value} for key, value in settings.items() if value != defaults[key]
            }
    return found


def rename_config(config: Mapping[str, Any], tensors: Iterable[str]) -> dict[str, Any]:
    """Return PEFT's adapter_config for the renamed tensors.

    Its target modules are listed by name.

    Args:
        config: PEFT's adapter_config.json.
        tensors: the new names of the adapter's tensors.

    Returns:
        A copy of the configuration with the new names.

    Raises:
        ModelError: it has settings for single layers, which refer to the old names.
    """
    for setting in ("rank_pattern", "alpha_pattern", "exclude_modules"):
        if config.get(setting):
            raise ModelError(f"The adapter has {setting}, which cannot be mapped to other keys.")
    names = [name.removeprefix(PREFIX) for name in tensors]
    targets = {name.partition(".lora_")[0] for name in names if ".lora_" in name}
    whole = {
        name.removesuffix(".weight") for name in names if ".lora_" not in name and name.endswith(".weight")
    }
    return {
        **config,
        "target_modules": sorted(targets),
        "modules_to_save": sorted(whole) or None,
        "layers_to_transform": None,
        "layers_pattern": None,
    }


def _parts(name: str, tensor: "Tensor", *, family: Family) -> "Iterator[tuple[str, Tensor]]":
    """Yield a tensor under its new name, or its parts if it is fused."""
    if name.startswith("base_model.") and not name.startswith(PREFIX):
        yield name, tensor  # shared by all layers, as in VeRA
        return
    own = name.removeprefix(PREFIX)
    if not (match := _LAYER.fullmatch(own)):
        yield PREFIX + _outside(own, family), tensor
        return
    layer, inside = f"{family.body}.{family.layers}.{match[1]}.", match[2]
    modules, kind = _inside(inside, family)
    if len(modules) == 1 or kind in _WHOLE:
        pieces = [tensor] * len(modules)
    elif kind in _ROWS and len(tensor) % len(modules) == 0:
        pieces = [piece.contiguous() for piece in tensor.chunk(len(modules))]
    else:
        raise ModelError(f"The adapter's {own} cannot be split into {', '.join(modules)}.")
    for module, piece in zip(modules, pieces, strict=True):
        yield f"{PREFIX}{layer}{module}.{kind}", piece


def _inside(name: str, family: Family) -> tuple[list[str], str]:
    """Return the modules that a key inside a layer refers to, and the kind of tensor."""
    ours = [spelling for names in family.roles.values() for spelling in names]
    ours += [*family.norms, "layer_scale1", "layer_scale2"]
    known = {**{part: (part,) for part in ours}, **_PARTS}
    norms = dict(zip(("NORM1", "NORM2"), family.norms, strict=True))
    for part, modules in known.items():
        if name.startswith(f"{part}."):
            return [norms.get(module, module) for module in modules], name.removeprefix(f"{part}.")
    raise ModelError(f"The adapter changes {name}, which is not part of a {family.title} that is known here.")


def _outside(name: str, family: Family) -> str:
    """Return the key of a tensor outside the layers in transformers 5."""
    matched = _TENSOR.fullmatch(name)
    module, kind = matched.groups() if matched else ("", name)
    module = _OUTSIDE.get(module, module).replace("BODY", family.body)
    if module not in family.heads and not module.startswith(f"{family.body}."):
        raise ModelError(f"The adapter changes {module}, which is not part of a {family.title}.")
    return f"{module}.{kind}"
