"""Bootstrap intervals of the scores of several labels a tile.

Tiles are resampled with their labels. A score of a resample is that of the tiles with the number of times
that each was drawn as its weight, so nothing is sorted again.
"""

from collections.abc import Iterator

import numpy as np

from orbitune.evaluation.intervals import percentile_interval

RESAMPLES = 1000
_SEED = 0
_CHUNK = 1 << 20  # numbers of a table of weights


class RankedLabels:
    """Labels in the order of their scores, for the average precision of weighted tiles.

    Args:
        scores: float (M,), of one class, or of all together.
        labels: bool (M,).
        tiles: int (M,), the tile of each.
    """

    def __init__(self, scores: np.ndarray, labels: np.ndarray, *, tiles: np.ndarray) -> None:
        order = np.argsort(-scores, kind="stable")
        self._tiles, self._present = tiles[order], labels[order].astype(np.float64)
        ordered = scores[order]
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of equal scores

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Return the average precision with each row of weights, float64 (R,).

        It is NaN where no tile with the label has a weight.

        Args:
            weights: of the tiles, float64 (R, N).
        """
        drawn = weights[:, self._tiles]
        found = np.cumsum(drawn, 1)[:, self._ends]
        true = np.cumsum(drawn * self._present, 1)[:, self._ends]
        steps = np.diff(true, axis=1, prepend=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(steps > 0, steps * true / found, 0).sum(1) / true[:, -1]


def bootstrap_scores(
    logits: np.ndarray, labels: np.ndarray, *, decisions: dict[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Return 95 % percentile intervals of the scores by name, (low, high); see `resample_scores`."""
    resampled = resample_scores(logits, labels, decisions=decisions)
    return {name: percentile_interval(values) for name, values in resampled.items()}


def resample_scores(
    logits: np.ndarray, labels: np.ndarray, *, decisions: dict[str, np.ndarray], together: bool = True
) -> dict[str, np.ndarray]:
    """Return the scores of resampled tiles by name, float64 (R,); equal N and C give the same resamples.

    Args:
        logits: float (N, C), or what ranks tiles alike.
        labels: uint8 (N, C).
        decisions: predicted labels, bool (N, C), by the end of the name of their F1.
        together: whether to rank all labels together too, which takes as long as the rest.

    Returns:
        mean_average_precision, micro_average_precision (if `together`), and macro_f1 and micro_f1 of each
        decision.
    """
    tiles = np.arange(len(labels))
    classes = range(labels.shape[1])
    ranked = [RankedLabels(logits[:, c], labels[:, c] > 0, tiles=tiles) for c in classes]
    joint = None
    if together:
        joint = RankedLabels(logits.ravel(), labels.ravel() > 0, tiles=np.repeat(tiles, labels.shape[1]))
    found: dict[str, list[np.ndarray]] = {}
    for weights in _resampled_weights(len(labels), labels.size):
        parts = {
            "mean_average_precision": _mean_of_present(
                np.stack([each.average_precision(weights) for each in ranked], 1)
            ),
        }
        if joint:
            parts["micro_average_precision"] = np.nan_to_num(joint.average_precision(weights))
        for end, decided in decisions.items():
            macro, micro = _weighted_f1(decided, labels, weights=weights)
            parts |= {f"macro_f1{end}": macro, f"micro_f1{end}": micro}
        for name, values in parts.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _resampled_weights(tiles: int, size: int) -> Iterator[np.ndarray]:
    """Yield how often each tile is drawn, float64 (R, N), in parts that fit the memory."""
    random = np.random.default_rng(_SEED)
    part = max(1, _CHUNK // size)
    for start in range(0, RESAMPLES, part):
        rows = min(part, RESAMPLES - start)
        yield np.stack(
            [np.bincount(random.integers(tiles, size=tiles), minlength=tiles) for _ in range(rows)]
        ).astype(np.float64)


def _weighted_f1(
    decided: np.ndarray, labels: np.ndarray, *, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return macro-F1 and micro-F1, float64 (R,) each, with each row of weights."""
    true = weights @ (decided & (labels > 0)).astype(np.float64)
    present = weights @ labels.astype(np.float64)
    sizes = present + weights @ decided.astype(np.float64)
    with np.errstate(invalid="ignore"):
        each = np.where(present > 0, 2 * true / sizes, np.nan)
    return _mean_of_present(each), 2 * true.sum(1) / np.maximum(sizes.sum(1), 1)


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    """Return the mean of each row, float64 (R, C), over what is no NaN; 0 where all are."""
    there = ~np.isnan(values)
    return np.where(there, values, 0).sum(1) / np.maximum(there.sum(1), 1)
