"""Runs of earlier sessions under the names that another grid gives them.

A study of one backbone names its run `lora`, one of two `lora@small`; more seeds or splits add to the names
too. Runs with the same recipe are the same runs, so they are renamed, not trained again.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orbitune.errors import OrbituneError, RunError
from orbitune.fold import Fold
from orbitune.recipe import Recipe
from orbitune.study.grid import FOLD, SEED, SWEEPS, RunSpec
from orbitune.study.layout import RECIPES, plan_file, recipe_file, trials_folder
from orbitune.training.stored.recipe import FILE as RECIPE
from orbitune.training.stored.recipe import has_trained
from orbitune.yaml_files import read_yaml

_PLACE = ("method", "split", "fold", "seed")  # of a run in a study, beside its files


@dataclass(frozen=True)
class Renaming:
    """A run of an earlier session that gets another name.

    Attributes:
        run, trials, plan, recipe: old and new path of each; the plan of a point of a sweep is None.
    """

    run: tuple[Path, Path]
    trials: tuple[Path, Path]
    plan: tuple[Path, Path] | None
    recipe: tuple[Path, Path]

    @property
    def begun(self) -> bool:
        """Return whether the run or its trials have begun, under either name."""
        return any(path.exists() for path in (*self.run, *self.trials))

    @property
    def moves(self) -> list[tuple[Path, Path]]:
        """Return the old and new paths in their order: by the recipe, which is last, a run is known."""
        return [move for move in (self.run, self.trials, self.plan, self.recipe) if move]

    def apply(self) -> None:
        """Rename what is there under an old name; an interrupted renaming goes on."""
        for source, target in self.moves:
            if source != target and source.exists():
                source.rename(target)


def find_renamings(specs: Sequence[RunSpec], folder: Path) -> dict[str, Renaming]:
    """Return the runs of a study's folder whose names have changed, by their new names.

    Args:
        specs: all runs of the study.
        folder: the study's folder.

    Raises:
        RunError: the place of a new name is taken, or the folder holds runs of another recipe, which may have
            read the test tiles.
    """
    names = {spec.name for spec in specs}
    old = {file.stem: file for file in sorted((folder / RECIPES).glob("*.yaml")) if file.stem not in names}
    stored = {name: recipe for name, file in old.items() if (recipe := _read(file))}
    for name in old.keys() - stored.keys():
        if has_trained(folder / name):  # its test tiles may have been read by another recipe
            raise RunError(f"{old[name]} is damaged. Restore it, or choose another --out.")
    renamings: dict[str, Renaming] = {}
    sources: dict[Path, Path] = {}
    for spec in specs:
        if recipe_file(folder, spec.name).exists():
            continue
        found = next((name for name, recipe in stored.items() if _is_same(spec.recipe, recipe)), None)
        if found is None:
            continue
        del stored[found]
        renaming = _renaming(found, spec, folder)
        if not renaming.run[0].exists() and not _may_hold(renaming.run[1], spec):
            raise _taken(*renaming.run)
        for source, target in renaming.moves:
            if source.exists() and source != sources.setdefault(
                target, target if target.exists() else source
            ):
                raise _taken(source, target)
        renamings[spec.name] = renaming
    for name, recipe in stored.items():
        if has_trained(folder / name):
            _expect_other_place(name, recipe, specs=specs, folder=folder)
    return renamings


def _expect_other_place(name: str, recipe: Recipe, *, specs: Sequence[RunSpec], folder: Path) -> None:
    """Raise a RunError if a run under an old name is one of these runs by another recipe."""
    for spec in specs:
        alike = all(getattr(recipe, each) == getattr(spec.recipe, each) for each in _PLACE)
        if spec.sweep or not alike or not _has_same_files(spec.recipe, recipe):
            continue
        arm = _Parts.of(name, spec).arm
        if any(arm.endswith(f"-{axis.name(axis.value(recipe))}") for axis in SWEEPS.values()):
            continue
        if differences := spec.recipe.differences(recipe):
            raise other_study(folder, "of another recipe", differences=differences)


def _renaming(found: str, spec: RunSpec, folder: Path) -> Renaming:
    """Return the renaming of the run `found`."""
    parts = _Parts.of(found, spec)
    return Renaming(
        run=(folder / found, folder / spec.name),
        trials=(trials_folder(folder, parts.search), trials_folder(folder, spec.search)),
        plan=None if spec.sweep else (plan_file(folder, parts.arm), plan_file(folder, spec.arm)),
        recipe=(recipe_file(folder, found), recipe_file(folder, spec.name)),
    )


class _Parts(NamedTuple):
    """What the name of a run is made of.

    Attributes:
        search: name of its learning-rate search.
        arm: name of its arm, with that of a sweep's point.
    """

    search: str
    arm: str

    @classmethod
    def of(cls, name: str, spec: RunSpec) -> "_Parts":
        """Take a name apart, of a run with seed, split and fold of `spec`."""
        group = search = _without_label(name, SEED.name(spec.recipe.seed))
        if spec.fold:
            label = FOLD.name(Fold.parse(spec.fold).number)
            group = _without_label(group, label)
            search = f"{group}-{label}"
        return cls(search, _without_label(group, spec.split))


def _may_hold(place: Path, spec: RunSpec) -> bool:
    """Return whether a place is free, or an interrupted renaming has moved this run there."""
    if not place.exists():
        return True
    stored = _read(place / RECIPE)
    return stored is not None and not spec.recipe.replace(learning_rate=stored.learning_rate).differences(
        stored
    )


def other_study(folder: Path, kind: str, *, differences: Sequence[object]) -> RunError:
    """Return the error of a folder whose study differs."""
    differ = "; ".join(map(str, differences))
    return RunError(f"{folder} holds a study {kind} ({differ}). Choose another --out.")


def _taken(source: Path, target: Path) -> RunError:
    return RunError(f"{target} is in the way: this study names {source.name} so. Choose another --out.")


def _read(file: Path) -> Recipe | None:
    """Return a stored recipe; None if it cannot be read."""
    try:
        return Recipe.make(read_yaml(file))
    except OrbituneError:
        return None


def _is_same(recipe: Recipe, stored: Recipe) -> bool:
    return _has_same_files(recipe, stored) and not recipe.differences(stored)


def _has_same_files(recipe: Recipe, stored: Recipe) -> bool:
    """Return whether data and backbone are the same places, whatever paths lead there."""
    paths = [
        {name: path and os.path.realpath(path) for name, path in each.path_fields.items()}
        for each in (recipe, stored)
    ]
    return paths[0] == paths[1]


def _without_label(name: str, label: str) -> str:
    """Return the name of a run without one of its parts, the last one of this text."""
    head, _, tail = name.rpartition(f"-{label}")
    return head + tail if head and re.match(r"-|$", tail) else name
