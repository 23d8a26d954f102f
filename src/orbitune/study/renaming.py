"""Runs of earlier sessions under the names that another grid gives them.

A study of one backbone names its run `lora`, one of two `lora@small`; more seeds or splits add to the names
too. Runs with the same recipe are the same runs, so they are renamed, not trained again.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from orbitune.errors import OrbituneError
from orbitune.fold import Fold
from orbitune.recipe import Recipe
from orbitune.study.grid import FOLD, SEED, RunSpec
from orbitune.yaml_files import read_yaml


def rename_runs(specs: Sequence[RunSpec], folder: Path) -> None:
    """Rename the runs, trials and plans of a study's folder whose names have changed.

    Args:
        specs: all runs of the study.
        folder: the study's folder.
    """
    recipes = folder / "recipes"
    names = {spec.name for spec in specs}
    old = {file.stem: file for file in sorted(recipes.glob("*.yaml")) if file.stem not in names}
    stored = {name: recipe for name, file in old.items() if (recipe := _read(file))}
    for spec in specs:
        if (recipes / f"{spec.name}.yaml").exists():
            continue
        found = next((name for name, recipe in stored.items() if _is_same(spec.recipe, recipe)), None)
        if found is None:
            continue
        del stored[found]
        group = _without_label(found, SEED.name(spec.recipe.seed))
        search = group
        if spec.fold:
            label = FOLD.name(Fold.parse(spec.fold).number)
            group = _without_label(group, label)
            search = f"{group}-{label}"
        _move(folder / found, folder / spec.name)
        _move(folder / "trials" / search, folder / "trials" / spec.search)
        if spec.sweep is None:
            arm = _without_label(group, spec.split)
            _move(folder / "plans" / f"{arm}.json", folder / "plans" / f"{spec.arm}.json")
        _move(old[found], recipes / f"{spec.name}.yaml")  # last: by it the run is known


def _read(file: Path) -> Recipe | None:
    """Return a stored recipe; None if it cannot be read."""
    try:
        return Recipe.make(read_yaml(file))
    except OrbituneError:
        return None


def _is_same(recipe: Recipe, stored: Recipe) -> bool:
    return recipe.path_fields == stored.path_fields and not recipe.differences(stored)


def _without_label(name: str, label: str) -> str:
    """Return the name of a run without one of its parts, the last one of this text."""
    head, _, tail = name.rpartition(f"-{label}")
    return head + tail if head and re.match(r"-|$", tail) else name


def _move(source: Path, target: Path) -> None:
    """Rename a file or folder that is there, unless the target is there already."""
    if source.exists() and not target.exists():
        source.rename(target)
