"""LoRA adapters of PEFT, and methods that save whole modules in PEFT's form."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from orbitune.fastpath.reading.known import require
from orbitune.fastpath.reading.shapes import Shapes
from orbitune.models.files.adapter_files import drop_copies, read_adapter_config
from orbitune.models.files.checkpoint_files import ADAPTER_WEIGHTS, read_tensors

_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
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
    scaling = _scaling(config)
    adapter = Adapter(*_read_tensors(folder), scaling)
    _check_whole_tensors(config, adapter.replaced, shapes=shapes)
    _check_updates(config, adapter.updates, shapes=shapes)
    return adapter


def _read_tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    """Return the tensors that an adapter replaces, and its low-rank updates."""
    replaced, downs, ups = {}, {}, {}
    for full, tensor in drop_copies(read_tensors(folder / ADAPTER_WEIGHTS)).items():
        require(full.startswith(_PREFIX))
        name = full.removeprefix(_PREFIX)
        if name.endswith(_DOWN):
            downs[name.removesuffix(_DOWN)] = tensor.float()
        elif name.endswith(_UP):
            ups[name.removesuffix(_UP)] = tensor.float()
        else:
            replaced[name.replace(".base_layer.", ".")] = tensor.float()
    require(downs.keys() == ups.keys())
    return replaced, {layer: (down, ups[layer]) for layer, down in downs.items()}


def _scaling(config: Mapping[str, Any]) -> float:
    """Return the scaling of an adapter's updates, all of whose settings are followed here."""
    others = config.keys() - _FOLLOWED - _WITHOUT_EFFECT
    require(config["peft_type"] == "LORA" and not any(config[name] for name in others))
    require(config.get("init_lora_weights") in (None, True, False, "gaussian"))
    require(config.get("layers_pattern") in (None, [], ["layer", "layers"]))
    rank, alpha = config.get("r", 8), config.get("lora_alpha", 8)
    require(rank > 0)
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def _check_whole_tensors(
    config: Mapping[str, Any], replaced: Mapping[str, Tensor], *, shapes: Shapes
) -> None:
    """Check that an adapter replaces exactly the tensors that its configuration names."""
    whole, bias = tuple(config.get("modules_to_save") or ()), config.get("bias", "none")
    require(bias in ("none", "all"))
    wanted = {
        name
        for name in shapes
        if any(module.endswith(whole) for module in _modules_of(name))
        or (bias == "all" and name.endswith(".bias"))
    }
    require(replaced.keys() == wanted)


def _check_updates(
    config: Mapping[str, Any], updates: Mapping[str, tuple[Tensor, Tensor]], *, shapes: Shapes
) -> None:
    """Check that an adapter updates exactly the layers that its configuration names."""
    targets, layers = config.get("target_modules"), config.get("layers_to_transform")
    require(targets == _NO_LAYER or isinstance(targets, list))
    require(layers is None or isinstance(layers, list))
    ends = () if targets == _NO_LAYER else tuple(f".{target}" for target in targets or ())
    matrices = [name.removesuffix(".weight") for name, shape in shapes.items() if len(shape) == 2]
    adapted = {name for name in matrices if f".{name}".endswith(ends)}
    if layers is not None:
        numbers = {name: _NUMBER.search(name) for name in adapted}
        adapted = {name for name, found in numbers.items() if found and int(found[1]) in layers}
    require(updates.keys() == adapted)
    rank = config.get("r", 8)
    for layer, (down, up) in updates.items():
        outputs, inputs = shapes[f"{layer}.weight"]
        require(down.shape == (rank, inputs) and up.shape == (outputs, rank))


def _modules_of(name: str) -> list[str]:
    """Return the names of all modules that a tensor is part of."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
