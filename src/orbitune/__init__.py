"""Orbitune: fine-tune vision transformers on satellite tiles, and prove what the cheap way loses.

    from orbitune import Recipe, train, evaluate, Study, Classifier

The names are imported when they are first used, so that `import orbitune` stays fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbitune.deploy.bundle import Bundle
    from orbitune.deploy.classifier import Classifier
    from orbitune.deploy.export import export
    from orbitune.deploy.make import make_bundle
    from orbitune.deploy.scene.mapper import make_map
    from orbitune.errors import OrbituneError
    from orbitune.recipe import Recipe
    from orbitune.study.plan import make_plan
    from orbitune.study.runner import Study
    from orbitune.training.evaluate import evaluate
    from orbitune.training.loop import train

_HOMES = {
    "Bundle": "orbitune.deploy.bundle",
    "Classifier": "orbitune.deploy.classifier",
    "OrbituneError": "orbitune.errors",
    "Recipe": "orbitune.recipe",
    "Study": "orbitune.study.runner",
    "evaluate": "orbitune.training.evaluate",
    "export": "orbitune.deploy.export",
    "make_bundle": "orbitune.deploy.make",
    "make_map": "orbitune.deploy.scene.mapper",
    "make_plan": "orbitune.study.plan",
    "train": "orbitune.training.loop",
}

__all__ = [
    "Bundle",
    "Classifier",
    "OrbituneError",
    "Recipe",
    "Study",
    "evaluate",
    "export",
    "make_bundle",
    "make_map",
    "make_plan",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'orbitune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
