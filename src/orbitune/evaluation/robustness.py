"""How much of its accuracy a classifier keeps on corrupted tiles, by kind and severity.

As in Hendrycks and Dietterich (2019, arXiv:1903.12261), on the kinds of `orbitune.data.corruptions`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from orbitune.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from orbitune.evaluation.metrics import wilson

EVALUATIONS = 1 + len(CORRUPTIONS) * len(SEVERITIES)


def score_corruptions(
    predict: Callable[[np.ndarray], np.ndarray],
    tiles: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 256,
    seed: int = 0,
    after_batch: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Accuracy on the tiles as they are, and on each kind of corruption at each severity; ready for JSON.

    Args:
        predict: takes uint8 (B, H, W, 3), gives logits (B, C).
        tiles: uint8 (N, H, W, 3).
        labels: int64 (N,), the true classes.
        seed: of the corruptions, 0 or more.
        after_batch: called with the number of tiles after each batch, N times EVALUATIONS tiles in all.

    Returns:
        count, of tiles; clean, accuracy and its 95 % Wilson interval; corruptions, for each kind its name,
        the mean accuracy over the severities, and a list of severity, accuracy and interval; mean, over the
        kinds. Accuracies are shares in 0..1, intervals are [low, high].
    """

    def accuracy(change: Callable[..., np.ndarray]) -> dict[str, Any]:
        right = 0
        for start in range(0, len(tiles), batch_size):
            batch = slice(start, start + batch_size)
            logits = predict(change(tiles[batch], first=start))
            right += int((logits.argmax(axis=1) == labels[batch]).sum())
            after_batch(len(logits))
        return {"accuracy": right / len(labels), "interval": wilson(right, len(labels))}

    clean = accuracy(lambda batch, first: batch)
    kinds = []
    for name in CORRUPTIONS:
        severities = [
            {
                "severity": severity,
                **accuracy(partial(corrupt, kind=name, severity=severity, seed=seed)),
            }
            for severity in SEVERITIES
        ]
        mean = sum(each["accuracy"] for each in severities) / len(severities)
        kinds.append({"name": name, "mean": mean, "severities": severities})
    mean = sum(kind["mean"] for kind in kinds) / len(kinds)
    return {"count": len(labels), "clean": clean, "corruptions": kinds, "mean": mean}


def describe_robustness(scores: dict[str, Any]) -> str:
    """What `score_corruptions` found, in words."""
    return (
        f"{scores['clean']['accuracy']:.2%} of {scores['count']:,} tiles right as they are, "
        f"{scores['mean']:.2%} with corruptions"
    )
