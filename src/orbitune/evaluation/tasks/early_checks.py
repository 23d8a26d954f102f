"""Checks of a recipe's loss, criterion and class weights against the labels of its data."""

from collections.abc import Mapping, Sequence

from orbitune.errors import DataError, first_names
from orbitune.evaluation.tasks.known import TASKS
from orbitune.recipe import Recipe
from orbitune.recipe_settings import TaskName
from orbitune.sources.manifest import Manifest

_NAMED, _CLASSES = 5, 30  # names of faults, and of all classes, that a message lists


def check_settings(recipe: Recipe, manifest: Manifest) -> None:
    """Check the settings of a recipe that depend on the labels.

    Args:
        recipe: with open settings.
        manifest: of its data.

    Raises:
        OrbituneError: its loss, criterion or class weights do not suit the labels.
    """
    found: TaskName = "multi-label" if manifest.labels.ndim == 2 else "single-label"
    TASKS[recipe.task or found].resolve(recipe)
    if isinstance(recipe.class_weights, Mapping):
        check_classes(recipe.class_weights, manifest.classes)


def check_classes(weights: Mapping[str, float], classes: Sequence[str]) -> None:
    """Check that there is a weight for each class, and for no other.

    Args:
        weights: by the names of classes.
        classes: of the data.

    Raises:
        DataError: there is a weight for an unknown class, or none for a class.
    """
    unknown = [name for name in weights if name not in classes]
    missing = [name for name in classes if name not in weights]
    faults = []
    if unknown:
        are = "is no class" if len(unknown) == 1 else "are no classes"
        faults.append(f"{first_names(unknown, _NAMED)} {are} of the data")
    if missing:
        faults.append(f"there is no weight for {first_names(missing, _NAMED)}")
    if faults:
        raise DataError(
            f"The class weights do not fit: {'; '.join(faults)}. Classes: {first_names(classes, _CLASSES)}."
        )
