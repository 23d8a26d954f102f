"""Presets of recipes, by name."""

from typing import Any

from orbitune.errors import OrbituneError
from orbitune.sources.hub_ids import EUROSAT
from orbitune.suggestions import unknown

# The study that started Orbitune: ViT-Base on EuroSAT RGB, as published, with the head trained.
_ORIGINAL: dict[str, Any] = {
    "data": EUROSAT,
    "backbone": "google/vit-base-patch16-224",
    "image_size": 224,
    "epochs": 3,
    "batch_size": 64,
    "schedule": "constant",
    "warmup": 0.0,
    "augment": "none",
    "precision": "fp32",
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.1, "targets": ["q", "k", "v"], "bias": "none"},
}
_ORIGINAL_RATES = {"full": 5e-5, "lora": 5e-4}

# Tiles as the scene shows them, small images, and half as large ones for half of the steps.
_FAST: dict[str, Any] = {"sizes": "half:0.5,auto:0.5", "epochs": 4, "augment": "flips"}

PRESETS = ("original", "fast")


def preset(name: str, method: str) -> dict[str, Any]:
    """Return the values of a named preset for one method.

    Args:
        name: name of the preset.
        method: fine-tuning method.

    Returns:
        Values of recipe fields.

    Raises:
        OrbituneError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise OrbituneError(unknown("preset", name, known=PRESETS))
    if name == "fast":
        return dict(_FAST)
    return {**_ORIGINAL, "method": method, "learning_rate": _ORIGINAL_RATES.get(method)}
