"""Differences between two sets of tiles at one mix of classes.

The accuracy on a set depends on how many tiles each class has there. Direct standardisation (Rothman,
Greenland and Lash 2008, Modern Epidemiology, chapter 4) weights the recalls of the classes by one mix, so
that two sets of other mixes can be compared: what remains is not the mix.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orbitune.evaluation.statistics import intervals
from orbitune.evaluation.statistics.intervals import percentile_interval

_SEED = 0


class ClassCorrect(NamedTuple):
    """Predictions of the seeds of a method on one set of tiles.

    Attributes:
        correct: whether each seed is correct on each tile, bool (S, N).
        labels: true class of each tile, int (N,).
    """

    correct: np.ndarray
    labels: np.ndarray


def standardised_gaps(
    first: ClassCorrect, second: ClassCorrect, *, mixes: Sequence[np.ndarray]
) -> list[tuple[float, tuple[float, float]]]:
    """Return the difference in accuracy, first minus second, at each mix of classes, with 95 % intervals.

    The bootstrap resamples seeds and, within each class, tiles; of S seeds S - 1 are drawn, and of n tiles of
    a class n - 1, as n draws would underestimate the variance (Rao and Wu 1988,
    doi:10.1080/01621459.1988.10478591). As no tile of a small class may be wrong, each class has, in the
    intervals alone, one more tile that all seeds get right and one that none does (Agresti and Caffo 2000,
    doi:10.1080/00031305.2000.10474560). The ends are percentiles, with a fixed random seed. The tiles of the
    two sets are taken as independent.

    Args:
        first, second: predictions on the two sets.
        mixes: weights of the classes, float (C,) each; a class without weight needs no tiles.

    Returns:
        For each mix the difference, -1..1, and the ends of its interval.
    """
    random = np.random.default_rng(_SEED)
    classes = np.flatnonzero(np.max(mixes, axis=0))
    weights = np.array(mixes)[:, classes]
    weights = weights / weights.sum(axis=1, keepdims=True)
    observed, drawn = (
        [function(each, classes) for each in (first, second)]
        for function in (_recalls, lambda each, chosen: _resampled_recalls(each, chosen, random=random))
    )
    differences = weights @ (observed[0] - observed[1])
    resampled = np.clip(weights @ (drawn[0] - drawn[1]), -1, 1)
    return [
        (float(difference), percentile_interval(values))
        for difference, values in zip(differences, resampled, strict=True)
    ]


def mix_split(splits: Sequence[str]) -> str:
    """Return the split whose mix of classes two splits are compared at: the random one, else the first."""
    return "random" if "random" in splits else splits[0]


def class_mixes(first: np.ndarray, second: np.ndarray, *, mix_of_second: bool) -> list[np.ndarray]:
    """Return the mix of one of two sets and equal weights, without classes that one of the sets lacks.

    Args:
        first, second: number of tiles of each class, int (C,).
        mix_of_second: whether the first mix is that of the second set.
    """
    shared = (first > 0) & (second > 0)
    return [np.where(shared, second if mix_of_second else first, 0).astype(float), shared.astype(float)]


def confusion_gaps(first: np.ndarray, second: np.ndarray, *, mixes: Sequence[np.ndarray]) -> list[float]:
    """Return the difference in accuracy of `standardised_gaps` from confusions alone.

    Args:
        first, second: of each seed on the two sets, tiles by true and predicted class, int (S, C, C).
        mixes: weights of the classes, float (C,) each.
    """
    recalls = (
        (each.diagonal(axis1=1, axis2=2) / np.maximum(1, each.sum(axis=2))).mean(axis=0)
        for each in (first, second)
    )
    ours, theirs = recalls
    return [float(mix @ (ours - theirs) / mix.sum()) for mix in mixes]


def _recalls(found: ClassCorrect, classes: np.ndarray) -> np.ndarray:
    """Return the recall of each class, the mean over the seeds, float (classes,)."""
    return np.array([found.correct[:, found.labels == each].mean() for each in classes])


def _resampled_recalls(
    found: ClassCorrect, classes: np.ndarray, *, random: np.random.Generator
) -> np.ndarray:
    """Return resampled recalls, float (classes, RESAMPLES); all classes share the seeds that are drawn."""
    seeds = len(found.correct)
    times = random.multinomial(max(1, seeds - 1), np.full(seeds, 1 / seeds), size=intervals.RESAMPLES)
    pseudo = np.repeat([[True, False]], seeds, axis=0)
    rows = []
    for each in classes:
        # Tiles with the same pattern of correct seeds are exchangeable, so counts per pattern are drawn.
        own = found.correct[:, found.labels == each]
        patterns, counts = np.unique(np.hstack([own, pseudo]), axis=1, return_counts=True)
        count, fractions = max(1, own.shape[1] - 1), counts / counts.sum()
        drawn = random.multinomial(count, fractions, size=intervals.RESAMPLES)
        by_seed = drawn / count @ patterns.T.astype(np.float64)
        rows.append((by_seed * times).sum(axis=1) / times.sum(axis=1))
    return np.array(rows)
