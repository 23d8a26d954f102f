"""The family of a checkpoint, by its model type."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from orbitune.errors import ModelError
from orbitune.models.families.family import Family
from orbitune.models.families.table import FAMILIES

_ONE_SIZE = "it reads images of any shape (NaFlex); SigLIP 2 checkpoints of one size are of type siglip"
# What to use in place of checkpoints that are near to a family, but not of it.
_INSTEAD = {
    "siglip2": _ONE_SIZE,
    "siglip2_vision_model": _ONE_SIZE,
    "clip_vision_model": "use the whole checkpoint, of the type clip",
    "siglip_vision_model": "use the whole checkpoint, of the type siglip",
    "dinov3_convnext": "it is a convolutional network; use a ViT of DINOv3, of the type dinov3_vit",
}
_ENDING = re.compile(r"(For|Model|WithRegisters).*")  # of the name of a class


def family_of(model_type: str | None, *, whose: str, classes: Sequence[str] = ()) -> Family:
    """Return the family of a model type.

    Args:
        model_type: of the config.json; None where it states none.
        whose: the checkpoint, for the message.
        classes: of transformers, by which a checkpoint without a model type is recognised in the message.

    Raises:
        ModelError: the architecture is not supported, or not named; the message names the nearest that are.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if model_type is None:
        named = _ENDING.sub("", classes[0]).lower() if classes else ""
        fault = f"{whose} names no architecture: its config.json has no model_type"
    else:
        named, fault = model_type, f"{whose} is of the architecture {model_type!r}, which is not supported"
    if model_type in _INSTEAD:
        raise ModelError(f"{fault}: {_INSTEAD[model_type]}.")
    near = get_close_matches(named, FAMILIES, n=3, cutoff=0.5)
    advice = f"The nearest supported ones are: {', '.join(near)}. " if near else ""
    raise ModelError(f"{fault}. {advice}Supported are: {', '.join(FAMILIES)}.")
