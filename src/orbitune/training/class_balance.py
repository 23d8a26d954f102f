"""Unequal classes: weights of the loss, and balanced sampling."""

from collections.abc import Mapping, Sequence

import numpy as np

from orbitune.class_weights import BALANCED
from orbitune.data.labels.membership import with_empty
from orbitune.errors import printable
from orbitune.evaluation.tasks.early_checks import check_classes
from orbitune.evaluation.tasks.task import Task


def loss_weights(
    class_weights: str | Mapping[str, float] | None,
    members: np.ndarray,
    *,
    classes: Sequence[str],
    task: Task,
) -> np.ndarray | None:
    """Return the weight of each class in the loss, see `Task.class_weights`.

    Args:
        class_weights: `balanced`, or a weight for every class by name; None for equal ones.
        members: bool (N, C), classes of the training tiles; every class has some.
        classes: class names, in the order of the logits.
        task: of the labels.

    Returns:
        float32 (classes,), above 0; None for equal ones.

    Raises:
        DataError: there is a weight for an unknown class, or none for a class.
    """
    if class_weights is None:
        return None
    if class_weights == BALANCED:
        return task.class_weights(None, members)
    assert isinstance(class_weights, Mapping)
    check_classes(class_weights, classes)
    return task.class_weights(np.array([class_weights[name] for name in classes]), members)


def describe_weights(weights: np.ndarray, classes: Sequence[str]) -> str:
    """Return the range of class weights as a note for the user."""
    low, high = int(weights.argmin()), int(weights.argmax())
    return (
        f"class weights of the loss: {weights[low]:.3g} ({printable(classes[low])}) to "
        f"{weights[high]:.3g} ({printable(classes[high])})"
    )


BALANCED_SAMPLING = (
    "balanced sampling: each pass draws as many tiles with replacement, from all classes alike"
)


def draw_balanced(train: np.ndarray, members: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Draw as many tiles as there are, with replacement, from all classes alike.

    Each draw is of a class, all with the same probability, and of a tile that has it; tiles without any label
    are one class more.

    Args:
        train: int64 (N,), training tiles.
        members: bool (N, C), their classes.
        generator: gives the random numbers.

    Returns:
        int64 (N,).
    """
    table = with_empty(members)
    counts = table.sum(0)
    weights = table @ (1 / np.maximum(counts, 1))
    return generator.choice(train, size=len(train), p=weights / weights.sum())
