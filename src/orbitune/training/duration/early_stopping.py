"""Early stopping on validation, and the cool-down of `--epochs auto`.

Both follow from the recipe and the validation scores so far, so that a resumed run decides as one that was
never interrupted.
"""

from collections.abc import Sequence

from orbitune.errors import counted
from orbitune.evaluation.run_result import EpochMetrics, best_epoch
from orbitune.recipe import Recipe
from orbitune.training.schedule import settled_epoch


def last_epoch(recipe: Recipe, history: Sequence[EpochMetrics], *, steps: int) -> int:
    """Return the last epoch of a run, from 1, as far as its history determines it.

    Args:
        recipe: resolved.
        history: metrics of the epochs so far.
        steps: number of steps of the run, the largest one if it may stop early.
    """
    if recipe.epochs == "auto":
        cooling = cool_down(recipe, history, steps=steps)
        return cooling.stop if cooling else recipe.max_epochs
    return _plateau(recipe, history, steps=steps) or recipe.max_epochs


def cool_down(recipe: Recipe, history: Sequence[EpochMetrics], *, steps: int) -> range | None:
    """Return the epochs, from 0, in which the learning rate of `auto` falls to zero.

    It falls for a quarter as long as it was constant. Such a schedule reaches the accuracy of a cosine whose
    length is known beforehand (Hagele et al. 2024, arXiv:2405.18392).

    Returns:
        None before the validation score has stopped improving, and for a fixed number of epochs.
    """
    if recipe.epochs != "auto":
        return None
    longest = recipe.max_epochs * 4 // 5
    plateau = _plateau(recipe, history[:longest], steps=steps)
    constant = plateau or (longest if len(history) >= longest else None)
    return range(constant, constant - (-constant // 4)) if constant else None


def describe_stop(recipe: Recipe, history: Sequence[EpochMetrics]) -> str | None:
    """Return why a run ended before its largest number of epochs; None if it did not."""
    if len(history) >= recipe.max_epochs:
        return None
    return (
        f"ended after {len(history)} of at most {recipe.max_epochs} epochs: no better validation "
        f"{recipe.criterion} in {counted(recipe.patience or 0, 'epoch')}"
    )


def _plateau(recipe: Recipe, history: Sequence[EpochMetrics], *, steps: int) -> int | None:
    """Return the first epoch, from 1, after `patience` epochs without a better score.

    Epochs before a restart are not counted: the learning rate rises anew there. Nor are those whose steps
    merge patches or have smaller inputs: a run that ended there would skip the steps that end it well.
    """
    if recipe.patience is None:
        return None
    settled = settled_epoch(recipe, steps)
    for count in range(settled + 1, len(history) + 1):
        reached = [settled, *(epoch for epoch in recipe.restarts or () if epoch <= count)]
        if count - max([best_epoch(history[:count], recipe.criterion).epoch, *reached]) >= recipe.patience:
            return count
    return None
