"""Fine-tuning methods: how each turns a loaded backbone into a model with the right tensors trainable.

To add a method, add one entry to METHODS; the command line, the study and the tests go through this table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError
from orbitune.models.backbones import Family, head_names, resolve_targets
from orbitune.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        title: its name in a sentence.
        apply: sets what is trainable, and returns the model to train (wrapped by PEFT or not).
        learning_rate: the peak rate where the recipe names none.
        folder: where a run keeps the result: `adapter` (a PEFT folder) or `model` (all weights).
        paper: where the method comes from.
    """

    name: str
    title: str
    summary: str
    apply: Callable[["nn.Module", Family, Recipe], "nn.Module"]
    learning_rate: float
    folder: str
    paper: str


def _full(model: "nn.Module", family: Family, recipe: Recipe) -> "nn.Module":
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.endswith(family.unused))
    return model


def _linear(model: "nn.Module", family: Family, recipe: Recipe) -> "nn.Module":
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import DUMMY_TARGET_MODULES

    # A PEFT folder that adapts no layer and holds the head: plain PEFT opens it like any other.
    config = LoraConfig(target_modules=DUMMY_TARGET_MODULES, modules_to_save=head_names(model, family))
    return get_peft_model(model, config)


def _lora(model: "nn.Module", family: Family, recipe: Recipe) -> "nn.Module":
    from peft import LoraConfig, get_peft_model

    settings = recipe.lora
    config = LoraConfig(
        **_top_layers(model, settings.top_layers),
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        bias=settings.bias,
        target_modules=resolve_targets(model, family, settings.targets),
        # Without this PEFT would neither train nor save the new head.
        modules_to_save=head_names(model, family),
    )
    return get_peft_model(model, config)


def _top_layers(model: Any, count: int | None) -> dict[str, Any]:
    """PEFT's settings that adapt only the last layers; none for all."""
    if count is None:
        return {}
    layers = model.config.num_hidden_layers
    if count > layers:
        raise ModelError(f"The backbone has {layers} layers; top_layers asks for the last {count}.")
    return {"layers_to_transform": list(range(layers - count, layers)), "layers_pattern": ["layer", "layers"]}


METHODS = {
    method.name: method
    for method in (
        Method(
            "full",
            "full fine-tuning",
            "every weight is trained",
            _full,
            1e-4,
            "model",
            "the usual fine-tuning",
        ),
        Method(
            "linear",
            "linear probing",
            "only the head is trained",
            _linear,
            1e-2,
            "adapter",
            "linear probing (Alain and Bengio 2016, arXiv:1610.01644)",
        ),
        Method(
            "lora",
            "LoRA",
            "low-rank updates and the head are trained",
            _lora,
            2e-3,
            "adapter",
            "LoRA (Hu et al. 2021, arXiv:2106.09685)",
        ),
    )
}


def find_method(name: str) -> Method:
    """The method of that name; a ModelError that lists them where there is none."""
    if name not in METHODS:
        raise ModelError(f"There is no method {name!r}; there is: {', '.join(METHODS)}.")
    return METHODS[name]


def count_parameters(model: "nn.Module", family: Family) -> dict[str, int]:
    """Parameters of each part: backbone, adapter, head; their total; and how many are trained."""
    counts = {"backbone": 0, "adapter": 0, "head": 0, "trainable": 0}
    for name, parameter in model.named_parameters():
        if "original_module" in name:  # PEFT's copy of the head as it was before
            continue
        in_head = any(f"{head}." in name for head in family.heads)
        part = "head" if in_head else "adapter" if ".lora_" in name else "backbone"
        counts[part] += parameter.numel()
        counts["trainable"] += parameter.numel() if parameter.requires_grad else 0
    return {"total": counts["backbone"] + counts["adapter"] + counts["head"], **counts}
