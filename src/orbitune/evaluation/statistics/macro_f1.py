"""95 % intervals of macro-F1, the mean of the F1 of the classes, by a bootstrap over tiles and seeds.

Near 100 % few tiles are wrong or none is, and a sample of them says too little of others. So, as for an
accuracy (`orbitune.evaluation.statistics.intervals.bootstrap_accuracy`), two right and two wrong tiles are
added before drawing, shared out evenly over the classes that have tiles.
"""

import numpy as np

from orbitune.evaluation.statistics.intervals import ADDED, percentile_interval

RESAMPLES = 2000
_SEED = 0


def macro_f1_interval(confusion: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of one model's macro-F1, the mean over the classes that have tiles.

    Tiles are resampled with a fixed random seed.

    Args:
        confusion: tiles by true class (rows) and predicted class (columns), int (C, C); at least one tile.
    """
    labels, predicted = np.nonzero(confusion)
    counts = confusion[labels, predicted]
    [means] = _resampled(labels, predicted[None], counts=counts, classes=len(confusion))
    return percentile_interval(means)


def macro_f1_over_seeds(predicted: np.ndarray, labels: np.ndarray, *, classes: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean macro-F1 of several seeds.

    Seeds and tiles are resampled as in `orbitune.evaluation.statistics.intervals.bootstrap_accuracy`.

    Args:
        predicted: predicted classes, int (S, N).
        labels: true classes, int (N,).
        classes: number of classes C.
    """
    # Tiles of one class with the same predictions are exchangeable, so counts of them are drawn.
    patterns, counts = np.unique(np.vstack([labels, predicted]), axis=1, return_counts=True)
    means = _resampled(patterns[0], patterns[1:], counts=counts, classes=classes)
    seeds = len(means)
    chosen = np.random.default_rng(_SEED).integers(seeds, size=(RESAMPLES, max(1, seeds - 1)))
    return percentile_interval(np.take_along_axis(means.T, chosen, axis=1).mean(axis=1))


def _resampled(labels: np.ndarray, predicted: np.ndarray, *, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return the macro-F1 of each seed in each resample, float (S, RESAMPLES).

    Args:
        labels: true class of each pattern, int (P,).
        predicted: class that each seed predicts, int (S, P).
        counts: number of tiles of each pattern, int (P,).
        classes: number of classes.
    """
    random, one_hot, tiles = np.random.default_rng(_SEED), np.eye(classes), counts.sum()
    own = np.unique(labels)
    # A wrong tile is taken for the next of these classes; where there is one alone, for any other.
    others = np.roll(own, -1) if len(own) > 1 else (own + 1) % classes
    labels = np.concatenate([labels, own, own])
    predicted = np.hstack([predicted, *(np.tile(each, (len(predicted), 1)) for each in (own, others))])
    weights = np.append(counts, np.full(2 * len(own), ADDED / len(own)))
    drawn = random.multinomial(tiles, weights / weights.sum(), size=RESAMPLES)
    actual = drawn @ one_hot[labels]
    # A class without tiles in a sample is left out of its mean, as one without tiles in the data.
    present = actual > 0
    means = []
    for each in predicted:
        hits = (drawn * (labels == each)) @ one_hot[labels]
        f1 = 2 * hits / np.maximum(actual + drawn @ one_hot[each], 1)
        means.append((f1 * present).sum(1) / present.sum(1))
    return np.array(means)
