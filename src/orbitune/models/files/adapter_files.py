"""Checks of a PEFT folder, before PEFT reads it.

PEFT imports modules that a configuration names, reads pickles, allocates ranks that no file holds, and
ignores tensors that fit nowhere. None of that may happen to a folder from an unknown source.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from orbitune.errors import ModelError
from orbitune.models.backbones import Backbone
from orbitune.models.families.family import Family, is_head
from orbitune.models.files.checkpoint_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    checkpoint_shapes,
    stored_shapes,
)
from orbitune.models.files.config_files import read_config_file
from orbitune.models.methods import PEFT_TYPES

if TYPE_CHECKING:
    from torch import nn

# Keys of an adapter_model.safetensors: before the name of a module, and after that of a LoRA layer.
PREFIX, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"

# How plain LoRA may have been started. The others compute from what is not in the folder (gradients,
# activations, random numbers), and change the frozen weights as they do.
_STARTS = ("gaussian", "eva", "olora", "pissa", "orthogonal", "mica", "lora_ga")

_LARGEST = 1 << 53  # floats hold all integers up to here
Rank = Annotated[int, Field(ge=0, le=_LARGEST)]  # 0 where another setting gives an adapter's size
Alpha = Annotated[int | FiniteFloat, Field(ge=-_LARGEST, le=_LARGEST)]


class AdapterConfig(BaseModel):
    """The fields of an adapter_config.json that matter; others are kept."""

    model_config = ConfigDict(strict=True, extra="allow")

    peft_type: Literal[PEFT_TYPES]  # type: ignore[valid-type]
    auto_mapping: dict[str, Any] | None = None
    task_type: str | None = None
    base_model_name_or_path: str | None = None
    r: Rank = 8
    init_r: Rank | None = None
    lora_alpha: Alpha = 8
    rank_pattern: dict[str, Any] | None = None
    alpha_pattern: dict[str, Alpha] | None = None
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    target_parameters: list[str] | None = None
    bias: Literal["none", "all", "lora_only", "oft_only", "vera_only"] = "none"
    use_dora: bool = False
    use_rslora: bool = False
    init_lora_weights: bool | str | None = True
    megatron_config: None = None


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read the adapter_config.json of a PEFT folder.

    Raises:
        ModelError: there is none, or it is damaged; or it is of a type, or has a setting, that is not opened
            here.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        below = sorted(file.parent.name for file in folder.glob(f"*/{ADAPTER_CONFIG}"))
        hint = f"; there is one in {folder / below[0]}, pass that" if below else ""
        raise ModelError(f"{folder} cannot be read as an adapter of PEFT: no {ADAPTER_CONFIG}{hint}.")
    config = read_config_file(folder / ADAPTER_CONFIG, AdapterConfig)
    start = config.init_lora_weights
    if isinstance(start, str) and start.lower() not in _STARTS:
        raise ModelError(
            f"The adapter {folder} was initialised by {start!r}, which changed the frozen weights in a way "
            "that its files do not record. Save it as plain LoRA (path_initial_model_for_weight_conversion)."
        )
    for pattern in _patterns(config):
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError):
            raise ModelError(f"{folder} cannot be read as an adapter: {pattern!r} is not a regex.") from None
    return config.model_dump(exclude_unset=True)


def _patterns(config: AdapterConfig) -> list[str]:
    """Return all regular expressions of a configuration."""
    single = [each for each in (config.target_modules, config.exclude_modules) if isinstance(each, str)]
    return [*single, *(config.rank_pattern or {}), *(config.alpha_pattern or {})]


def check_adapter(folder: Path) -> dict[str, tuple[int, ...]]:
    """Check a PEFT folder before PEFT opens it; return its tensor shapes by name.

    Raises:
        ModelError: a file is missing or damaged, or the weights are a pickle; or the configuration asks for a
            rank that no tensor has.
    """
    config = read_adapter_config(folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickles = [file.name for file in folder.glob("*.bin")]
        if pickles:
            raise ModelError(
                f"{folder} holds a pickle ({pickles[0]}), which can run any program; save it as safetensors."
            )
        raise ModelError(f"{folder} cannot be read as an adapter of PEFT: it lacks {ADAPTER_WEIGHTS}.")
    try:
        shapes = stored_shapes(folder / ADAPTER_WEIGHTS)
    except ModelError as error:
        raise ModelError(f"{folder} cannot be read as an adapter of PEFT. {error}") from None
    largest = max((side for shape in shapes.values() for side in shape), default=0)
    ranks = [config.get("r"), config.get("init_r"), *_whole_numbers(config.get("rank_pattern") or {})]
    if (rank := max((rank for rank in ranks if rank), default=0)) > max(largest, 8):
        raise ModelError(
            f"The {ADAPTER_CONFIG} of {folder} states rank {rank}, but none of its tensors is so large."
        )
    return shapes


def _whole_numbers(patterns: dict[str, Any]) -> list[int]:
    """Return the ranks of single layers.

    AdaLoRA stores a list of flags for each instead.
    """
    return [rank for rank in patterns.values() if isinstance(rank, int)]


def lora_scaling(config: Mapping[str, Any]) -> float:
    """Return the factor of B A in a LoRA layer, from `read_adapter_config`."""
    rank, alpha = config.get("r", 8), config.get("lora_alpha", 8)
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def head_rows(shapes: dict[str, tuple[int, ...]], family: Family) -> int | None:
    """Return the number of classes of the first head; None without a head."""
    for name, shape in shapes.items():
        module, _, kind = name.rpartition(".")
        if kind == "weight" and len(shape) == 2 and any(is_head(module, head) for head in family.heads):
            return shape[0]
    return None


def check_head(
    folder: Path, shapes: dict[str, tuple[int, ...]], *, backbone: Backbone, classes: int, named: str
) -> None:
    """Check that an adapter, or its checkpoint, has a head with one row per class.

    Args:
        named: what names the classes, for the message.

    Raises:
        ModelError: there is no head, or it has more or fewer rows.
    """
    rows = head_rows(shapes, backbone.family)
    if rows is None and head_rows(checkpoint_shapes(backbone.folder), backbone.family) != classes:
        raise ModelError(
            f"{folder} holds no classification head, so it cannot predict: it was saved without one "
            f"(modules_to_save). Train it again, with the head."
        )
    if rows is not None and rows != classes:
        raise ModelError(f"The head of {folder} has {rows} classes; {named} has {classes}.")


def check_all_used(model: "nn.Module", shapes: dict[str, tuple[int, ...]], *, folder: Path) -> None:
    """Check that every tensor of a PEFT folder has a place in PEFT's model.

    Raises:
        ModelError: one has none; PEFT would leave it out without a word.
    """
    from peft import get_peft_model_state_dict

    known = get_peft_model_state_dict(model, save_embedding_layers=False)
    if unused := sorted(shapes.keys() - known.keys()):
        raise ModelError(
            f"{folder} cannot be loaded: {len(unused)} of its tensors, such as {unused[0]}, have no place in "
            "the model. Is this its backbone?"
        )
