"""Cross-validation of an adapted head, by point."""

import warnings
from collections.abc import Sequence

import numpy as np

from orbitune.errors import DataError
from orbitune.evaluation.metrics import score
from orbitune.evaluation.statistics.paired import PairedTest
from orbitune.mapping.adaptation.labelled_windows import LabelledWindows
from orbitune.models.lineage.adaptation import AdaptationScores
from orbitune.models.lineage.overlap import ENOUGH, Overlap, SeenCounts

MIN_POINTS = 10
_FOLDS = 5


def split_folds(windows: LabelledWindows, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split points into folds, stratified by class, with each cell in one fold.

    Args:
        windows: the points.
        seed: of the random order.

    Returns:
        Indices of the points to fit to, and of those held out, for each fold.

    Raises:
        DataError: there are too few points, classes or cells.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    cells, groups = np.unique(windows.cells, axis=0, return_inverse=True)
    folds = min(_FOLDS, len(cells), int(np.bincount(windows.labels).max()))
    _check(windows, folds)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class may have fewer points than there are folds
        return list(splitter.split(windows.labels, windows.labels, groups))


def _check(windows: LabelledWindows, folds: int) -> None:
    """Raise a DataError if points are too few for an adaptation and its validation."""
    count, classes = len(windows.labels), len(np.unique(windows.labels))
    left_out = f" ({windows.left_out:,} others lie outside or where it has no data)" * bool(windows.left_out)
    if count < MIN_POINTS or folds < 2:
        raise DataError(
            f"Too few labelled points in the scene: {count:,}{left_out}. Label {MIN_POINTS} or more, in "
            "different places, with several of a class."
        )
    if classes < 2:
        raise DataError(f"All {count:,} labelled points in the scene{left_out} are of one class: label two.")


def compare_logits(
    before: np.ndarray, after: np.ndarray, *, labels: np.ndarray, classes: Sequence[str], folds: int
) -> AdaptationScores:
    """Score two sets of logits of the same points.

    Args:
        before: logits of the parent, float (N, C).
        after: logits from heads that were fitted to other points.
        labels: the true classes, int64 (N,).
        classes: C names.
        folds: number of folds.

    Returns:
        Both scores, and the difference with the score interval of Tango (1998).
    """
    scores = [score(logits, labels, classes=classes).summary() for logits in (before, after)]
    correct = [(logits.argmax(1) == labels)[None] for logits in (after, before)]
    test = PairedTest.from_correct(*correct)
    return AdaptationScores(
        folds=folds, before=scores[0], after=scores[1], gain=test.difference, gain_interval=test.interval()
    )


def score_points(
    before: np.ndarray,
    after: np.ndarray,
    *,
    labels: np.ndarray,
    classes: Sequence[str],
    folds: int,
    seen: Overlap,
    refitted: np.ndarray,
) -> AdaptationScores:
    """Score all points, and beside them those that the model has not seen.

    Args:
        before, after, labels, classes, folds: as for `compare_logits`.
        seen: points whose windows are tiles that the model has seen.
        refitted: points near those of an earlier adaptation, bool (N,).
    """
    scores = compare_logits(before, after, labels=labels, classes=classes, folds=folds)
    known = seen.any | refitted
    if not known.any():
        return scores
    rest, unseen = ~known, None
    if rest.sum() >= ENOUGH:
        unseen = compare_logits(before[rest], after[rest], labels=labels[rest], classes=classes, folds=folds)
    counts = SeenCounts.of(seen) if seen.any.any() else None
    return scores.model_copy(update={"seen": counts, "refitted": int(refitted.sum()), "unseen": unseen})
