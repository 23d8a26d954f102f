"""Differences between two sets of tiles at one mix of classes.

The accuracy on a set depends on how many tiles each class has there. Direct standardisation (Rothman,
Greenland and Lash 2008, Modern Epidemiology, chapter 4) weights the recalls of the classes by one mix, so
that two sets of other mixes can be compared: what remains is not the mix.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orbitune.evaluation.statistics import intervals
from orbitune.evaluation.statistics.intervals import ADDED, percentile_interval

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
    doi:10.1080/01621459.1988.10478591). As no tile of a set may be wrong, each set has, in the intervals
    alone, one more tile that all seeds get right and one that none does (Agresti and Caffo 2000,
    doi:10.1080/00031305.2000.10474560). They are shared out over the classes by how much one tile of a class
    weighs in the mix: whole tiles for each of many small classes would move all their recalls, and so the
    interval, to one side of the difference. The ends are percentiles, with a fixed random seed. The tiles of
    the two sets are taken as independent.

    Args:
        first, second: predictions on the two sets.
        mixes: weights of the classes, float (C,) each; a class without weight needs no tiles.

    Returns:
        For each mix the difference, -1..1, and the ends of its interval.
    """
    gaps = []
    for mix in mixes:
        random, classes = np.random.default_rng(_SEED), np.flatnonzero(mix)
        weights = mix[classes] / mix.sum()
        ours, theirs = (_recalls(each, classes) for each in (first, second))
        drawn, other = (
            _resampled_accuracy(each, classes, weights=weights, random=random) for each in (first, second)
        )
        interval = percentile_interval(np.clip(drawn - other, -1, 1))
        gaps.append((float(weights @ (ours - theirs)), interval))
    return gaps


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


def _resampled_accuracy(
    found: ClassCorrect, classes: np.ndarray, *, weights: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Return resampled accuracies at a mix of classes, float (RESAMPLES,); the classes share drawn seeds."""
    seeds = len(found.correct)
    times = random.multinomial(max(1, seeds - 1), np.full(seeds, 1 / seeds), size=intervals.RESAMPLES)
    members = [found.correct[:, found.labels == each] for each in classes]
    leverage = weights / [own.shape[1] for own in members]
    added = ADDED / 2 * leverage / leverage.sum()
    pseudo = np.repeat([[True, False]], seeds, axis=0)
    accuracy = np.zeros(intervals.RESAMPLES)
    for own, weight, extra in zip(members, weights, added, strict=True):
        # Tiles with the same pattern of correct seeds are exchangeable, so counts per pattern are drawn.
        patterns, counts = np.unique(own, axis=1, return_counts=True)
        count, fractions = max(1, own.shape[1] - 1), np.append(counts, [extra, extra])
        drawn = random.multinomial(count, fractions / fractions.sum(), size=intervals.RESAMPLES)
        by_seed = drawn / count @ np.hstack([patterns, pseudo]).T.astype(np.float64)
        accuracy += weight * (by_seed * times).sum(axis=1) / times.sum(axis=1)
    return accuracy
