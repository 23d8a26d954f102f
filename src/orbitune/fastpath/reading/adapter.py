"""LoRA adapters of PEFT, and methods that save whole modules in PEFT's form."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from orbitune.models.families.tensor_shapes import Shapes, require
from orbitune.models.files.adapter_files import DOWN, PREFIX, UP, lora_scaling, read_adapter_config
from orbitune.models.files.checkpoint_files import ADAPTER_WEIGHTS, read_tensors

# Settings of an adapter_config.json that are followed, or that change nothing in evaluation mode.
_FOLLOWED = {
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "target_modules",
    "layers_to_transform",
    "layers_pattern",
    "modules_to_save",
    "bias",
    "init_lora_weights",
}
_WITHOUT_EFFECT = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
}
_NO_LAYER = "dummy-target-modules"  # PEFT's name
_NUMBER = re.compile(r"\.layers?\.(\d+)\.")


@dataclass(frozen=True)
class Adapter:
    """What an adapter changes in its backbone, in fp32.

    Attributes:
        replaced: whole tensors by name.
        updates: LoRA A (r, in) and B (out, r) by the name of the linear layer.
        scaling: factor of B A.
    """

    replaced: dict[str, Tensor]
    updates: dict[str, tuple[Tensor, Tensor]]
    scaling: float


def read_adapter(folder: Path, shapes: Shapes) -> Adapter:
    """Read a PEFT folder that holds LoRA updates and whole tensors alone.

    Args:
        folder: PEFT folder.
        shapes: of all tensors of the classifier, see `tensor_shapes`.

    Raises:
        ModelError: a file is missing or damaged.
        UnknownModelError: it has a setting or a tensor that is not known here, or lacks one.
    """
    config = read_adapter_config(folder)
    _check_settings(config)
    modules = {module for name in shapes for module in _modules_of(name)}
    layers = _adapted_layers(config, modules, shapes=shapes)
    names = _whole_tensors(config, layers, modules=modules, shapes=shapes)
    # PEFT leaves LoRA out inside a module that is saved whole.
    require(not any(f"{layer}.weight" in names.values() for layer in layers))
    stored = read_tensors(folder / ADAPTER_WEIGHTS)
    factors = {f"{PREFIX}{layer}{end}" for layer in layers for end in (DOWN, UP)}
    required = {PREFIX + name for name in names} | factors
    require(required <= stored.keys() <= required | _copies(config, names.values()))
    rank, updates = config.get("r", 8), {}
    for layer in layers:
        down, up = (stored[f"{PREFIX}{layer}{end}"].float() for end in (DOWN, UP))
        outputs, inputs = shapes[f"{layer}.weight"]
        require(down.shape == (rank, inputs) and up.shape == (outputs, rank))
        updates[layer] = (down, up)
    replaced = {name: stored[PREFIX + own].float() for own, name in names.items()}
    return Adapter(replaced, updates, lora_scaling(config))


def _check_settings(config: Mapping[str, Any]) -> None:
    """Check that all settings of an adapter are followed here."""
    others = config.keys() - _FOLLOWED - _WITHOUT_EFFECT
    require(config["peft_type"] == "LORA" and not any(config[name] for name in others))
    require(config.get("init_lora_weights") in (None, True, False, "gaussian"))
    require(config.get("layers_pattern") in (None, [], ["layer", "layers"]))
    require(config.get("r", 8) > 0)


def _adapted_layers(config: Mapping[str, Any], modules: Collection[str], *, shapes: Shapes) -> list[str]:
    """Return the names of the linear layers that PEFT adapts.

    Args:
        config: adapter_config.json.
        modules: names of all modules of the classifier.
        shapes: of all its tensors.
    """
    targets: Any = config.get("target_modules")
    numbers = config.get("layers_to_transform")
    require(numbers is None or isinstance(numbers, list))
    if targets == _NO_LAYER:
        return []
    require(isinstance(targets, list))
    matched = {target: _named(target, modules) for target in targets}
    layers = set().union(*matched.values())
    # PEFT refuses other modules than layers.
    require(bool(matched) and all(matched.values()))
    require(all(len(shapes.get(f"{layer}.weight", ())) == 2 for layer in layers))
    if numbers:
        require(layers.isdisjoint(targets))  # PEFT adapts a layer with its full name whatever its number
        found = {layer: _NUMBER.search(layer) for layer in layers}
        layers = {layer for layer, number in found.items() if number and int(number[1]) in numbers}
    require(bool(layers))
    return sorted(layers)


def _whole_tensors(
    config: Mapping[str, Any], layers: Collection[str], *, modules: Collection[str], shapes: Shapes
) -> dict[str, str]:
    """Return the tensors that an adapter replaces, by their names in its file.

    Args:
        config: adapter_config.json.
        layers: names of the layers with LoRA.
        modules: names of all modules of the classifier.
        shapes: of all its tensors.
    """
    bias, saved = config.get("bias", "none"), config.get("modules_to_save") or []
    require(bias in ("none", "all"))
    # PEFT reads these names as regular expressions too, and as ends of the names of its own modules.
    require(all(_named(name, modules) for name in saved))
    names = {}
    for name in shapes:
        module, _, kind = name.rpartition(".")
        inside = _saved_modules(config, name)
        require(len(inside) <= 1)
        if inside or (bias == "all" and kind == "bias"):
            names[f"{module}.base_layer.bias" if module in layers and not inside else name] = name
    return names


def _copies(config: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """Return the keys of the copies that PEFT writes and does not read.

    With `bias="all"`, it writes the bias in a module of `modules_to_save` three times: the trained one under
    two names, and the original one.
    """
    if config.get("bias") != "all":
        return set()
    return {
        f"{PREFIX}{module}.{wrapped}{name.removeprefix(module)}"
        for name in names
        if name.endswith(".bias")
        for module in _saved_modules(config, name)
        for wrapped in ("modules_to_save", "original_module")
    }


def _saved_modules(config: Mapping[str, Any], name: str) -> list[str]:
    """Return the modules of `modules_to_save` that a tensor is part of."""
    saved = tuple(config.get("modules_to_save") or ())
    return [module for module in _modules_of(name) if module.endswith(saved)]


def _named(end: str, modules: Collection[str]) -> set[str]:
    """Return the modules that have this name, or whose name ends with it after a dot."""
    return {module for module in modules if f".{module}".endswith(f".{end}")}


def _modules_of(name: str) -> list[str]:
    """Return the names of all modules that a tensor is part of."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
