"""Confidence intervals of accuracies over seeds and images.

All functions take `correct`, bool (S, N): whether the model of seed s is correct on test image n. Both the
seeds and the images of a study are random samples. Student's interval accounts for the seeds alone (with
three it covered the truth in 50 to 94 of 100 simulated studies), Wilson's for the images alone.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np

from orbitune.records import JsonTuple, Record

RESAMPLES = 10_000
LEVEL = 0.95
ADDED = 2.0  # images that all models get right, and that none does, in the interval of an accuracy
_SEED = 0


class MeanAccuracy(Record):
    """Mean accuracy over seeds with its 95 % interval; all in 0..1.

    Attributes:
        mean, low, high: the mean and the ends of the interval.
        seeds: accuracy with each seed.
        interval: how the interval was computed; `wilson` for a single seed, which says nothing about others.
    """

    mean: float
    low: float
    high: float
    seeds: JsonTuple[float]
    interval: Literal["bootstrap", "wilson"]


def mean_accuracy(correct: np.ndarray) -> MeanAccuracy:
    """Return the mean accuracy over seeds with its 95 % interval.

    Args:
        correct: bool (S, N).
    """
    kind: Literal["bootstrap", "wilson"]
    accuracies = _checked(correct).mean(axis=1)
    if len(accuracies) == 1:
        (low, high), kind = wilson(int(correct.sum()), correct.shape[1]), "wilson"
    else:
        (low, high), kind = bootstrap_accuracy(correct), "bootstrap"
    return MeanAccuracy(
        mean=float(accuracies.mean()),
        low=low,
        high=high,
        seeds=tuple(accuracies.tolist()),
        interval=kind,
    )


def bootstrap_accuracy(correct: np.ndarray) -> list[float]:
    """Return the 95 % bootstrap interval [low, high] of an accuracy, in 0..1.

    Seeds and images are resampled independently, the pigeonhole bootstrap of Owen (2007,
    doi:10.1214/07-AOAS122), which slightly overestimates the variance. Of S seeds S - 1 are drawn, as S draws
    would underestimate the variance by (S - 1) / S (Rao and Wu 1988, doi:10.1080/01621459.1988.10478591).
    Near 100 % few images are wrong or none is, and a sample of them says too little of others; so two images
    that all seeds get right and two that none does are added before drawing, as Agresti and Coull (1998,
    doi:10.1080/00031305.1998.10480550) do. The ends are percentiles, with a fixed random seed. The interval
    is too narrow if few seeds differ by much more than the images explain, as any bootstrap of three values
    is; so verdicts use `orbitune.evaluation.statistics.paired`.

    Args:
        correct: bool (S, N).
    """
    return list(percentile_interval(*_resampled([_checked(correct)], _random(), added=ADDED)))


def bootstrap_difference(method: np.ndarray, reference: np.ndarray) -> list[float]:
    """Return the 95 % interval [low, high] of a paired difference, in -1..1.

    The difference is the accuracy of `method` minus that of `reference`.

    As `bootstrap_accuracy`; both methods share the resampled images, and draw their own seeds. No image is
    added: one that all models get right, or none, adds no difference.

    Args:
        method, reference: bool (S, N) and (R, N), the images in the same order.
    """
    count_paired(method, reference)
    ours, theirs = _resampled([method, reference], _random())
    return list(percentile_interval(ours - theirs))


def bootstrap_unpaired_difference(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Return the 95 % interval [low, high] of an unpaired difference, in -1..1.

    The difference is the accuracy of `first` minus that of `second`.

    As `bootstrap_accuracy`, with images and seeds of their own; one right and one wrong image are added to
    each set (Agresti and Caffo 2000, doi:10.1080/00031305.2000.10474560). Images that are in both sets are
    treated as independent, which widens the interval.

    Args:
        first, second: bool (S, N) and (R, M), such as one method on the test tiles of two splits.
    """
    random = _random()
    (ours,), (theirs,) = (
        _resampled([_checked(correct)], random, added=ADDED / 2) for correct in (first, second)
    )
    return list(percentile_interval(ours - theirs))


def wilson(correct: int, count: int) -> list[float]:
    """Return the 95 % Wilson interval [low, high] of `correct` out of `count`.

    It stays within 0..1 and keeps its coverage near 100 %, unlike the normal approximation (Wilson 1927,
    doi:10.1080/01621459.1927.10502953).

    Args:
        correct: number of correct predictions.
        count: number of predictions, at least 1.

    Returns:
        [low, high], fractions 0..1.
    """
    from scipy.stats import binomtest

    interval = binomtest(correct, count).proportion_ci(confidence_level=0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def pool_accuracies(accuracies: Sequence[float], counts: Sequence[int]) -> tuple[float, tuple[float, float]]:
    """Return the accuracy on several sets of tiles together with its 95 % Wilson interval, all in 0..1.

    Args:
        accuracies: on each set.
        counts: number of tiles of each, at least 1 in all.
    """
    correct = sum(round(each * count) for each, count in zip(accuracies, counts, strict=True))
    low, high = wilson(correct, sum(counts))
    return correct / sum(counts), (low, high)


def count_paired(method: np.ndarray, reference: np.ndarray) -> int:
    """Return the number of images of two methods, bool (S, N) and (R, N).

    Args:
        method: correct predictions, bool (S, N): seeds by images.
        reference: the same of the other method, bool (R, N).

    Returns:
        The number of images N.

    Raises:
        ValueError: it differs, or an argument is not of this type and shape.
    """
    if _checked(method).shape[1] != _checked(reference).shape[1]:
        raise ValueError(f"{method.shape[1]} images cannot be paired with {reference.shape[1]}")
    return int(method.shape[1])


def _checked(correct: np.ndarray) -> np.ndarray:
    """Return the argument; raise a ValueError if it is not bool (S, N)."""
    if correct.ndim != 2 or correct.dtype != bool or 0 in correct.shape:
        raise ValueError(f"correct must be bool (seeds, images), not {correct.dtype} {correct.shape}")
    return correct


def _random() -> np.random.Generator:
    """Return a generator with the fixed seed."""
    return np.random.default_rng(_SEED)


def _resampled(
    methods: list[np.ndarray], random: np.random.Generator, *, added: float = 0.0
) -> list[np.ndarray]:
    """Return resampled accuracies of each method, float64 (RESAMPLES,) each.

    Args:
        methods: bool (S, N) each.
        random: generator.
        added: number of images that all models get right, and that none does, which are drawn from too.
    """
    # Images with the same pattern of correct models are exchangeable, so counts per pattern are drawn.
    patterns, counts = np.unique(np.concatenate(methods), axis=1, return_counts=True)
    images, weights = counts.sum(), counts.astype(float)
    if added:
        patterns = np.hstack([patterns, np.repeat([[True, False]], len(patterns), axis=0)])
        weights = np.append(weights, [added, added])
    drawn = random.multinomial(images, weights / weights.sum(), size=RESAMPLES)
    accuracies = drawn @ patterns.T.astype(np.float64) / images
    means = []
    for each in np.split(accuracies, np.cumsum([len(m) for m in methods])[:-1], axis=1):
        seeds = each.shape[1]
        chosen = random.integers(seeds, size=(RESAMPLES, max(1, seeds - 1)))
        means.append(np.take_along_axis(each, chosen, axis=1).mean(axis=1))
    return means


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """Return low and high end of the 95 % percentile interval of resampled values (R,)."""
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def standard_error(interval: tuple[float, float]) -> float:
    """Return the standard error of a value whose 95 % interval is this, if it is about normal."""
    low, high = interval
    return (high - low) / 2 / NormalDist().inv_cdf((1 + LEVEL) / 2)
