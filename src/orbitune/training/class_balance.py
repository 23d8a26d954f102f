"""Unequal classes: weights of the loss, and balanced sampling."""

from collections.abc import Mapping, Sequence

import numpy as np

from orbitune.class_weights import BALANCED
from orbitune.errors import DataError, printable


def loss_weights(
    class_weights: str | Mapping[str, float], labels: np.ndarray, *, classes: Sequence[str]
) -> np.ndarray:
    """Return the weight of each class in the loss.

    Weights are scaled to a mean of 1 over the training tiles, so that a learning rate means the same with
    and without them. Balanced weights are then those of scikit-learn, tiles / (classes x tiles of the class).

    Args:
        class_weights: `balanced`, or a weight for every class by name.
        labels: int64 (N,), of the training tiles; every class has some.
        classes: class names, in the order of the logits.

    Returns:
        float32 (classes,), above 0.

    Raises:
        DataError: there is a weight for an unknown class, or none for a class.
    """
    counts = np.bincount(labels, minlength=len(classes))
    if class_weights == BALANCED:
        weights = 1 / counts
    else:
        assert isinstance(class_weights, Mapping)
        _check_classes(class_weights, classes)
        weights = np.array([class_weights[name] for name in classes])
    return (weights * len(labels) / (weights @ counts)).astype(np.float32)


def _check_classes(weights: Mapping[str, float], classes: Sequence[str]) -> None:
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


def describe_weights(weights: np.ndarray, classes: Sequence[str]) -> str:
    """Return the range of class weights as a note for the user."""
    low, high = int(weights.argmin()), int(weights.argmax())
    return (
        f"class weights of the loss: {weights[low]:.3g} ({printable(classes[low])}) to "
        f"{weights[high]:.3g} ({printable(classes[high])})"
    )


def draw_balanced(train: np.ndarray, labels: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Draw as many tiles as there are, with replacement, from all classes alike.

    Args:
        train: int64 (N,), training tiles.
        labels: int64 (N,), their classes.
        generator: gives the random numbers.

    Returns:
        int64 (N,); each class has the same expected number of tiles.
    """
    weights = 1 / np.bincount(labels)[labels]
    return generator.choice(train, size=len(train), p=weights / weights.sum())
