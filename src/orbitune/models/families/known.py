"""The family of a checkpoint, by its model type."""

from difflib import get_close_matches
from typing import Any

from orbitune.errors import ModelError
from orbitune.models.families.family import Family
from orbitune.models.families.table import FAMILIES

# What to use in place of checkpoints that are near to a family, but not of it.
_INSTEAD = {
    "siglip2": "it reads images of any shape (NaFlex); SigLIP 2 checkpoints of one size are of type siglip",
    "clip_vision_model": "use the whole checkpoint, of the type clip",
    "siglip_vision_model": "use the whole checkpoint, of the type siglip",
    "dinov3_convnext": "it is a convolutional network; use a ViT of DINOv3, of the type dinov3_vit",
    "timm_wrapper": "timm's models need torchvision; use the same architecture in the layout of transformers",
}


def family_of(model_type: Any, *, whose: str) -> Family:
    """Return the family of a model type.

    Args:
        model_type: of the config.json.
        whose: the checkpoint, for the message.

    Raises:
        ModelError: the architecture is not supported; the message names the nearest that are.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if model_type in _INSTEAD:
        advice = f"{_INSTEAD[model_type]}."
    else:
        near = get_close_matches(str(model_type), FAMILIES, n=3, cutoff=0.5)
        advice = f"The nearest supported ones are: {', '.join(near)}. " if near else ""
        advice += f"Supported are: {', '.join(FAMILIES)}."
    raise ModelError(f"{whose} is of the architecture {model_type!r}, which is not supported: {advice}")
