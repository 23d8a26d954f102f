"""Parts of tiles for cross-validation, stratified, by groups or at random.

Of the parts of a fold, one is the test split, the next is the validation split, and the others are for
training; so over all folds each tile is tested exactly once. The ordinary split by groups or blocks is the
first of five folds.
"""

import warnings
from collections.abc import Sequence

import numpy as np

from orbitune.data.labels.membership import with_empty
from orbitune.data.labels.stratification import stratified_parts
from orbitune.errors import DataError, first_names
from orbitune.fold import Fold

TOLERANCE = 0.25  # of the size of a part: 5 points of 60/20/20, which is made of five parts


def too_few(members: np.ndarray, classes: Sequence[str], *, least: int) -> str:
    """Return the first classes that have fewer tiles than `least`, with their numbers; empty without any.

    Args:
        members: bool (N, C), classes of each tile.
        classes: their names.
        least: number of tiles that are enough.
    """
    counts = zip(classes, members.sum(0).tolist(), strict=True)
    return first_names(f"{name} ({count})" for name, count in counts if count < least)


def check_counts(members: np.ndarray, classes: Sequence[str], *, count: int) -> None:
    """Check that each class has a tile for each of the folds.

    Args:
        members: bool (N, C), classes of each tile.
        classes: their names.
        count: number of folds.

    Raises:
        DataError: a class has fewer.
    """
    if few := too_few(members, classes, least=count):
        raise DataError(f"Too few tiles for {count} folds: {few}. Ask for fewer, or drop the class.")


def random_parts(labels: np.ndarray, count: int, *, seed: int) -> list[np.ndarray]:
    """Return stratified random parts of nearly equal size.

    With one label a tile they are those of scikit-learn's StratifiedKFold, with several those of iterative
    stratification (see `orbitune.data.labels.stratification`), as a combination of labels may be of one tile.

    Args:
        labels: int64 (N,), class of each tile; or uint8 (N, C) with several labels a tile. Each class has
            `count` tiles or more.
        count: number of parts.
        seed: of the draw.

    Returns:
        Indices of the tiles of each part.
    """
    from sklearn.model_selection import StratifiedKFold

    if labels.ndim == 2:
        part = stratified_parts(labels.astype(bool), count, seed=seed)
        return [np.flatnonzero(part == own) for own in range(count)]
    folds = StratifiedKFold(count, shuffle=True, random_state=seed)
    return [part for _, part in folds.split(labels, labels)]


def grouped_parts(members: np.ndarray, groups: np.ndarray, *, count: int, seed: int) -> list[np.ndarray]:
    """Return parts of whole groups, stratified as they allow (scikit-learn's StratifiedGroupKFold).

    A tile with several labels counts for each of its classes.

    Args:
        members: bool (N, C), classes of each tile.
        groups: int64 (N,), group of each tile; `count` different ones or more.
        count: number of parts.
        seed: of the assignment.

    Returns:
        Indices of the tiles of each part; one may be empty if groups are of unequal size.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rows, labels = np.nonzero(with_empty(members))
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes of fewer tiles than parts
        return [np.unique(rows[part]) for _, part in folds.split(labels, labels, groups[rows])]


def fold_splits(parts: list[np.ndarray], fold: Fold) -> dict[str, np.ndarray]:
    """Return the splits of one fold: its part is tested, the next one validates.

    Args:
        parts: indices of the tiles of each part.
        fold: which one; it has as many as there are parts.
    """
    test, validation = fold.number - 1, fold.number % fold.count
    rest = [part for place, part in enumerate(parts) if place not in (test, validation)]
    return {
        "train": np.sort(np.concatenate(rest)),
        "validation": parts[validation],
        "test": parts[test],
    }


def has_right_sizes(splits: dict[str, np.ndarray], count: int) -> bool:
    """Return whether each split has its fraction of the tiles, to `TOLERANCE` of a part.

    Args:
        splits: indices by split.
        count: number of parts that they were made of.
    """
    total = sum(map(len, splits.values()))
    wanted = {"train": (count - 2) / count, "validation": 1 / count, "test": 1 / count}
    return all(abs(len(rows) / total - wanted[name]) <= TOLERANCE / count for name, rows in splits.items())


def describe_sizes(splits: dict[str, np.ndarray], total: int) -> str:
    """Return the fractions of train, validation and test, such as 60.0%/20.0%/20.0%."""
    return "/".join(f"{len(splits[name]) / total:.1%}" for name in ("train", "validation", "test"))


def describe_fold(fold: Fold | None) -> str:
    """Return the beginning of a note on a fold; empty for an ordinary split."""
    return f"fold {fold.number} of {fold.count}, " if fold else ""
