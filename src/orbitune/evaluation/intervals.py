"""How sure an accuracy is: Student's interval over seeds, Wilson's for one seed, and a bootstrap over both.

All functions take `correct`, bool (S, N): whether the model of seed s was right on test image n. Two things
are drawn at random in a study, the seeds and the images; Student's interval knows the seeds alone, Wilson's
the images alone, the bootstrap both.
"""

from typing import Any

import numpy as np

from orbitune.evaluation.metrics import wilson

RESAMPLES = 10_000
LEVEL = 0.95
_SEED = 0


def accuracy_over_seeds(correct: np.ndarray) -> dict[str, Any]:
    """Mean accuracy of several seeds and its 95 % interval, as shares in 0..1, ready for JSON.

    Returns:
        mean, low, high; accuracies, one of each seed; interval, the name of the method: `student-t` over
        the seeds on these very images, or `wilson` over the images where there is one seed.
    """
    from scipy.stats import t

    accuracies = _checked(correct).mean(axis=1)
    seeds, mean = len(accuracies), float(accuracies.mean())
    if seeds == 1:
        low, high = wilson(int(correct.sum()), correct.shape[1])
        kind = "wilson"
    else:
        half = float(t.ppf((1 + LEVEL) / 2, seeds - 1) * accuracies.std(ddof=1) / np.sqrt(seeds))
        low, high, kind = max(0.0, mean - half), min(1.0, mean + half), "student-t"
    return {"mean": mean, "low": low, "high": high, "accuracies": accuracies.tolist(), "interval": kind}


def bootstrap_accuracy(correct: np.ndarray) -> list[float]:
    """The 95 % interval [low, high] of the accuracy over other seeds and other images, as shares in 0..1.

    Seeds and images are resampled independently of each other, the pigeonhole bootstrap of Owen (2007,
    doi:10.1214/07-AOAS122), whose variance is mildly too large rather than too small. Of S seeds S - 1 are
    drawn, since S of S would understate their variance by (S - 1) / S (Rao and Wu 1988,
    doi:10.1080/01621459.1988.10478591). The interval's ends are percentiles, from a fixed random seed. Where
    few seeds differ by much more than the images explain it is too narrow, as any bootstrap of three values
    is, hence verdicts rest on `orbitune.evaluation.paired`.
    """
    return _percentiles(*_resampled([_checked(correct)]))


def bootstrap_difference(method: np.ndarray, reference: np.ndarray) -> list[float]:
    """The 95 % interval [low, high] of the accuracy of `method` minus that of `reference`, in -1..1.

    As `bootstrap_accuracy`; both methods keep the same resampled images, each draws seeds of its own.

    Args:
        method, reference: bool (S, N) and (R, N), the images in the same order.
    """
    paired(method, reference)
    ours, theirs = _resampled([method, reference])
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


def _resampled(methods: list[np.ndarray]) -> list[np.ndarray]:
    """The accuracy of each method in RESAMPLES studies with other seeds and images, (RESAMPLES,) each."""
    random = np.random.default_rng(_SEED)
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
