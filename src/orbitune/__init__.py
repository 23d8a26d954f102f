"""Fine-tune vision transformers on satellite tiles with LoRA and related methods.

    >>> from orbitune import Classifier, Recipe, build_bundle, evaluate, train
    >>> result = train(Recipe(data="tiles/", backbone="demo"), "runs/lora")
    >>> evaluate("runs/lora").accuracy
    >>> bundle = build_bundle("runs/lora", "bundle")
    >>> probabilities = Classifier.from_pretrained("bundle").predict_proba(tiles)

The names below are the public API; every other module is private. They are imported when they are first used,
so that `import orbitune` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbitune.adapters.adapter_bank import AdapterBank
    from orbitune.assessment.evaluate import evaluate
    from orbitune.errors import OrbituneError
    from orbitune.exporting.exporter import export
    from orbitune.inference.bundle import Bundle
    from orbitune.inference.bundle_builder import build_bundle
    from orbitune.inference.classifier import Classifier
    from orbitune.inference.hub_transfer import push_to_hub
    from orbitune.mapping.adaptation.adapt import adapt
    from orbitune.mapping.areas.change import compare_maps
    from orbitune.mapping.areas.estimation import map_areas
    from orbitune.mapping.areas.sampling import draw_sample
    from orbitune.mapping.areas.zones import measure_zones
    from orbitune.mapping.pipeline import map_scene
    from orbitune.recipe import Recipe
    from orbitune.study.plan import plan_run
    from orbitune.study.report_files import report
    from orbitune.study.runner import Study
    from orbitune.training.run import train

    __version__: str

__all__ = [
    "AdapterBank",
    "Bundle",
    "Classifier",
    "OrbituneError",
    "Recipe",
    "Study",
    "__version__",
    "adapt",
    "build_bundle",
    "compare_maps",
    "draw_sample",
    "evaluate",
    "export",
    "map_areas",
    "map_scene",
    "measure_zones",
    "plan_run",
    "push_to_hub",
    "report",
    "train",
]

_MODULES = {
    "AdapterBank": "orbitune.adapters.adapter_bank",
    "Bundle": "orbitune.inference.bundle",
    "Classifier": "orbitune.inference.classifier",
    "OrbituneError": "orbitune.errors",
    "Recipe": "orbitune.recipe",
    "Study": "orbitune.study.runner",
    "adapt": "orbitune.mapping.adaptation.adapt",
    "build_bundle": "orbitune.inference.bundle_builder",
    "evaluate": "orbitune.assessment.evaluate",
    "export": "orbitune.exporting.exporter",
    "compare_maps": "orbitune.mapping.areas.change",
    "draw_sample": "orbitune.mapping.areas.sampling",
    "map_areas": "orbitune.mapping.areas.estimation",
    "map_scene": "orbitune.mapping.pipeline",
    "measure_zones": "orbitune.mapping.areas.zones",
    "plan_run": "orbitune.study.plan",
    "push_to_hub": "orbitune.inference.hub_transfer",
    "report": "orbitune.study.report_files",
    "train": "orbitune.training.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("orbitune")
    if name not in _MODULES:
        raise AttributeError(f"module 'orbitune' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
