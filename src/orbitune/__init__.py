"""Orbitune: fine-tune vision transformers on satellite tiles, and prove what the cheap way loses.

    from orbitune import Recipe, train, evaluate, Study, Classifier

The names are imported when they are first used, so that `import orbitune` stays fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbitune.errors import OrbituneError
    from orbitune.exporting.exporter import export
    from orbitune.inference.bundle import Bundle
    from orbitune.inference.bundle_builder import build_bundle
    from orbitune.inference.classifier import Classifier
    from orbitune.mapping.pipeline import map_scene
    from orbitune.recipe import Recipe
    from orbitune.study.plan import plan_run
    from orbitune.study.runner import Study
    from orbitune.training.evaluate import evaluate
    from orbitune.training.run import train

_HOMES = {
    "Bundle": "orbitune.inference.bundle",
    "Classifier": "orbitune.inference.classifier",
    "OrbituneError": "orbitune.errors",
    "Recipe": "orbitune.recipe",
    "Study": "orbitune.study.runner",
    "evaluate": "orbitune.training.evaluate",
    "export": "orbitune.exporting.exporter",
    "build_bundle": "orbitune.inference.bundle_builder",
    "map_scene": "orbitune.mapping.pipeline",
    "plan_run": "orbitune.study.plan",
    "train": "orbitune.training.run",
}

__all__ = [
    "Bundle",
    "Classifier",
    "OrbituneError",
    "Recipe",
    "Study",
    "build_bundle",
    "evaluate",
    "export",
    "map_scene",
    "plan_run",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'orbitune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
