"""Which tile has which class, for one label a tile and for several."""

from collections.abc import Sequence

import numpy as np

_LEAST = 10  # tiles of a kind, see `kinds`


def membership(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return whether each tile has each class, bool (N, classes).

    Args:
        labels: int64 (N,), or uint8 (N, classes) with several labels a tile.
        classes: number of classes.
    """
    if labels.ndim == 2:
        return labels.astype(bool)
    return labels[:, None] == np.arange(classes)


def with_empty(members: np.ndarray) -> np.ndarray:
    """Return a table of classes, bool (N, C), with a column for tiles of no class, if there are any."""
    empty = ~members.any(1, keepdims=True)
    return np.concatenate([members, empty], 1) if empty.any() else members


def kinds(labels: np.ndarray) -> np.ndarray:
    """Return the kind of each tile: its class, or with several labels a tile its combination of classes.

    Combinations of few tiles are one kind together.

    Args:
        labels: int64 (N,), or uint8 (N, classes).

    Returns:
        int64 (N,).
    """
    if labels.ndim == 1:
        return labels
    _, combination, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    combination = combination.ravel()
    return np.where(counts[combination] < _LEAST, -1, combination)


def absent_classes(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Return the names of the classes that no tile has.

    Args:
        labels: as for `membership`.
        classes: class names.
    """
    absent = np.flatnonzero(~membership(labels, len(classes)).any(0))
    return [classes[label] for label in absent.tolist()]


def count_tiles(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Return the number of tiles of each class by its name.

    Args:
        labels: as for `membership`.
        classes: class names.
    """
    return dict(zip(classes, membership(labels, len(classes)).sum(0).tolist(), strict=True))
