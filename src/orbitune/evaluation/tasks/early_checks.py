"""Checks of a recipe's loss, criterion and class weights against the labels of its data."""

from collections.abc import Mapping, Sequence

from orbitune.errors import DataError, printable
from orbitune.evaluation.tasks.known import TASKS
from orbitune.recipe import Recipe
from orbitune.sources.manifest import Manifest


def reads_labels(recipe: Recipe) -> bool:
    """Return whether a recipe has settings that depend on the labels."""
    return bool(recipe.loss or recipe.best_by or isinstance(recipe.class_weights, Mapping))


def check_settings(recipe: Recipe, manifest: Manifest) -> None:
    """Check the settings of a recipe that depend on the labels.

    Args:
        recipe: with open settings.
        manifest: of its data.

    Raises:
        OrbituneError: its loss, criterion or class weights do not suit the labels.
    """
    several = recipe.task == "multi-label" or (recipe.task is None and manifest.labels.ndim == 2)
    TASKS["multi-label" if several else "single-label"].resolve(recipe)
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
        faults.append(
            f"{_names(unknown)} {'is no class' if len(unknown) == 1 else 'are no classes'} of the data"
        )
    if missing:
        faults.append(f"there is no weight for {_names(missing)}")
    if faults:
        raise DataError(f"The class weights do not fit: {'; '.join(faults)}. Classes: {_names(classes, 30)}.")


def _names(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, so that a message stays readable."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more
