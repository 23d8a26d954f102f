"""From a recipe to a model: open settings are resolved, the method applied, the count checked."""

from typing import TYPE_CHECKING

from orbitune.errors import ModelError
from orbitune.models.backbones import Backbone, empty_model, load_weights
from orbitune.models.methods import count_parameters, find_method
from orbitune.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn


def resolve(recipe: Recipe, backbone: Backbone) -> Recipe:
    """The recipe with every open setting filled in: image size, learning rate, precision.

    Raises:
        ModelError: the image size does not suit the backbone's patch.
    """
    size, patch = recipe.image_size or backbone.image_size, backbone.patch_size
    if size % patch:
        below = size // patch * patch
        fits = f"{below} or {below + patch}" if below else f"{patch}"
        raise ModelError(
            f"An image size of {size} does not suit {backbone.name}, whose patches are {patch} pixels wide; "
            f"use {fits}."
        )
    return recipe.replace(
        image_size=size,
        learning_rate=recipe.learning_rate or find_method(recipe.method).learning_rate,
        precision=recipe.precision or native_precision(),
    )


def native_precision() -> str:
    """bf16 where the GPU, or else the processor, multiplies it natively; fp32 elsewhere."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if has.get("avx512_bf16") or has.get("amx_bf16") else "fp32"


def build(recipe: Recipe, backbone: Backbone, classes: tuple[str, ...]) -> "nn.Module":
    """Load the backbone and apply the method; what is trainable is what the plan says.

    Raises:
        ModelError: the trainable parameters are not those of the plan.
    """
    method = find_method(recipe.method)
    model = method.apply(load_weights(backbone, classes, recipe.seed), backbone.family, recipe)
    built, planned = count_parameters(model, backbone.family), plan_parameters(recipe, backbone, classes)
    if built != planned:
        raise ModelError(f"The model differs from its plan: {built} parameters, not {planned}.")
    return model


def plan_parameters(recipe: Recipe, backbone: Backbone, classes: tuple[str, ...]) -> dict[str, int]:
    """Parameters per part of the model this recipe builds, counted without loading a weight."""
    model = find_method(recipe.method).apply(empty_model(backbone, classes), backbone.family, recipe)
    return count_parameters(model, backbone.family)
