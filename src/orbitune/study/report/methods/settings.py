"""Settings of the runs that differ from the recipe's defaults, in words."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from orbitune.models.methods import METHODS
from orbitune.recipe import Recipe
from orbitune.records import flatten
from orbitune.reporting import formatting as fmt
from orbitune.study.report.view_model import ReportView

_GROUPS = ("Model", "Method", "Optimisation")
_MORE = ("bands", "shots", "cache_bits")  # of the other groups, what determines training or scores
# Stated elsewhere, see `orbitune.study.report.methods.prose`.
_STATED = {"backbone", "image_size", "method", "epochs", "batch_size", "learning_rate", "schedule", "warmup"}
_STATED |= {"weight_decay", "augment", "seed"}
_RESOLVED = {"loss": "cross-entropy", "best_by": "accuracy"}  # what open settings become for one label a tile
_PHRASES = {
    "keep_head": "the backbone's own head kept",
    "tta": "predictions averaged over {} and quarter turns of a tile",
    "passes": "{} passes over the training tiles per epoch",
    "patience": "stopped after {} epochs without a better validation score",
    "restarts": "schedule started anew after epoch {}",
    "best_by": "epoch chosen by validation {}",
    "sampling": "{} sampling",
    "sizes": "progressive resizing: {} of the steps",
    "freeze_layers": "layers frozen: {} of the steps",
    "merge_tokens": "half of the patches merged after block {}",
    "mixup": "mixup with weights from Beta({0}, {0})",
    "cache_bits": "activation cache of {} bits",
    "shots": "{} training tiles per class",
}
_PAIRS = {"sizes": "{} pixels for {:g} %", "freeze_layers": "the first {} after {:g} %"}  # with a fraction


def settings_beyond_defaults(view: ReportView) -> list[str]:
    """Return a phrase for each setting that differs from its default and determines training or scores.

    A phrase that does not hold for every method names those that it holds for.
    """
    titles: dict[str, list[str]] = {}
    for row in view.rows:
        for phrase in dict.fromkeys(_phrases(run.finished.recipe for run in row.runs)):
            titles.setdefault(phrase, []).append(row.title)
    return [
        phrase if len(methods) == len(view.rows) else f"{phrase} ({fmt.listed(methods)})"
        for phrase, methods in titles.items()
    ]


def _phrases(recipes: Iterable[Recipe]) -> Iterator[str]:
    """Yield the phrases of all settings of some recipes that differ from the defaults."""
    for recipe in recipes:
        method = METHODS.get(recipe.method)
        reads_lora = method is not None and method.peft_type is not None
        for name, value in _determining(recipe).items():
            if value != _defaults()[name] and (reads_lora or not name.startswith("lora.")):
                plain = name.replace("lora.", "LoRA ").replace("_", " ")
                yield _PHRASES.get(name, f"{plain} {{}}").format(_shown(name, value))


@cache
def _defaults() -> dict[str, Any]:
    return _determining(Recipe())


def _determining(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that determine training or scores and that the text does not state elsewhere."""
    groups = Recipe.groups()
    names = [name for group in _GROUPS for name in groups[group] if name not in _STATED]
    values = recipe.model_dump(mode="json")
    values = {name: values[name] if values[name] is not None else _RESOLVED.get(name) for name in values}
    lora = flatten({"lora": values["lora"]})
    return {name: values[name] for name in [*names, *_MORE] if name != "lora"} | lora


def _shown(name: str, value: Any) -> str:
    """Return the value of a setting in words."""
    if name in _PAIRS:
        return fmt.listed([_PAIRS[name].format(first, 100 * fraction) for first, fraction in value])
    if isinstance(value, dict):
        value = [f"{each} {weight:g}" for each, weight in value.items()]
    return fmt.listed([*map(str, value)]) if isinstance(value, list) else str(value)
