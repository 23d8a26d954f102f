"""Probability thresholds of several labels a tile, and F1 at them."""

import numpy as np

HALF = 0.5


def best_thresholds(predicted: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Return the threshold of each class with the highest F1.

    It lies midway between two predicted probabilities, so that rounding changes no label; among equals it is
    the one nearest to one half. A class without tiles has one half.

    Args:
        predicted: probabilities, float64 (N, C), of validation tiles.
        labels: uint8 (N, C).

    Returns:
        C probabilities; a tile has a class if its probability is that or higher.
    """
    return tuple(_best_threshold(predicted[:, c], labels[:, c]) for c in range(labels.shape[1]))


def _best_threshold(predicted: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import precision_recall_curve

    if not labels.any():
        return HALF
    precision, recall, cuts = precision_recall_curve(labels, predicted)
    precision, recall = precision[:-1], recall[:-1]  # of every label present down to one
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    midways = (cuts + np.concatenate([[0.0], cuts[:-1]])) / 2
    best = midways[f1 >= f1.max() - 1e-12]
    return float(best[np.abs(best - HALF).argmin()])


def f1_scores(decided: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return macro-F1, over the classes that have tiles, and micro-F1.

    Args:
        decided: bool (N, C), predicted labels.
        labels: uint8 (N, C).

    Returns:
        0..1; 0 where there is no label at all.
    """
    true = (decided & (labels > 0)).sum(0)
    sizes = decided.sum(0) + labels.sum(0, dtype=np.int64)
    present = labels.any(0)
    macro = 2 * true[present] / sizes[present]
    return float(macro.mean()) if present.any() else 0.0, float(2 * true.sum() / max(sizes.sum(), 1))
