"""How sure an accuracy is: a bootstrap over seeds and images, and Wilson's interval where there is one seed.

All functions take `correct`, bool (S, N): whether the model of seed s was right on test image n. Two things
are drawn at random in a study, the seeds and the images. Student's interval would know the seeds alone, and
of three it held the truth in 50 to 94 of 100 simulated studies; Wilson's knows the images alone.
"""

from typing import Any

import numpy as np

from orbitune.evaluation.metrics import wilson

RESAMPLES = 10_000
LEVEL = 0.95
_SEED = 0


def mean_accuracy(correct: np.ndarray) -> dict[str, Any]:
    """Mean accuracy of the seeds and its 95 % interval, as shares in 0..1, ready for JSON.

    Returns:
        mean, low, high; seeds, the accuracy of each; interval, the name of the method: `bootstrap`, see
        `bootstrap_accuracy`, or `wilson` where there is one seed, whose spread nobody can know.
    """
    accuracies = _checked(correct).mean(axis=1)
    if len(accuracies) == 1:
        (low, high), kind = wilson(int(correct.sum()), correct.shape[1]), "wilson"
    else:
        (low, high), kind = bootstrap_accuracy(correct), "bootstrap"
    mean = float(accuracies.mean())
    return {"mean": mean, "low": low, "high": high, "seeds": accuracies.tolist(), "interval": kind}


def bootstrap_accuracy(correct: np.ndarray) -> list[float]:
    """The 95 % interval [low, high] of the accuracy over other seeds and other images, as shares in 0..1.

    Seeds and images are resampled independently of each other, the pigeonhole bootstrap of Owen (2007,
    doi:10.1214/07-AOAS122), whose variance is mildly too large rather than too small. Of S seeds S - 1 are
    drawn, since S of S would understate their variance by (S - 1) / S (Rao and Wu 1988,
    doi:10.1080/01621459.1988.10478591). The interval's ends are percentiles, from a fixed random seed. Where
    few seeds differ by much more than the images explain it is too narrow, as any bootstrap of three values
    is, hence verdicts rest on `orbitune.evaluation.paired`.
    """
    return _percentiles(*_resampled([_checked(correct)], _random()))


def bootstrap_difference(method: np.ndarray, reference: np.ndarray) -> list[float]:
    """The 95 % interval [low, high] of the accuracy of `method` minus that of `reference`, in -1..1.

    As `bootstrap_accuracy`; both methods keep the same resampled images, each draws seeds of its own.

    Args:
        method, reference: bool (S, N) and (R, N), the images in the same order.
    """
    paired(method, reference)
    ours, theirs = _resampled([method, reference], _random())
    return _percentiles(ours - theirs)


def bootstrap_unpaired_difference(first: np.ndarray, second: np.ndarray) -> list[float]:
    """The 95 % interval [low, high] of the accuracy of `first` minus that of `second`, on other images.

    As `bootstrap_accuracy`, with images and seeds of their own for each. Images that are in both are counted
    as if they were not, which makes the interval wider rather than narrower.

    Args:
        first, second: bool (S, N) and (R, M), such as one method on the test tiles of two splits.
    """
    random = _random()
    (ours,), (theirs,) = (_resampled([_checked(correct)], random) for correct in (first, second))
    return _percentiles(ours - theirs)


def paired(method: np.ndarray, reference: np.ndarray) -> int:
    """The number of images that two methods were both scored on; ValueError where it differs."""
    if _checked(method).shape[1] != _checked(reference).shape[1]:
        raise ValueError(f"{method.shape[1]} images cannot be paired with {reference.shape[1]}")
    return int(method.shape[1])


def _checked(correct: np.ndarray) -> np.ndarray:
    if correct.ndim != 2 or correct.dtype != bool or 0 in correct.shape:
        raise ValueError(f"correct must be bool (seeds, images), not {correct.dtype} {correct.shape}")
    return correct


def _random() -> np.random.Generator:
    return np.random.default_rng(_SEED)


def _resampled(methods: list[np.ndarray], random: np.random.Generator) -> list[np.ndarray]:
    """The accuracy of each method in RESAMPLES studies with other seeds and images, (RESAMPLES,) each."""
    # Images on which all models agree alike are exchangeable, so counts per pattern are drawn, not images.
    patterns, counts = np.unique(np.concatenate(methods), axis=1, return_counts=True)
    drawn = random.multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES)
    accuracies = drawn @ patterns.T.astype(np.float64) / counts.sum()
    means = []
    for each in np.split(accuracies, np.cumsum([len(m) for m in methods])[:-1], axis=1):
        seeds = each.shape[1]
        chosen = random.integers(seeds, size=(RESAMPLES, max(1, seeds - 1)))
        means.append(np.take_along_axis(each, chosen, axis=1).mean(axis=1))
    return means


def _percentiles(values: np.ndarray) -> list[float]:
    return [float(v) for v in np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))]
